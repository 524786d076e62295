"""Layers and targets of the user's own from files: bands, codes, scales, grids, times, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from rasterio.transform import Affine

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, DataError, MMEarthError, NoDataError
from mmearth.catalog.grid import DEFAULT_GRID, Grid
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.config import BuildConfig
from mmearth.curate.declared import LayerConfig, TargetConfig, own_layer, own_task
from mmearth.curate.identity import Identities, why_other
from mmearth.curate.labels.raster_target import raster_target
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.files.config import RasterTargets
from mmearth.tests.raster_files import TILE, files_of, layers, write_tif

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

LAND_USE = {"classes": {10: "forest", 20: "farmland", 80: "water"}}


def catalogue(grid: Grid = DEFAULT_GRID, **declared: dict[str, Any]) -> Catalogue:
    """Return the catalogue of declared layers."""
    named = {
        name: own_layer(name, LayerConfig.model_validate(each)) for name, each in declared.items()
    }
    return Catalogue(grid, named, {})


def outcome(
    root: Path,
    declared: dict[str, Any],
    anchor: str | None = "2020-07-01",
    tile: Tile = TILE,
    **entry: Any,
) -> Outcome:
    """Return what a tile has of the layer `own` by one raster entry."""
    files = files_of(
        root, catalogue(tile.grid, own=declared), rasters={"own": [{"path": "a.tif"} | entry]}
    )
    return files.observe(Visit(tile, ("own",), anchor))["own"]


def seen(found: Outcome) -> Observation:
    """Return an outcome that must be an observation that keeps its contract."""
    assert isinstance(found, Observation), found
    found.check()
    return found


def pixel(found: Outcome) -> list[float]:
    """Return the stored values of a pixel in the middle of the tile."""
    return [float(value) for value in seen(found).array[:, 64, 64]]


def refused(found: Outcome, kind: type[MMEarthError]) -> str:
    """Return the sentence of an outcome that must be an error of one kind."""
    assert type(found) is kind, found
    return str(found)


def codes(*rows: int) -> NDArray[np.uint8]:
    """Return class codes over the tile and a little more: the first for all rows from 4 on."""
    values = layers(rows[0], dtype="uint8")
    for row, code in enumerate(rows[1:]):
        values[0, 4 + row] = code
    return values


def test_declared_codes_are_the_files_own_unless_the_entry_says_otherwise(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", codes(10, 80, 255))
    found = seen(outcome(tmp_path, LAND_USE))
    assert found.array.dtype == np.uint8
    assert found.array[0, :3, 0].tolist() == [80, 255, 10]  # 255 is the layer's own no-data
    write_tif(tmp_path / "a.tif", codes(1, 8, 0))
    found = seen(outcome(tmp_path, LAND_USE, classes={0: None, 1: 10, 8: 80}))
    assert found.array[0, :3, 0].tolist() == [80, 255, 10]


def test_codes_that_are_not_declared_are_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", codes(10, 30))
    sentence = refused(outcome(tmp_path, LAND_USE), ConfigError)
    assert "a.tif: own has the class codes 10, 20, 80, 255; found 30, which is none of" in sentence
    with pytest.raises(ValueError, match="own has no class 30; expected 10 to 80 in classes:"):
        outcome(tmp_path, LAND_USE, classes={3: 30})
    with pytest.raises(ValueError, match="own: bilinear would blend class codes"):
        outcome(tmp_path, LAND_USE, resampling="bilinear")
    with pytest.raises(ValueError, match="own: scale is for numbers, and these are class codes"):
        outcome(tmp_path, LAND_USE, scale=10)


def test_thousands_of_codes_are_named_in_part(tmp_path: Path) -> None:
    many = {"classes": [f"parcel {i}" for i in range(5000)]}
    write_tif(tmp_path / "a.tif", layers(4999, dtype="uint16"))
    assert pixel(outcome(tmp_path, many)) == [4999.0]
    write_tif(tmp_path / "a.tif", layers(5000, dtype="uint16"))
    sentence = refused(outcome(tmp_path, many), ConfigError)
    assert "has the class codes 0, 1, 2, " in sentence and "19 and 4981 more; found" in sentence


def test_numbers_are_stored_as_the_bands_say(tmp_path: Path) -> None:
    band = {"name": "warmth", "unit": "K", "scale": 0.01, "offset": 200.0}
    declared = {"bands": [band], "dtype": "uint16", "valid": (0, 20_000)}
    write_tif(tmp_path / "a.tif", layers(26.85), units=["degC"])
    # 26.85 °C is 300 K, and (300 - 200) / 0.01 = 10000.
    assert pixel(outcome(tmp_path, declared)) == [10_000.0]
    # 2 × 13.4 + 0.05 = 26.85 °C.
    write_tif(tmp_path / "a.tif", layers(13.4))
    assert pixel(outcome(tmp_path, declared, scale=2.0, offset=0.05, unit="degC")) == [10_000.0]
    # 426.85 °C is 700 K, stored 50000.
    write_tif(tmp_path / "a.tif", layers(426.85), units=["degC"])
    sentence = refused(outcome(tmp_path, declared), DataError)
    assert "warmth: found values 50000 to 50000 K, expected 0 to 20000" in sentence


def test_a_file_of_stored_numbers_is_told_by_the_bands_scale(tmp_path: Path) -> None:
    red = {"name": "red", "scale": 0.0000275, "offset": -0.2}
    declared = {"bands": [red], "dtype": "uint16", "nodata": 0}
    write_tif(tmp_path / "a.tif", layers(9_091, dtype="uint16"))
    sentence = refused(outcome(tmp_path, declared), DataError)
    line = "for a file of numbers as they are stored write scale: 2.75e-05 and offset: -0.2"
    assert line in sentence
    assert pixel(outcome(tmp_path, declared, scale=2.75e-05, offset=-0.2)) == [9_091.0]
    # 9091 × 0.0000275 - 0.2 = 0.0500025
    write_tif(tmp_path / "a.tif", layers(0.0500025))
    assert pixel(outcome(tmp_path, declared)) == [9_091.0]


@pytest.mark.parametrize(
    ("ours", "theirs", "stored"),
    [
        ("%", "fraction", 40.0),
        ("%", "percent", 0.4),
        ("1", "percent", 0.004),
        ("g/kg", "g/kg", 0.4),
        ("µg/m3", "µg/m^3", 0.4),
        ("unknown", "cm", 0.4),
    ],
)
def test_units_of_the_users_own(tmp_path: Path, ours: str, theirs: str, stored: float) -> None:
    write_tif(tmp_path / "a.tif", layers(0.4), units=[theirs])
    assert pixel(outcome(tmp_path, {"unit": ours})) == [pytest.approx(stored)]


def test_a_unit_that_cannot_become_the_layers_own(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(0.4), units=["mol"])
    sentence = refused(outcome(tmp_path, {"unit": "g/kg"}), ConfigError)
    assert "a.tif says that its own is in 'mol', expected g/kg; say what it is with" in sentence


def test_bands_go_by_description_number_or_the_entry(tmp_path: Path) -> None:
    embedding = {"bands": {"count": 12, "prefix": "A"}, "valid": (-1, 1)}
    values = layers(*(i / 100 for i in range(12)))
    names = [f"A{i:02}" for i in range(12)]
    write_tif(tmp_path / "a.tif", values, descriptions=names)
    expected = [pytest.approx(i / 100) for i in range(12)]
    assert pixel(outcome(tmp_path, embedding)) == expected
    write_tif(tmp_path / "a.tif", values[::-1], descriptions=names[::-1])
    assert pixel(outcome(tmp_path, embedding)) == expected
    write_tif(tmp_path / "a.tif", values)
    assert pixel(outcome(tmp_path, embedding)) == expected
    two = {"bands": ["low", "high"], "nodata": -1}
    assert pixel(outcome(tmp_path, two, bands={"high": 12})) == [-1.0, pytest.approx(0.11)]
    sentence = refused(outcome(tmp_path, two), ConfigError)
    assert "has 12 bands without descriptions, expected 2: low, high; say which" in sentence


def test_a_tile_has_the_mean_or_the_commonest_class(tmp_path: Path) -> None:
    values = layers(np.nan, 4.0)
    values[0, 4, 4:6] = 10.0, 11.0
    write_tif(tmp_path / "a.tif", values)
    found = seen(outcome(tmp_path, {"level": "tile", "bands": ["wood", "grass"]}))
    assert (found.array.dtype, found.array.tolist()) == (np.float32, [10.5, 4.0])
    both = codes(20)
    both[0, 4:68] = 80  # 64 rows of the tile's 128: of as many, the lesser code
    write_tif(tmp_path / "a.tif", both)
    assert seen(outcome(tmp_path, {"level": "tile"} | LAND_USE)).array.tolist() == [20]
    both[0, 68] = 80
    write_tif(tmp_path / "a.tif", both)
    assert seen(outcome(tmp_path, {"level": "tile"} | LAND_USE)).array.tolist() == [80]


@pytest.mark.parametrize(("pixels", "step"), [(32, 40), (64, 20), (256, 5), (64, 10)])
def test_the_grid_is_the_datasets(tmp_path: Path, pixels: int, step: int) -> None:
    across = np.arange(136, dtype=np.float32) * 10.0 - 35.0  # metres of centres east of the corner
    write_tif(tmp_path / "a.tif", np.tile(across, (1, 136, 1)))
    tile = Tile(TILE.epsg, TILE.left, TILE.top, Grid(pixels, step))
    found = seen(outcome(tmp_path, {"unit": "m"}, tile=tile)).array
    assert found.shape == (1, pixels, pixels)
    inner = slice(1, -1)  # the rim's centres may lie beyond the last of the raster's
    assert np.allclose(found[0, 0, inner], (np.arange(pixels) + 0.5)[inner] * step, atol=1e-2)


def test_an_elevation_of_another_grid_has_its_slope(tmp_path: Path) -> None:
    plane = np.tile(np.arange(200, dtype=np.float32) * 5.0, (1, 200, 1))  # 5 m in 10
    corner = Affine(10.0, 0.0, TILE.left - 40.0, 0.0, -10.0, TILE.top + 40.0)
    write_tif(tmp_path / "a.tif", plane, transform=corner)
    published = Catalogue(Grid(32, 40), MMEARTH_BENCH.layers, MMEARTH_BENCH.tasks)
    entry = {"path": "a.tif", "derive_slope": True}
    entry |= {"product": MMEARTH_BENCH.layers["aster_gdem"].product}
    files = files_of(tmp_path, published, rasters={"aster_gdem": [entry]})
    tile = Tile(TILE.epsg, TILE.left, TILE.top, Grid(32, 40))
    found = seen(files.observe(Visit(tile, ("aster_gdem",), None))["aster_gdem"]).array
    assert found.shape == (2, 32, 32)
    assert np.allclose(found[1], np.degrees(np.arctan(0.5)), atol=1e-3)


BY_YEAR = {"path": "*.tif", "date": {"name": r"_(?P<year>\d{4})\.tif"}}


@pytest.mark.parametrize(
    ("anchor", "value"), [("2019-01-01", 19.0), ("2020-12-31", 20.0), ("2020-02-29", 20.0)]
)
def test_a_layer_of_a_year_shows_the_anchors_year(
    tmp_path: Path, anchor: str, value: float
) -> None:
    for year in (19, 20):
        write_tif(tmp_path / f"crops_20{year}.tif", layers(year))
    found = outcome(tmp_path, {"timing": "year"}, anchor, **BY_YEAR)
    assert (pixel(found), seen(found).acquired) == ([value], anchor[:4])
    later = outcome(tmp_path, {"timing": "year"}, "2021-01-01", **BY_YEAR)
    assert "no file of 2021 covers the tile with own" in refused(later, NoDataError)


def test_other_timings(tmp_path: Path) -> None:
    write_tif(tmp_path / "x_202006.tif", layers(6))
    write_tif(tmp_path / "x_202008.tif", layers(8))
    date = {"date": {"name": r"_(?P<year>\d{4})(?P<month>\d\d)"}, "path": "*.tif"}
    found = outcome(tmp_path, {"timing": "month"}, "2020-06-30", **date)
    assert (pixel(found), seen(found).acquired) == ([6.0], "2020-06")
    found = outcome(tmp_path, {"timing": "month"}, "2020-07-02", **date)
    assert "no file of 2020-07 covers" in refused(found, NoDataError)
    with pytest.raises(ValueError, match="needs groups year, month and day"):
        outcome(tmp_path, {"timing": "nearest"}, **date)
    with pytest.raises(ValueError, match="needs groups year and month"):
        outcome(tmp_path, {"timing": "month"}, **BY_YEAR)
    days = [
        {"path": f"x_2020{month:02}.tif", "date": {"value": f"2020-{month:02}-15"}}
        for month in (6, 8)
    ]
    for timing, anchor, expected in (
        ("nearest", "2020-07-10", ("2020-06-15", 6.0)),
        ("static", "2023-07-20", ("2020-08-15", 8.0)),
        ("anchor", "2020-08-15", ("2020-08-15", 8.0)),
    ):
        files = files_of(tmp_path, catalogue(own={"timing": timing}), rasters={"own": days})
        one = seen(files.observe(Visit(TILE, ("own",), anchor))["own"])
        assert (one.acquired, one.array[0, 0, 0]) == expected
    files = files_of(tmp_path, catalogue(own={"timing": "anchor"}), rasters={"own": days})
    none = files.observe(Visit(TILE, ("own",), "2020-08-16"))["own"]
    assert "no file of 2020-08-16 covers" in refused(none, NoDataError)


def test_a_file_without_a_date_is_of_any_time(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(5))
    found = outcome(tmp_path, {"timing": "year"}, "2021-01-01")
    assert (pixel(found), seen(found).acquired) == ([5.0], None)


def test_polygons_tell_a_class_by_name_or_code(tmp_path: Path) -> None:
    x, y = TILE.lon, TILE.lat
    squares = [shapely.box(x + i - 0.5, y - 1, x + i + 0.5, y + 1) for i in range(5)]
    kinds = ["Farm Land", "80", "80.0", "meadow", None]
    frame = gpd.GeoDataFrame({"use": kinds}, geometry=squares, crs=4326)
    frame.to_file(tmp_path / "use.gpkg")
    declared = {"level": "tile", "classes": {10: "forest", 20: "farm_land", 80: "water"}}
    entry = {"path": "use.gpkg", "field": "use"}
    files = files_of(tmp_path, catalogue(own=declared), polygons={"own": entry})
    found = [files.observe(Visit(Tile.at(x + i, y), ("own",), None))["own"] for i in range(5)]
    assert [seen(one).array.tolist() for one in found[:3]] == [[20], [80], [80]]
    assert seen(found[0]).source_ids == ("use.gpkg#Farm Land",)
    expected = "use.gpkg: 'meadow' is no class of own; expected one of forest, farm_land, water"
    assert refused(found[3], DataError) == expected
    assert "no polygon of use.gpkg with a own" in refused(found[4], NoDataError)


@pytest.mark.parametrize(
    ("declared", "document", "sentence"),
    [
        ({}, {"polygons": {"own": {"path": "a", "field": "b"}}}, "'own' cannot come from polygons"),
        (
            {"level": "tile"} | LAND_USE,
            {"rasters": {"own": []}, "polygons": {"own": {"path": "a", "field": "b"}}},
            "own is named in rasters: and in polygons:; keep one of them",
        ),
        ({}, {"rasters": {"owm": []}}, "'owm' cannot come from rasters; expected "),
        ({}, {"rasters": {"own": [{"path": "a", "months": True}]}}, "own: months is for precip"),
        ({}, {"rasters": {"own": [{"path": "a", "scale": "auto"}]}}, "own: auto is for scale and"),
        (
            {"product": "CORINE 2018"},
            {"rasters": {"own": [{"path": "a", "product": "CORINE 2012"}]}},
            "own: product 'CORINE 2012' is not 'CORINE 2018'; if it shall be used all the same",
        ),
    ],
)
def test_a_build_whose_entries_cannot_be_meant(
    declared: dict[str, Any], document: dict[str, Any], sentence: str
) -> None:
    build = {
        "name": "own",
        "title": "Own",
        "layers": {"own": declared},
        "source": {"kind": "files", **document},
        "tasks": {"yields": {"points": {"path": "a.csv"}}},
    }
    with pytest.raises(ValueError, match=sentence):
        BuildConfig.model_validate(build)


def test_what_the_layer_is_changes_the_identity(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(0.5))

    def identity(**declared: dict[str, Any]) -> str:
        known = catalogue(**declared)
        source = files_of(tmp_path, known, rasters={"own": [{"path": "a.tif"}]})
        (found,) = Identities(known, source, ()).all_of(TILE, ("own",), None, ("own",))
        return found

    plain = identity(own={})
    others = [identity(own={"unit": "m"}), identity(own={"bands": [{"name": "own", "scale": 0.5}]})]
    assert len({plain, *others}) == 3
    assert {why_other(plain, other) for other in others} == {"layer changed"}
    assert identity(own={}, other={}) == plain


def test_a_task_has_a_raster_for_its_target(tmp_path: Path) -> None:
    crops = own_task(
        "crops", TargetConfig(level="pixel", classes={1: "wheat", 3: "maize"}, nodata=0)
    )
    write_tif(tmp_path / "a.tif", codes(1, 3, 0, 255), nodata=255)
    known = Catalogue(DEFAULT_GRID, {}, {"crops": crops})
    painter = raster_target("crops", RasterTargets(path="a.tif"), tmp_path, known)
    found = seen(painter.paint(TILE, None))
    assert found.layer == known.tasks["crops"].target
    assert found.array[0, :4, 0].tolist() == [3, 0, 0, 1]
    west, south, east, north = painter.boxes[0]
    assert west < TILE.lon < east and south < TILE.lat < north
