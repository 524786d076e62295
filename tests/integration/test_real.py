"""A build from real files holds what plain, independent reads of the same files give."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.windows import Window

from mmearth.build import Options, build
from mmearth.catalog.ecoregions import BIOMES, ECOREGIONS
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile, lonlat_bounds

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCENES = ("38D_378R_2_3", "282D_485L_3_3", "433D_629L_3_1")
CHILE = "433D_629L_3_1"
PATCHES = {
    "S2A_MSIL2A_20170617T113321_36_85": "2017-06-17",
    "S2A_MSIL2A_20171221T112501_56_35": "2017-12-21",
    "S2B_MSIL2A_20170914T093029_32_39": "2017-09-14",
    "S2B_MSIL2A_20180421T114349_41_4": "2018-04-21",
}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def dataset(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of examples/real.yaml, its paths led to where the real files are."""
    config = tmp_path_factory.mktemp("config") / "real.yaml"
    text = (EXAMPLES / "real.yaml").read_text(encoding="utf-8")
    assert text.count("../../shared/real") == 2  # root and the ranges
    config.write_text(text.replace("../../shared/real", real_data.as_posix()), encoding="utf-8")
    shutil.copy(EXAMPLES / "real_places.csv", config.parent)
    out = tmp_path_factory.mktemp("real") / "dataset"
    # One thread: Python 3.11 cannot silence a warning, as rasterio does, in one thread of several.
    summary = build(config, out, Options(1, "threads", None, False), lambda *_: None)
    assert (summary.failures, summary.problems) == (0, ())
    assert summary.exit_code == 0
    return out


@pytest.fixture(scope="module")
def rows(dataset: Path) -> dict[str, Row]:
    """The manifest's rows by the place's name."""
    table = pq.read_table(dataset / "manifests" / "species.parquet")
    return {row["label_id"]: row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def points(real_data: Path) -> dict[str, dict[str, str]]:
    """The reference values of each place."""
    with (real_data / "reference_points.csv").open(encoding="utf-8") as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}


def member(dataset: Path, row: Row, name: str) -> NDArray[Any]:
    """Return a pixel-level modality from its bytes in the shard, with NumPy alone."""
    where = row[name]
    with (dataset / row["shard"]).open("rb") as stream:
        stream.seek(where["byte_offset"])
        found: NDArray[Any] = np.load(io.BytesIO(stream.read(where["byte_length"])))
    return found


def tile_values(row: Row, name: str) -> dict[str, float]:
    """Return a tile-level modality, by band."""
    values = row[name]["values"]
    return dict(zip(MMEARTH_BENCH.layers[name].band_names, values, strict=True))


def window(path: Path, row: Row) -> tuple[NDArray[Any], Window]:
    """Return the 128 × 128 pixels whose squares hold the tile's pixel centres, all bands."""
    with rasterio.open(path) as raster:
        assert raster.crs.to_epsg() == row["epsg"]
        column = int(np.floor((row["left"] + 5 - raster.bounds.left) / 10))
        line = int(np.floor((raster.bounds.top - (row["top"] - 5)) / 10))
        where = Window(column, line, 128, 128)
        return raster.read(window=where), where


def test_every_place_is_a_sample_but_the_one_beside_its_neighbour(rows: dict[str, Row]) -> None:
    with (EXAMPLES / "real_places.csv").open(encoding="utf-8") as stream:
        places = {row["id"]: row["date"] for row in csv.DictReader(stream)}
    # Two Sentinel-1 patches touch; tiles are wider than patches, so one of them is left out.
    left_out = set(places) - set(rows)
    assert len(left_out) == 1
    assert left_out.pop().startswith("S1A_IW_GRDH")
    assert {name: row["date"].isoformat() for name, row in rows.items()} == {
        name: date for name, date in places.items() if name in rows
    }


@pytest.mark.parametrize("scene", SCENES)
def test_sentinel2_equals_a_plain_read(
    dataset: Path, rows: dict[str, Row], real_data: Path, scene: str
) -> None:
    found = member(dataset, rows[scene], "sentinel2")
    expected, _ = window(real_data / "scenes" / "terramesh" / scene / "S2L2A.tif", rows[scene])
    if scene == CHILE:
        assert expected.min() >= 1000
        expected = expected - 1000
    assert expected.shape == (12, 128, 128)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("scene", "first"), [("38D_378R_2_3", 0), ("282D_485L_3_3", 4), (CHILE, 0)]
)
def test_sentinel1_stands_in_its_own_orbit(
    dataset: Path, rows: dict[str, Row], real_data: Path, scene: str, first: int
) -> None:
    found = member(dataset, rows[scene], "sentinel1")
    expected, _ = window(real_data / "scenes" / "terramesh" / scene / "S1RTC.tif", rows[scene])
    assert np.array_equal(found[first : first + 2], expected.astype(np.float32))
    others = [band for band in range(8) if band not in (first, first + 1)]
    assert np.all(found[others] == -9999)
    assert "RTC" in rows[scene]["sentinel1"]["stand_in"]


@pytest.mark.parametrize("scene", SCENES)
def test_elevation_lies_between_the_pixels_around_it(
    dataset: Path, rows: dict[str, Row], real_data: Path, scene: str
) -> None:
    found = member(dataset, rows[scene], "aster_gdem")
    path = real_data / "scenes" / "terramesh" / scene / "DEM.tif"
    _, where = window(path, rows[scene])
    with rasterio.open(path) as raster:
        around = raster.read(
            1, window=Window(where.col_off - 1, where.row_off - 1, 130, 130)
        ).astype(np.float32)
    near = np.lib.stride_tricks.sliding_window_view(around, (3, 3))
    assert np.all(found[0] >= near.min((2, 3)) - 1e-3)
    assert np.all(found[0] <= near.max((2, 3)) + 1e-3)
    assert 0.0 <= found[1].min() <= found[1].max() < 60.0
    assert "elevation" in rows[scene]["aster_gdem"]["stand_in"]


@pytest.mark.parametrize("patch", PATCHES)
def test_a_patch_smaller_than_the_tile_leaves_its_rim_empty(
    dataset: Path, rows: dict[str, Row], real_data: Path, patch: str
) -> None:
    row = rows[patch]
    found = member(dataset, row, "sentinel2")
    assert row["sentinel2"]["acquired"] == PATCHES[patch]
    assert row["sentinel2"]["valid_fraction"] == 120 * 120 / (128 * 128)
    folder = real_data / "scenes" / "bigearthnet_s2" / patch
    for index, band in ((1, "B02"), (2, "B03"), (3, "B04"), (7, "B08")):
        with rasterio.open(folder / f"{patch}_{band}.tif") as raster:
            left = int(raster.bounds.left - row["left"]) // 10
            top = int(row["top"] - raster.bounds.top) // 10
            assert np.array_equal(found[index, top : top + 120, left : left + 120], raster.read(1))
    assert np.count_nonzero(found != 65535) == 12 * 120 * 120
    with rasterio.open(folder / f"{patch}_B01.tif") as raster:
        coarse = raster.read(1)
    inside = found[0][found[0] != 65535]
    assert coarse.min() <= inside.min() <= inside.max() <= coarse.max()


@pytest.mark.parametrize("place", [*SCENES, "98-togo", "sao_tome", "GEDI_amazon"])
def test_biome_and_ecoregion_equal_the_reference(
    rows: dict[str, Row], points: dict[str, dict[str, str]], place: str
) -> None:
    row, point = rows[place], points[place]
    if not point["ECO_ID"]:  # the mangrove coast of Paraná lies outside the generalised polygons
        assert place == "282D_485L_3_3"
        assert row["biome"] is row["ecoregion"] is None
        assert not row["biome_observation"]["present"]
        return
    region = ECOREGIONS[row["ecoregion"]]
    assert (region.eco_id, region.name) == (int(point["ECO_ID"]), point["ECO_NAME"])
    assert BIOMES[row["biome"]] == point["BIOME_NAME"]


@pytest.mark.parametrize("place", [*SCENES, "98-togo", "sao_tome", "GEDI_amazon"])
def test_climate_equals_the_reference(
    dataset: Path, rows: dict[str, Row], points: dict[str, dict[str, str]], place: str
) -> None:
    temperature = tile_values(rows[place], "temperature")
    precipitation = tile_values(rows[place], "precipitation")
    by_degree = place in ("sao_tome", "GEDI_amazon")  # only the 1° means reach these
    kelvin = float(points[place]["era5_clim_t2m_degC"]) + 273.15
    metres = float(points[place]["era5_clim_tp_mm"]) / 1000.0
    # The reference is rounded to 0.01 °C and 0.1 mm; the means over 1° are of other ground.
    assert abs(temperature["month_mean"] - kelvin) < (2.0 if by_degree else 0.00501)
    assert abs(precipitation["month"] - metres) < (0.05 if by_degree else 0.0000501)
    unknown = {name for name, value in temperature.items() if value == -9999}
    assert unknown == {name for name in temperature if not name.endswith("_mean")}
    assert "2000 to 2025" in rows[place]["temperature"]["stand_in"]


def test_worldcover_equals_a_plain_nearest_read(
    dataset: Path, rows: dict[str, Row], real_data: Path
) -> None:
    row = rows["sao_tome"]
    steps = np.arange(128) * 10.0 + 5.0
    x, y = np.meshgrid(row["left"] + steps, row["top"] - steps)
    lon, lat = Transformer.from_crs(row["epsg"], 4326, always_xy=True).transform(x, y)
    [path] = (real_data / "landcover").glob("ESA_WorldCover_10m_2020_v100_*.tif")
    with rasterio.open(path) as raster:
        product = raster.read(1)
        column = (lon - raster.bounds.left) / raster.res[0]
        line = (raster.bounds.top - lat) / raster.res[1]
    expected = product[np.floor(line).astype(int), np.floor(column).astype(int)]
    codes = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100]
    found = np.array(codes)[member(dataset, row, "esa_worldcover")[0]]
    # On the line between two pixels GDAL, which may be an eighth of a pixel off, may take either.
    beside = np.maximum(np.abs(column % 1 - 0.5), np.abs(line % 1 - 0.5)) > 0.375
    assert np.array_equal(found[~beside], expected[~beside])
    assert np.mean(found == expected) > 0.99
    assert len(np.unique(found)) > 1


def test_what_no_file_covers_is_missing(dataset: Path, rows: dict[str, Row]) -> None:
    present = {
        name: {place for place, row in rows.items() if row[name]["present"]}
        for name in MMEARTH_BENCH.layers
        if MMEARTH_BENCH.layers[name].level == "pixel"
    }
    [radar] = {place for place in rows if place.startswith("S1A")}
    assert present == {
        "sentinel2": {*SCENES, *PATCHES},
        "sentinel1": {*SCENES, radar},
        "aster_gdem": set(SCENES),
        "eth_gch": set(),
        "dynamic_world": set(),
        "esa_worldcover": {"sao_tome"},
    }
    table = pq.read_table(dataset / "observations.parquet").to_pylist()
    assert {row["state"] for row in table} == {"done", "missing"}
    assert all(row["reason"] for row in table if row["state"] == "missing")


def test_species_are_those_whose_range_touches_the_tile(
    rows: dict[str, Row], real_data: Path
) -> None:
    [path] = (real_data / "species").glob("phylacine_*.gpkg")
    with np.errstate(invalid="ignore"):  # some coordinates are NaN, which NumPy warns about
        ranges = gpd.read_file(path)
    ranges["name"] = ranges["sci_name"].str.replace("_", " ")
    ranges = ranges[ranges["name"].isin(MMEARTH_BENCH.tasks["species"].outputs)]
    for row in rows.values():
        tile = Tile(row["epsg"], row["left"], row["top"])
        touched = ranges[ranges.intersects(shapely.box(*lonlat_bounds([tile])[0]))]["name"]
        assert set(row["species"]) == set(touched)
    assert len(rows["38D_378R_2_3"]["species"]) > 5
    assert rows[CHILE]["species"] == []


def test_stac_tells_what_stands_in_for_what(dataset: Path, rows: dict[str, Row]) -> None:
    key = rows[CHILE]["key"]
    catalog = pystac.Catalog.from_file(str(dataset / "stac" / "catalog.json"))
    [item] = [item for item in catalog.get_items(recursive=True) if item.id == key]
    told = str(item.to_dict(include_self_link=False))
    for name in ("sentinel1", "aster_gdem"):
        assert rows[CHILE][name]["stand_in"] in told
    assert rows[CHILE]["sentinel2"]["stand_in"] is None
