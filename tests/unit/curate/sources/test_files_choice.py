"""Which files make an observation: of an entry the date that suits, laid together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.shutil import copy
from rasterio.transform import Affine

from mmearth.catalog.errors import DataError, NoDataError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.polygons import parts
from mmearth.tests.raster_files import files_of

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

TILE = Tile(32633, 500_000, 5_000_000)
DATE = {"name": r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a GeoTIFF of 10 m pixels, so many columns east of the tile's corner."""

    def raster(name: str, values: NDArray[Any], column: int = 0, **options: Any) -> Path:
        values = values if values.ndim == 3 else values[None]
        left = TILE.left + 10.0 * column
        profile = {
            "driver": "GTiff",
            "count": values.shape[0],
            "height": values.shape[1],
            "width": values.shape[2],
            "dtype": values.dtype,
            "crs": "EPSG:32633",
            "transform": Affine(10.0, 0.0, left, 0.0, -10.0, TILE.top),
        } | options
        with rasterio.open(tmp_path / name, "w", **profile) as dataset:
            dataset.write(values)
        return tmp_path / name

    return raster


def source(root: Path, name: str, **entry: Any) -> Files:
    """Return the source of one entry, of the modality's own product."""
    entry = {"product": MMEARTH_BENCH.layers[name].product, **entry}
    return files_of(root, rasters={name: [entry]})


def outcome(root: Path, name: str, anchor: str | None = "2020-07-01", **entry: Any) -> Outcome:
    """Return what the tile has of a modality by one entry."""
    return source(root, name, **entry).observe(Visit(TILE, (name,), anchor))[name]


def seen(found: Outcome) -> Observation:
    """Return an outcome that must be an observation."""
    assert isinstance(found, Observation), found
    found.check()
    return found


def scene(value: int, columns: int = 128) -> NDArray[np.uint16]:
    """Return Sentinel-2 of one value over the first columns."""
    return np.full((12, 128, columns), value, np.uint16)


def test_a_map_cut_in_two_is_laid_together(tmp_path: Path, write: Write) -> None:
    write("b.tif", np.full((128, 128), 30, np.uint8), column=30)
    write("a.tif", np.full((128, 40), 20, np.uint8))
    found = seen(outcome(tmp_path, "esa_worldcover", path="*.tif"))
    assert np.all(found.array[0, :, :40] == 1)  # the first by name, where both have a value
    assert np.all(found.array[0, :, 40:] == 2)
    assert found.source_ids == ("a.tif", "b.tif")


def test_slope_runs_across_the_seam_of_two_files(tmp_path: Path, write: Write) -> None:
    plane = np.tile(np.arange(136, dtype=np.float32), (136, 1))
    top = Affine(10.0, 0.0, TILE.left - 40.0, 0.0, -10.0, TILE.top + 40.0)
    write("a.tif", plane[:, :70], transform=top)
    write("b.tif", plane[:, 70:], transform=top @ Affine.translation(70, 0))
    found = seen(outcome(tmp_path, "aster_gdem", path="*.tif", derive_slope=True))
    assert np.allclose(found.array[1], 5.710593, atol=1e-4)  # a metre in ten


def test_files_that_add_nothing_are_not_named(tmp_path: Path, write: Write) -> None:
    write("a.tif", np.full((128, 128), 20, np.uint8))
    write("b.tif", np.full((128, 128), 30, np.uint8))
    found = seen(outcome(tmp_path, "esa_worldcover", path="*.tif"))
    assert found.source_ids == ("a.tif",)


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [(None, "2020-05-01"), ("2020-05-20", "2020-05-01"), ("2020-08-03", "2020-07-30")],
)
def test_the_nearest_date_is_taken(
    tmp_path: Path, write: Write, anchor: str | None, expected: str
) -> None:
    write("s2_20200501.tif", scene(100))
    write("s2_20200730.tif", scene(200))
    found = seen(outcome(tmp_path, "sentinel2", anchor, path="*.tif", date=DATE))
    assert found.acquired == expected
    assert np.all(found.array == (100 if expected == "2020-05-01" else 200))


def test_a_sliver_of_the_nearest_date_is_not(tmp_path: Path, write: Write) -> None:
    write("s2_20200501.tif", scene(100))
    write("s2_20200730.tif", scene(200, columns=6))
    found = seen(outcome(tmp_path, "sentinel2", "2020-07-30", path="*.tif", date=DATE))
    assert found.acquired == "2020-05-01"
    assert np.all(found.array == 100)  # images of two dates are never mixed


def test_where_none_covers_enough_the_most_complete_is_taken(tmp_path: Path, write: Write) -> None:
    write("s2_20200501.tif", scene(100, columns=64))
    write("s2_20200730.tif", scene(200, columns=6))
    found = seen(outcome(tmp_path, "sentinel2", "2020-07-30", path="*.tif", date=DATE))
    assert (found.acquired, found.valid_fraction) == ("2020-05-01", 0.5)


def test_damage_counts_only_where_nothing_else_covers(tmp_path: Path, write: Write) -> None:
    damaged = write("a20200501.tif", scene(100))
    damaged.write_bytes(damaged.read_bytes()[:-20_000])
    found = outcome(tmp_path, "sentinel2", path="*.tif", date=DATE)
    assert type(found) is DataError
    write("b20200730.tif", scene(200))
    found = outcome(tmp_path, "sentinel2", "2020-05-01", path="*.tif", date=DATE)
    assert np.all(seen(found).array == 200)


def test_a_mask_inside_the_file_is_no_data(tmp_path: Path, write: Write) -> None:
    path = write("a.tif", np.full((2, 128, 128), 7.0, np.float32))
    mask = np.full((128, 128), 255, np.uint8)
    mask[:32] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    found = seen(outcome(tmp_path, "eth_gch", path="a.tif"))
    assert found.valid_fraction == 0.75
    assert np.all(found.array[:, :32] == 255)


def test_rows_may_run_north(tmp_path: Path, write: Write) -> None:
    south_up = Affine(10.0, 0.0, TILE.left, 0.0, 10.0, TILE.top - 1280.0)
    rows = np.repeat(np.arange(128, dtype=np.float32)[:, None], 128, axis=1)
    write("a.tif", rows, transform=south_up)
    found = seen(outcome(tmp_path, "eth_gch", path="a.tif", bands={"height": 1}))
    assert found.array[0, :, 0].tolist() == list(range(127, -1, -1))


def test_finer_pixels_are_averaged_alike_up_to_the_edge(tmp_path: Path, write: Write) -> None:
    # 1 m pixels, each with its own x in decametres: bilinear keeps the plane, edge or not.
    values = np.tile((np.arange(1480, dtype=np.float32) - 99.5) / 10.0 + 50.0, (1480, 1))
    corner = Affine(1.0, 0.0, TILE.left - 100.0, 0.0, -1.0, TILE.top + 100.0)
    write("a.tif", values, transform=corner)
    found = seen(outcome(tmp_path, "eth_gch", path="a.tif", bands={"height": 1}))
    assert np.allclose(found.array[0], np.arange(128) + 0.5 + 50.0, atol=1e-3)


def test_each_statistic_may_have_its_own_file(tmp_path: Path, write: Write) -> None:
    write("max.tif", np.full((128, 128), 300.0, np.float32))
    write("mean.tif", np.full((128, 128), 290.0, np.float32))
    files = {"month_max": "max.tif", "month_mean": "mean.tif"}
    found = seen(outcome(tmp_path, "temperature", path=".", files=files))
    assert found.array[3:5].tolist() == [300.0, 290.0]
    assert found.acquired == "2020-07"


def test_a_climatology_is_of_no_date(tmp_path: Path, write: Write) -> None:
    write("a.tif", np.full((12, 128, 128), 10.0, np.float32))
    found = seen(outcome(tmp_path, "temperature", path="a.tif", months=True, unit="degC"))
    assert found.acquired is None


def test_a_unit_that_the_file_declares_is_believed(tmp_path: Path, write: Write) -> None:
    path = write("a.tif", np.full((128, 128), 0.8, np.float32))
    with rasterio.open(path, "r+") as dataset:
        dataset.units = ("mm month-1",)
    found = outcome(tmp_path, "precipitation", path="a.tif", bands={"month": 1})
    assert seen(found).array[1] == pytest.approx(0.0008)
    told = outcome(tmp_path, "precipitation", path="a.tif", bands={"month": 1}, unit="cm")
    assert seen(told).array[1] == pytest.approx(0.008)  # what the entry says counts


def test_rock_and_ice_has_neither_biome_nor_ecoregion(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(
        {"BIOME_NAME": ["N/A"], "ECO_NAME": ["Rock and Ice"]},
        geometry=[shapely.box(0, 0, 60, 60)],
        crs=4326,
    )
    frame.to_file(tmp_path / "a.gpkg")
    polygons = {
        name: {"path": "a.gpkg", "field": field, "product": "RESOLVE/ECOREGIONS/2017"}
        for name, field in (("biome", "BIOME_NAME"), ("ecoregion", "ECO_NAME"))
    }
    found = files_of(tmp_path, polygons=polygons).observe(Visit(TILE, ("biome", "ecoregion"), None))
    assert {name: type(error) for name, error in found.items()} == {
        "biome": NoDataError,
        "ecoregion": NoDataError,
    }


def test_the_fingerprint_sees_pixels_dates_and_attributes(tmp_path: Path, write: Write) -> None:
    path = write("a.tif", np.zeros((400, 400), np.uint8))  # not compressed: 160 kB
    (tmp_path / "a.json").write_text('{"day": "2020-01-01"}')
    date = {"json_key": "day", "file": "a.json"}

    def fingerprint() -> str:
        files = source(tmp_path, "esa_worldcover", path="a.tif", date=date)
        return files.under(TILE, "esa_worldcover")

    before = fingerprint()
    (tmp_path / "a.json").write_text('{"day": "2020-01-02"}')
    assert fingerprint() != before
    (tmp_path / "a.json").write_text('{"day": "2020-01-01"}')
    assert fingerprint() == before
    data = bytearray(path.read_bytes())
    data[len(data) // 2] = 1
    path.write_bytes(bytes(data))
    assert fingerprint() != before


def test_the_fingerprint_sees_what_lies_beside_a_raster(tmp_path: Path, write: Write) -> None:
    path = write("a.tif", np.zeros((400, 400), np.uint8))
    copy(path, tmp_path / "a.vrt", driver="VRT")
    copy(path, tmp_path / "a.zarr", driver="Zarr")  # a directory

    def fingerprints() -> dict[str, str]:
        names = ("a.tif", "a.vrt", "a.zarr")
        return {
            name: source(tmp_path, "esa_worldcover", path=name).under(TILE, "esa_worldcover")
            for name in names
        }

    def changed() -> list[str]:
        nonlocal before
        now = fingerprints()
        found, before = [name for name in now if now[name] != before[name]], now
        return found

    before = fingerprints()
    write("half.tif", np.zeros((200, 200), np.uint8)).rename(tmp_path / "a.tif.ovr")
    (tmp_path / "a.txt").write_text("notes")
    assert changed() == []
    said = "<PAMRasterBand band='1'><NoDataValue>7</NoDataValue></PAMRasterBand>"
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{said}</PAMDataset>")
    assert changed() == ["a.tif"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] = 1
    path.write_bytes(bytes(data))
    assert changed() == ["a.tif", "a.vrt"]
    within = sorted((tmp_path / "a.zarr").rglob("*"))
    chunk = next(each for each in within if each.is_file() and each.name[0] != ".")
    chunk.write_bytes(chunk.read_bytes() + b"x")
    assert changed() == ["a.zarr"]


def test_a_layer_of_several_files_is_all_of_them(tmp_path: Path) -> None:
    for name in ("a.tab", "a.dat", "a.map", "a.id", "a.txt", "a.mif", "a.mid", "a.gpkg"):
        (tmp_path / name).touch()
    found = {name: [p.suffix for p in parts(tmp_path / name)] for name in ("a.tab", "a.mif")}
    assert found == {"a.tab": [".dat", ".id", ".map", ".tab"], "a.mif": [".mid", ".mif"]}
    assert parts(tmp_path / "a.gpkg") == [tmp_path / "a.gpkg"]


@pytest.mark.parametrize(
    ("name", "entry", "sentence"),
    [
        ("sentinel1", {"derive_slope": True}, "derive_slope is for aster_gdem only"),
        ("sentinel1", {"months": True}, "months is for precipitation and temperature"),
        ("sentinel1", {"classes": {1: 1}}, "sentinel1 has none"),
        ("esa_worldcover", {"resampling": "bilinear"}, "bilinear would blend class codes"),
        ("sentinel1", {"files": {"asc_VV": "a"}, "bands": {"asc_VH": 1}}, "leave out bands:"),
        ("sentinel1", {"path": "/data/*.tif"}, "leaves root:; give it relative to root:"),
        ("sentinel1", {"path": "../a.tif"}, "leaves root:"),
    ],
)
def test_an_entry_that_cannot_be_meant(
    tmp_path: Path, name: str, entry: dict[str, Any], sentence: str
) -> None:
    document = {"path": "a.tif", "product": MMEARTH_BENCH.layers[name].product, **entry}
    with pytest.raises(ValueError, match=sentence):
        files_of(tmp_path, rasters={name: [document]})
