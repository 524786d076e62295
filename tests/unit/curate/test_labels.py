"""Places from tables, grids and ranges; what cannot be used is said in one sentence."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from mmearth.catalog.errors import ConfigError
from mmearth.curate.labels.grid import grid_labels
from mmearth.curate.labels.points import point_labels
from mmearth.curate.labels.ranges import species_in_ranges
from mmearth.curate.places import GridPlaces, PointsPlaces, RangesConfig
from mmearth.curate.source import Label

_SOIL = [
    Label(10.5, 45.25, 6.5, None, "2020-06-01", "a"),
    Label(-60.0, -10.0, 4.0, None, None, "b"),
]


def _points(path: str, **more: object) -> PointsPlaces:
    keys = {"value": "ph", "date": "day", "id": "code"}
    return PointsPlaces.model_validate({"path": path, **keys, **more})


def _frame() -> gpd.GeoDataFrame:
    columns = {"ph": [6.5, 4.0], "day": ["2020-06-01", None], "code": ["a", "b"]}
    return gpd.GeoDataFrame(
        columns, geometry=gpd.points_from_xy([10.5, -60], [45.25, -10]), crs=4326
    )


def _write_csv(directory: Path, text: str) -> None:
    (directory / "p.csv").write_text(text)


def test_csv(tmp_path: Path) -> None:
    _write_csv(tmp_path, "lon,lat,ph,day,code\n10.5,45.25,6.5,2020-06-01,a\n-60,-10,4,,b\n")
    assert point_labels("soil_pH", _points("p.csv"), tmp_path) == _SOIL


def test_named_columns(tmp_path: Path) -> None:
    _write_csv(tmp_path, "X,Y,lon,ph,day,code\n10.5,45.25,1,6.5,2020-06-01,a\n-60,-10,1,4,,b\n")
    assert point_labels("soil_pH", _points("p.csv", lon="X", lat="Y"), tmp_path) == _SOIL


def test_parquet_without_geometries(tmp_path: Path) -> None:
    table = pa.table({**_frame().drop(columns="geometry"), "lon": [10.5, -60], "lat": [45.25, -10]})
    pq.write_table(table, tmp_path / "p.parquet")
    assert point_labels("soil_pH", _points("p.parquet"), tmp_path) == _SOIL


def test_geoparquet_and_geojson(tmp_path: Path) -> None:
    _frame().to_parquet(tmp_path / "p.parquet")
    _frame().to_file(tmp_path / "p.geojson")
    assert point_labels("soil_pH", _points("p.parquet"), tmp_path) == _SOIL
    assert point_labels("soil_pH", _points("p.geojson"), tmp_path) == _SOIL


def test_points_of_another_crs(tmp_path: Path) -> None:
    _frame().to_crs(3857).to_parquet(tmp_path / "p.parquet")
    labels = point_labels("soil_pH", _points("p.parquet"), tmp_path)
    assert [label.lon for label in labels] == pytest.approx([10.5, -60.0])
    assert [label.lat for label in labels] == pytest.approx([45.25, -10.0])


def test_rows_without_place_or_value_are_left_out(tmp_path: Path) -> None:
    rows = ["10.5,45.25,6.5,2020-06-01,a", ",45,6,,x", "10,45,,,y", "-60,-10,4,,b"]
    _write_csv(tmp_path, "\n".join(["lon,lat,ph,day,code", *rows]))
    assert point_labels("soil_pH", _points("p.csv"), tmp_path) == _SOIL


def test_species_of_a_column(tmp_path: Path) -> None:
    _write_csv(tmp_path, "lon,lat,who\n10,45,Canis_lupus; Mus musculus;Homo sapiens\n11,45,\n")
    config = PointsPlaces(path="p.csv", species="who")
    labels = point_labels("species", config, tmp_path)
    assert [label.species for label in labels] == [("Mus musculus", "Canis lupus"), ()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a,b\n1,2\n",
            r"no column 'lon' for lon:; its columns are a, b: name another with lon:",
        ),
        ("lon,lat,day,code\n1,2,,\n", "has no column 'ph' for value:; its columns are lon, lat"),
        (
            "lon,lat,ph,day,code\n1,2,sour,,\n",
            "2, column 'ph': found 'sour', expected a number",
        ),
        (
            "lon,lat,ph,day,code\n1,2,5,June,\n",
            "2, column 'day': found 'June', expected a date",
        ),
        ("lon,lat,ph,day,code\n,,5,,\n", "has no usable row among 1"),
        ("", "is empty"),
        ("lon,lat,ph,day,code\n1,2\n", "line 2: has not the 5 cells of the header, as 1 of 1"),
    ],
)
def test_tables_that_cannot_be_used(text: str, said: str, tmp_path: Path) -> None:
    _write_csv(tmp_path, text)
    with pytest.raises(ConfigError, match=said):
        point_labels("soil_pH", _points("p.csv"), tmp_path)


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "p.geojson", "p.gpkg"])
def test_missing_and_damaged_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        point_labels("soil_pH", _points(name), tmp_path)
    (tmp_path / name).write_bytes(b"\xff\xfe\x00 nothing of the kind")
    with pytest.raises(ConfigError):
        point_labels("soil_pH", _points(name), tmp_path)


def test_points_need_a_crs_and_must_be_points(tmp_path: Path) -> None:
    _frame().set_crs(None, allow_override=True).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(ConfigError, match="names no CRS"):
        point_labels("soil_pH", _points("p.parquet"), tmp_path)
    squares = _frame().set_geometry(_frame().to_crs(3857).buffer(9).to_crs(4326))
    squares.to_file(tmp_path / "p.geojson")
    with pytest.raises(ConfigError, match="use `grid:` for polygons"):
        point_labels("soil_pH", _points("p.geojson"), tmp_path)


def test_a_task_needs_its_target(tmp_path: Path) -> None:
    _write_csv(tmp_path, "lon,lat\n1,2\n")
    with pytest.raises(ConfigError, match=r"value: must name the column .*soil_pH"):
        point_labels("soil_pH", PointsPlaces(path="p.csv"), tmp_path)
    with pytest.raises(ConfigError, match=r"give species: .* or ranges:"):
        point_labels("species", PointsPlaces(path="p.csv"), tmp_path)
    assert point_labels("biomass", PointsPlaces(path="p.csv"), tmp_path) == [Label(1.0, 2.0)]


def _write_ranges(directory: Path) -> RangesConfig:
    boxes = {
        "Canis_lupus": (9, 44, 11, 46),
        "Mus musculus": (10, 44, 12, 46),
        "Homo sapiens": (0, 0, 90, 80),
    }
    frame = gpd.GeoDataFrame(
        {"sci_name": list(boxes)}, geometry=[shapely.box(*box) for box in boxes.values()], crs=4326
    )
    frame.to_file(directory / "r.geojson")
    return RangesConfig(path="r.geojson")


def test_species_of_ranges(tmp_path: Path) -> None:
    config = _write_ranges(tmp_path)
    # In one; in both; 500 m west of a border, which the tile's box crosses; in none; beyond UTM.
    found = species_in_ranges(config, tmp_path, [9.5, 10.5, 9.994, 20.0, 10.5], [45.0] * 4 + [85.0])
    wolf, both = ("Canis lupus",), ("Mus musculus", "Canis lupus")
    assert found == [wolf, both, both, (), ()]


def test_points_with_ranges(tmp_path: Path) -> None:
    ranges = _write_ranges(tmp_path)
    _write_csv(tmp_path, "lon,lat\n9.5,45\n,\n10.5,-89\n")
    labels = point_labels("species", PointsPlaces(path="p.csv", ranges=ranges), tmp_path)
    assert [label.species for label in labels] == [("Canis lupus",), ()]


def test_ranges_without_the_field_or_the_species(tmp_path: Path) -> None:
    _write_ranges(tmp_path)
    with pytest.raises(ConfigError, match=r"has no field 'binomial'; its fields are sci_name"):
        species_in_ranges(RangesConfig(path="r.geojson", name="binomial"), tmp_path, [1.0], [1.0])
    frame = gpd.GeoDataFrame(
        {"sci_name": ["Homo sapiens"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326
    )
    frame.to_file(tmp_path / "r.geojson")
    with pytest.raises(ConfigError, match="none of the task's 100 species"):
        species_in_ranges(RangesConfig(path="r.geojson"), tmp_path, [1.0], [1.0])


def _write_area(directory: Path, *boxes: tuple[float, float, float, float]) -> None:
    shapes = [json.loads(shapely.to_geojson(shapely.box(*box))) for box in boxes]
    features = [{"type": "Feature", "properties": {}, "geometry": shape} for shape in shapes]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (directory / "area.geojson").write_text(text)


def test_a_grid_is_even_on_the_ground(tmp_path: Path) -> None:
    # At 60° N a degree of longitude is half as long as at the equator.
    _write_area(tmp_path, (10.0, -0.5, 14.0, 0.5), (10.0, 59.5, 14.0, 60.5))
    labels = grid_labels(GridPlaces(path="area.geojson", spacing_m=20_000), tmp_path)
    # 4 degrees are 444.8 km at the equator and 222.4 km at 60° N, so 22 or 23 steps and half of it.
    rows = Counter(label.lat for label in labels)
    assert {n for lat, n in rows.items() if lat < 30} <= {22, 23}
    assert {n for lat, n in rows.items() if lat > 30} <= {10, 11, 12}
    equator = sorted(label.lon for label in labels if label.lat == 0.0)
    assert equator[1] - equator[0] == pytest.approx(20.0 / 111.195, rel=1e-4)  # km in a degree
    assert all(10.0 <= label.lon <= 14.0 for label in labels)


def test_a_limit_takes_every_nth_place(tmp_path: Path) -> None:
    _write_area(tmp_path, (10.0, -0.5, 14.0, 0.5))
    every = grid_labels(GridPlaces(path="area.geojson", spacing_m=20_000), tmp_path)
    some = grid_labels(GridPlaces(path="area.geojson", spacing_m=20_000, limit=10), tmp_path)
    assert len(some) <= 10
    assert some == every[:: -(-len(every) // 10)]


def test_grids_that_hold_nothing(tmp_path: Path) -> None:
    _write_area(tmp_path, (10.01, 0.01, 10.02, 0.02))
    with pytest.raises(ConfigError, match=r"no place of a 50000 m grid .*spacing_m smaller"):
        grid_labels(GridPlaces(path="area.geojson", spacing_m=50_000), tmp_path)
    _frame().to_file(tmp_path / "area.geojson")
    with pytest.raises(ConfigError, match="holds no polygon"):
        grid_labels(GridPlaces(path="area.geojson", spacing_m=50_000), tmp_path)


def test_a_column_that_is_twice_there_is_refused(tmp_path: Path) -> None:
    _write_csv(tmp_path, "lon,lat,ph,ph,day,code\n10.5,45.25,6.5,7,,a\n")
    with pytest.raises(ConfigError, match="has 2 columns 'ph' for value:; keep one of them"):
        point_labels("soil_pH", _points("p.csv"), tmp_path)
