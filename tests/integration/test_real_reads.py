"""Real files come onto a tile as plain, independent reads of them do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig
from mmearth.curate.sources.files.inspect import inspect_raster
from mmearth.tests.raster_files import refused, seen

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

SCENES = ("38D_378R_2_3", "282D_485L_3_3", "433D_629L_3_1")
BANDS = [band.name for band in MMEARTH_BENCH.layers["sentinel2"].bands]
L1C = [*BANDS[:8], "B8A", "B9", "B10", "B11", "B12"]
DAY = {"date": {"value": "2021-06-15"}}


def at(path: Path) -> Tile:
    """Return the tile in a raster's middle."""
    with rasterio.open(path) as dataset:
        x, y = dataset.transform @ (dataset.width / 2.0, dataset.height / 2.0)
        [lon], [lat] = Transformer.from_crs(dataset.crs, 4326, always_xy=True).transform([x], [y])
    return Tile.at(lon, lat)


def plain(path: Path, tile: Tile, **opened: Any) -> NDArray[Any]:
    """Return all bands where the tile's pixel centres are, taken one by one from the file."""
    steps = np.arange(128) * 10.0 + 5.0
    x, y = np.meshgrid(tile.left + steps, tile.top - steps)
    with rasterio.open(path, **opened) as dataset:
        x, y = Transformer.from_crs(tile.epsg, dataset.crs, always_xy=True).transform(x, y)
        columns, rows = ~dataset.transform @ (x, y)
        whole = dataset.read()
    found: NDArray[Any] = whole[:, np.floor(rows).astype(int), np.floor(columns).astype(int)]
    return found


def test_terramesh_l1c_by_its_names(real_data: Path) -> None:
    path = real_data / "scenes" / "terramesh" / SCENES[0] / "S2L1C.tif"
    entry = {"path": path.name, "resampling": "nearest", "tile": at(path), **DAY}
    sentence = refused(path.parent, "sentinel2", ConfigError, **entry)
    assert "has 13 bands without descriptions, expected 12" in sentence
    bands = {band: L1C.index(band) + 1 for band in BANDS}
    found = seen(path.parent, "sentinel2", bands=bands, clamp=True, **entry).array
    expected = plain(path, at(path))[[L1C.index(band) for band in BANDS]]
    assert np.array_equal(found, np.maximum(expected, 0))
    told = "{" + ", ".join(f"{band}: {number}" for band, number in bands.items()) + "}"
    assert told in sentence  # the line to write is the one that is right


@pytest.mark.parametrize("scene", SCENES)
def test_terramesh_l2a(real_data: Path, scene: str) -> None:
    path = real_data / "scenes" / "terramesh" / scene / "S2L2A.tif"
    entry = {"path": path.name, "resampling": "nearest", "tile": at(path), **DAY}
    found = seen(path.parent, "sentinel2", clamp=True, **entry).array
    assert np.array_equal(found, np.maximum(plain(path, at(path)), 0))


def test_bigearthnet_is_taken_band_by_band(real_data: Path) -> None:
    [folder] = (real_data / "scenes" / "bigearthnet_s2").glob("*_36_85")
    names = {f"B{int(n)}": f"*_B{n}.tif" for n in ("02", "03", "04", "08")}
    tile = at(next(folder.glob("*_B02.tif")))
    entry = {"path": folder.name, "files": names, "tile": tile, **DAY}
    found = seen(folder.parent, "sentinel2", **entry).array
    for band, pattern in names.items():
        with rasterio.open(next(folder.glob(pattern))) as dataset:
            raw, box = dataset.read(1), dataset.bounds
        array = found[BANDS.index(band)]
        known = array != 65535
        # The patch is 120 pixels wide, the tile 128, on the same grid.
        column, row = round(box.left - tile.left) // 10, round(tile.top - box.top) // 10
        inside = array[max(0, row) : row + 120, max(0, column) : column + 120]
        expected = raw[max(0, -row) :, max(0, -column) :][: inside.shape[0], : inside.shape[1]]
        assert np.array_equal(inside, expected)
        assert known.sum() == expected.size


def test_worldcover_becomes_our_codes_without_a_word(real_data: Path) -> None:
    [path] = (real_data / "landcover").glob("*2020_v100*.tif")
    tile = Tile.at(6.6, 0.2)
    found = seen(path.parent, "esa_worldcover", path=path.name, tile=tile).array[0]
    codes = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100])
    assert np.mean(codes[found] == plain(path, tile)[0]) > 0.99  # GDAL: an eighth of a pixel
    assert len(np.unique(found)) > 1


def test_agera5_from_november_to_october(real_data: Path) -> None:
    folder = real_data / "scenes" / "worldcereal"
    name = "worldcereal_preprocessed_inputs.nc"
    with rasterio.open(f'netcdf:"{folder / name}":AGERA5-TMEAN') as dataset:
        raw = dataset.read().astype(float)
        days = [int(dataset.tags(i)["NETCDF_DIM_t"]) for i in dataset.indexes]
        x, y = dataset.transform @ (dataset.width / 2.0, dataset.height / 2.0)
        [lon], [lat] = Transformer.from_crs(dataset.crs, 4326, always_xy=True).transform([x], [y])
    first = np.datetime64("1990-01-01")
    months = [str(first + np.timedelta64(day, "D"))[:7] for day in days]
    assert (months[0], months[-1]) == ("2020-11", "2021-10")
    entry = {
        **{"path": name, "variable": "AGERA5-TMEAN", "scale": 0.01, "months": True},
        **{"nodata": 65535, "product": "AgERA5", "stand_in": "of 2021"},
    }
    found = seen(folder, "temperature", anchor="2021-06-10", tile=Tile.at(lon, lat), **entry)
    june, may = raw[months.index("2021-06")] / 100, raw[months.index("2021-05")] / 100
    assert found.array[4] == pytest.approx(june.mean(), abs=0.02)
    assert found.array[4] == pytest.approx(291.52, abs=0.02)
    assert found.array[1] == pytest.approx(may.mean(), abs=0.02)


def test_every_real_entry_can_be_inspected(real_data: Path) -> None:
    folder = real_data / "scenes" / "terramesh"
    document = {
        "kind": "files",
        "rasters": {
            "sentinel2": [
                {
                    **{"path": "*/S2L2A.tif", "product": "COPERNICUS/S2_SR_HARMONIZED"},
                    "date": {"tag": "datetime", "file": "LULC.tif"},
                }
            ]
        },
    }
    source = Files(FilesConfig.model_validate(document), folder, MMEARTH_BENCH)
    [entry] = FilesConfig.model_validate(document).rasters["sentinel2"]
    facts = inspect_raster(source, "sentinel2", entry, [at(folder / SCENES[2] / "S2L2A.tif")])
    assert facts.dates == ("2020-04-08", "2021-07-23", "2023-06-10")
    assert len(facts.files) == 3
    assert [(band.ours, band.number, band.how) for band in facts.bands[:2]] == [
        ("B1", 1, "number"),
        ("B2", 2, "number"),
    ]
    # Chile's numbers are 1000 too high, which nothing in the file tells.
    assert [text.partition(",")[0] for text in facts.warnings] == ["offset: no value is below 1039"]
