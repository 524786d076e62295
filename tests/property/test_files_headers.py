"""Rasters whose headers are damaged are refused in a sentence, or give what a plain read gives."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.sample import Observation
from mmearth.curate.sources.files.header import dataset_name
from mmearth.tests.damage import TIMES
from mmearth.tests.raster_files import TILE, outcome, write_netcdf, write_tif

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning"),
]

_GEOTIFFS, _NETCDFS = 1500 * TIMES, 1000 * TIMES
_VALUES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF)


def _mutated(data: bytes, header: int, dice: random.Random) -> bytes:
    """Return a file with one to four bytes of its header changed, or its end cut off."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        changed[dice.randrange(header)] = dice.choice([*_VALUES, dice.randrange(256)])
    return bytes(changed[: dice.randrange(header, len(data))] if dice.random() < 0.05 else changed)


def _plain(path: Path, variable: str | None) -> tuple[float, float] | None:
    """Return the least and greatest value that a plain read gives, scaled, no data left out."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with rasterio.open(dataset_name(path, variable)) as dataset:
                if dataset.width * dataset.height > 10**6:
                    return None
                raw = dataset.read(1, masked=True).astype(float)
                values = raw.compressed() * dataset.scales[0] + dataset.offsets[0]
    except (RasterioError, CPLE_BaseError, ValueError, MemoryError):
        return None
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else None


def test_headers_of_geotiffs(tmp_path: Path) -> None:
    values = np.linspace(5, 200, 24 * 24).reshape(1, 24, 24)
    grid = Affine(60.0, 0.0, TILE.left - 60.0, 0.0, -60.0, TILE.top + 60.0)
    said = {"nodata": 200, "descriptions": ["height"], "units": ["m"], "tags": {"a": "b"}}
    kinds = [{"dtype": "uint8"}, {"dtype": "int16", "tiled": True, "blockxsize": 16}]
    kinds = [*kinds, {"dtype": "float32", "compress": "deflate"}]
    dice, read = random.Random(7), 0
    for i, kind in enumerate(kinds):
        options = {**said, **kind, "transform": grid}
        if kind.get("tiled"):
            options["blockysize"] = 16
        dtype = str(options.pop("dtype"))
        good = write_tif(tmp_path / f"good{i}.tif", values.astype(dtype), **options).read_bytes()
        for _ in range(_GEOTIFFS // len(kinds)):
            path = tmp_path / "a.tif"
            path.write_bytes(_mutated(good, min(600, len(good) - 1), dice))
            read += _right_or_refused(path, None)
    assert read > 100  # some damage does not matter


def test_headers_of_netcdf(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_netcdf(path, [120.0], [0.0], units="m", _FillValue=np.float32(-1))
    good = path.read_bytes()
    header = good.index(b"t2m") + 120
    dice, read = random.Random(8), 0
    for _ in range(_NETCDFS):
        path.write_bytes(_mutated(good, header, dice))
        read += _right_or_refused(path, "t2m")
    assert read > 20


def _right_or_refused(path: Path, variable: str | None) -> bool:
    """Read a file on the tile; hold what comes back against a plain read of it."""
    entry = {"path": path.name, "bands": {"height": 1}, "variable": variable}
    if variable is not None:
        entry["crs"] = "EPSG:4326"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GDAL remarks on what it cannot make out
        found = outcome(path.parent, "eth_gch", **entry)
    if isinstance(found, MMEarthError):
        assert "\n" not in str(found)
        assert len(str(found)) < 700, found
        return False
    assert isinstance(found, Observation)
    stored = found.array[0][found.array[0] != 255]
    low, high = _plain(path, variable) or (np.nan, np.nan)
    slack = 1e-3 * max(1.0, abs(high))
    assert low - slack <= stored.min() <= stored.max() <= high + slack, (low, high, found)
    return True
