"""Polygons burnt onto a tile, pixel by pixel."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from shapely import box

from mmearth.catalog.errors import ConfigError, NoDataError
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.labels.burnt import Burnt
from mmearth.curate.places import PolygonTargets
from mmearth.tests.own_config import GRID, task_of, write_polygons

X, Y = 500_000, 5_000_000
TILE = Tile(32633, X, Y, GRID)
"""Of 320 m around 15° E 45° N."""
LAND = task_of(level="pixel", classes={1: "crop", 4: "wood", 9: "water"})
HEIGHT = task_of(level="pixel", unit="m", valid=[0, 60])


def _square(row: int, column: int, rows: int = 1, columns: int = 1) -> shapely.Polygon:
    """Return pixels of TILE from their outer edges, in UTM."""
    left, top = X + 10 * column, Y - 10 * row
    return box(left, top - 10 * rows, left + 10 * columns, top)


def _burnt(path: Path, task: Task = LAND, **keys: Any) -> Burnt:
    config = PolygonTargets.model_validate({"path": path.name, "field": "class", **keys})
    return Burnt(task, config, path)


def _painted(path: Path, task: Task = LAND, tile: Tile = TILE, **keys: Any) -> NDArray[Any]:
    """Return a target, (32, 32), which must keep its contract."""
    found = _burnt(path, task, **keys).paint(tile, None)
    assert isinstance(found, Observation), found
    found.check()
    assert found.source_ids == (path.name,)
    array: NDArray[Any] = found.array[0]
    return array


def _write(path: Path, *polygons: tuple[shapely.Geometry, Any]) -> Path:
    shapes, values = zip(*polygons, strict=True)
    return write_polygons(path / "a.geojson", shapes, 32633, **{"class": values})


def test_a_square_is_its_pixels(tmp_path: Path) -> None:
    # 4 m of the outer pixels are outside: their centres are inside.
    path = _write(tmp_path, (_square(3, 5, 2, 4).buffer(-4, join_style="mitre"), "Crop"))
    expected = np.full((32, 32), 255, dtype=np.uint8)
    expected[3:5, 5:9] = 1
    assert np.array_equal(_painted(path), expected)


def test_every_pixel_that_is_touched(tmp_path: Path) -> None:
    path = _write(tmp_path, (_square(3, 5, 2, 4).buffer(1, join_style="mitre"), "wood"))
    expected = np.full((32, 32), 255, dtype=np.uint8)
    expected[3:5, 5:9] = 4
    assert np.array_equal(_painted(path), expected)
    expected[2:6, 4:10] = 4
    assert np.array_equal(_painted(path, all_touched=True), expected)


def test_ground_of_two_classes_is_unlabelled_and_of_one_twice_is_not(tmp_path: Path) -> None:
    wood, crop = (_square(0, 0, 6, 6), "wood"), (_square(4, 4, 6, 6), "crop")
    path = _write(tmp_path, wood, crop, (_square(4, 5, 6, 6), "1"))
    expected = np.full((32, 32), 255, dtype=np.uint8)
    expected[0:6, 0:6] = 4
    expected[4:10, 4:11] = 1
    expected[4:6, 4:6] = 255
    assert np.array_equal(_painted(path), expected)


def test_a_hole_is_unlabelled(tmp_path: Path) -> None:
    path = _write(tmp_path, (_square(0, 0, 9, 9).difference(_square(3, 3, 3, 3)), "water"))
    found = _painted(path)
    assert np.all(found[3:6, 3:6] == 255)
    assert np.count_nonzero(found == 9) == 81 - 9


@pytest.mark.parametrize("cell", ["wood", "WOOD ", "4", 4, 4.0, "4.0"])
def test_a_class_by_name_and_by_code(cell: object, tmp_path: Path) -> None:
    path = _write(tmp_path, (_square(0, 0), cell), (_square(1, 1), None))
    found = _painted(path)
    assert found[0, 0] == 4
    assert np.count_nonzero(found != 255) == 1


def test_a_float_column_of_codes_with_a_gap(tmp_path: Path) -> None:
    shapes = [_square(0, 0), _square(1, 1), _square(2, 2)]
    frame = gpd.GeoDataFrame({"class": [1.0, np.nan, 9.0]}, geometry=shapes, crs=32633)
    frame.to_file(tmp_path / "a.gpkg")
    assert np.diag(_painted(tmp_path / "a.gpkg"))[:3].tolist() == [1, 255, 9]


def test_numbers(tmp_path: Path) -> None:
    path = _write(tmp_path, (_square(0, 0), 12.5), (_square(0, 1), "0"), (_square(0, 2), -9999))
    found = _painted(path, HEIGHT)
    assert found[0, :4].tolist() == [12.5, 0.0, -9999.0, -9999.0]


def test_two_numbers_of_one_ground_are_none(tmp_path: Path) -> None:
    path = _write(tmp_path, (_square(0, 0, 1, 3), 5), (_square(0, 2, 1, 3), 7))
    assert _painted(path, HEIGHT)[0, :6].tolist() == [5.0, 5.0, -9999.0, 7.0, 7.0, -9999.0]


@pytest.mark.parametrize(
    ("task", "cell", "said"),
    [
        (LAND, "swamp", r"a\.geojson, field 'class': 'swamp' is no class of own; expected one of"),
        (LAND, "wod", "'wod' is no class of own .did you mean 'wood'"),
        (LAND, 2, "'2' is no class"),
        (LAND, 1.5, "'1.5' is no class"),
        (HEIGHT, 61, "found '61', expected 0 to 60 m; check the unit"),
        (HEIGHT, "tall", "found 'tall', expected a number; correct it or name another field"),
        (HEIGHT, "nan", "found 'nan', expected 0 to 60"),
        (task_of(level="pixel", nodata=-1), -9999, "'-9999', which usually means that there is no"),
        (task_of(level="pixel", dtype="int16"), 3.7, "'3.7', which int16 cannot hold; say dtype:"),
        (HEIGHT, None, "has nothing in its field 'class'; name another"),
        (HEIGHT, -9999, "has nothing in its field 'class'"),
    ],
)
def test_what_a_field_may_not_hold(task: Task, cell: object, said: str, tmp_path: Path) -> None:
    path = _write(tmp_path, (_square(0, 0), cell))
    with pytest.raises(ConfigError, match=said):
        _burnt(path, task).paint(TILE, None)


def test_another_field_and_another_place(tmp_path: Path) -> None:
    path = _write(tmp_path, (_square(100, 0), "wood"))
    assert isinstance(_burnt(path).paint(TILE, None), NoDataError)
    with pytest.raises(ConfigError, match="has no field 'klass'; its fields are class"):
        _burnt(path, field="klass").paint(TILE, None)


def test_a_file_in_utm_and_one_without_a_crs(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"class": ["wood"]}, geometry=[_square(3, 5, 2, 4)], crs=32633)
    frame.to_file(tmp_path / "a.gpkg")
    found = _painted(tmp_path / "a.gpkg")
    assert np.argwhere(found == 4).tolist() == [[r, c] for r in (3, 4) for c in (5, 6, 7, 8)]
    frame.to_file(tmp_path / "b.shp")
    (tmp_path / "b.prj").unlink()
    with pytest.raises(ConfigError, match="names no CRS"):
        _burnt(tmp_path / "b.shp").paint(TILE, None)
    assert np.array_equal(_painted(tmp_path / "b.shp", crs="EPSG:32633"), found)


def test_across_the_antimeridian(tmp_path: Path) -> None:
    tile = Tile.at(180.0, 65.0, GRID)
    band = box(179.99, 64.9, 180.01, 65.1)  # drawn on beyond 180
    path = write_polygons(tmp_path / "a.geojson", [band], klass=["water"])
    assert np.all(_painted(path, tile=tile, field="klass") == 9)
    west = write_polygons(tmp_path / "b.geojson", [box(-180, 64, -179, 66)], klass=["wood"])
    found = _painted(west, tile=tile, field="klass")
    assert 0.4 < np.mean(found == 4) < 0.6
    assert np.all(found[:, 20:] == 4)


def test_a_polygon_of_half_the_world_is_cut_at_the_tile(tmp_path: Path) -> None:
    # Far from its zone UTM has no answer, or a wrong one.
    half = shapely.Polygon([(-170, -60), (170, -60), (170, 44.9995), (-170, 44.9995)])
    path = write_polygons(tmp_path / "a.geojson", [half], klass=["water"])
    tile = Tile.at(15.0, 44.9995, GRID)
    found = _painted(path, tile=tile, field="klass")
    assert np.all(found[17:] == 9)
    assert np.all(found[:15] == 255)


def test_what_decides_a_painting_decides_its_key(tmp_path: Path) -> None:
    path = _write(tmp_path, (_square(0, 0), "wood"))
    key = _burnt(path).key
    assert key == _burnt(path).key
    assert key != _burnt(path, all_touched=True).key
    assert key != _burnt(path, task_of(level="pixel", classes={1: "crop", 4: "wood"})).key
    assert pickle.loads(pickle.dumps(_burnt(path))).key == key
    _write(tmp_path, (_square(0, 0), "crop"))
    assert _burnt(path).key != key
