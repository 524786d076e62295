"""A file's numbers become a modality's: bands, units, classes, slope, climate, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from mmearth.catalog.errors import ConfigError, DataError, MMEarthError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

TILE = Tile(32733, 500_000, 6_000_000)


def write(path: Path, values: NDArray[Any], margin_px: int = 0) -> None:
    """Write a GeoTIFF on the tile's grid, with pixels beyond it on each side."""
    values = values if values.ndim == 3 else values[None]
    corner = TILE.left - 10.0 * margin_px, TILE.top + 10.0 * margin_px
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=values.shape[0],
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        crs=f"EPSG:{TILE.epsg}",
        transform=Affine(10.0, 0.0, corner[0], 0.0, -10.0, corner[1]),
    ) as dataset:
        dataset.write(values)


def layers(*values: float, dtype: str = "float32") -> NDArray[Any]:
    """Return constant bands over the tile, (band, 128, 128)."""
    return np.stack([np.full((128, 128), value, dtype) for value in values])


def outcome(root: Path, name: str, date: str = "2020-04-08", **entry: Any) -> Outcome:
    """Return what the tile has of a modality when one entry tells of it."""
    product = MODALITIES[name].collection if name in MODALITIES else "field plots"
    entry = {"path": "a.tif", "product": product, **entry}
    config = FilesConfig.model_validate({"kind": "files", "rasters": {name: [entry]}})
    return Files(config, root).observe(TILE, [name], date)[name]


def seen(root: Path, name: str, date: str = "2020-04-08", **entry: Any) -> NDArray[Any]:
    """Return the array of an observation that must be there and keep its contract."""
    found = outcome(root, name, date, **entry)
    assert isinstance(found, Observation), found
    found.check()
    return found.array


def failure(root: Path, name: str, **entry: Any) -> MMEarthError:
    """Return the error of an observation that must not be there."""
    found = outcome(root, name, **entry)
    assert isinstance(found, MMEarthError), found
    return found


DATE = {"value": "2020-04-08"}


def test_sentinel2_loses_its_offset_and_rounds_to_whole_numbers(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(*range(1000, 1012), dtype="int16"))
    found = seen(tmp_path, "sentinel2", offset=-1000, date=DATE) if False else None
    found = seen_sentinel2(tmp_path, offset=-1000)
    assert found.dtype == np.uint16
    assert found[:, 0, 0].tolist() == list(range(12))


def seen_sentinel2(root: Path, **entry: Any) -> NDArray[Any]:
    """Return Sentinel-2 with a date, which it must have."""
    config = {"path": "a.tif", "product": "COPERNICUS/S2_SR_HARMONIZED", **entry}
    config["date"] = DATE
    files = Files(
        FilesConfig.model_validate({"kind": "files", "rasters": {"sentinel2": [config]}}), root
    )
    found = files.observe(TILE, ["sentinel2"], None)["sentinel2"]
    assert isinstance(found, Observation), found
    found.check()
    return found.array
