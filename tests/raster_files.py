"""Small rasters to read back: GeoTIFF, NetCDF, and what the source `files` makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import scipy.io
from numpy.typing import NDArray
from rasterio.transform import Affine

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig, check_files

TILE = Tile(32633, 500_000, 5_000_000)
"""In northern Italy, 15° E 45° N."""
PX = 136
"""Rows and columns of a raster of 10 m, four more than the tile on each side."""


def layers(*values: float, dtype: str = "float32") -> NDArray[Any]:
    """Return constant bands over the tile and a little more, (band, 136, 136)."""
    return np.stack([np.full((PX, PX), value) for value in values]).astype(dtype)


def write_tif(path: Path, values: NDArray[Any], **said: Any) -> Path:
    """Write a GeoTIFF around TILE; `units`, `descriptions`, `scales`, `offsets`, `tags` are set."""
    later = {k: said.pop(k) for k in ("units", "descriptions", "scales", "offsets") if k in said}
    tags = said.pop("tags", {})
    profile = {
        "driver": "GTiff",
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": "EPSG:32633",
        "transform": Affine(10.0, 0.0, TILE.left - 40.0, 0.0, -10.0, TILE.top + 40.0),
    } | said
    profile = {key: value for key, value in profile.items() if value is not None}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)
        for key, value in later.items():
            setattr(dataset, key, value)
        dataset.update_tags(**tags)
    return path


def share(found: Observation) -> float:
    """Return how much of an observation's first band has a value."""
    return float(np.mean(found.layer.valid(found.array[:1])))


def write_netcdf(
    path: Path,
    values: Sequence[float],
    time: Sequence[float] | None = None,
    axis: dict[str, Any] | None = None,
    bounds: Sequence[tuple[float, float]] | None = None,
    variables: Sequence[str] = ("t2m",),
    lon: float = 10.0,
    dtype: str = "f4",
    **said: Any,
) -> Path:
    """Write constant fields of 1° over 10° × 10° around TILE, one a time; `said` are attributes."""
    axis = {"name": "time", "units": "days since 2021-01-01"} if axis is None else dict(axis)
    name = axis.pop("name", "time")
    with scipy.io.netcdf_file(path, "w") as file:
        for dimension, length in ((name, len(values)), ("lat", 10), ("lon", 10), ("bnds", 2)):
            file.createDimension(dimension, length)
        _variable(file, "lat", "f8", ("lat",), 49.5 - np.arange(10), units="degrees_north")
        _variable(file, "lon", "f8", ("lon",), lon + 0.5 + np.arange(10), units="degrees_east")
        if time is not None:
            _variable(file, name, "f8", (name,), time, **axis)
        if bounds is not None:
            _variable(file, "time_bnds", "f8", (name, "bnds"), bounds)
        field = np.asarray(values)[:, None, None] * np.ones((1, 10, 10))
        for variable in variables:
            _variable(file, variable, dtype, (name, "lat", "lon"), field, **said)
    return path


def _variable(file: Any, name: str, dtype: str, over: Any, values: Any, **said: Any) -> None:
    variable = file.createVariable(name, dtype, over)
    variable[:] = np.asarray(values, dtype=variable.data.dtype)
    for key, value in said.items():
        setattr(variable, key, value)


def files_of(folder: Path, catalogue: Catalogue = MMEARTH_BENCH, **document: Any) -> Files:
    """Return the source of `rasters` and `polygons`, which must suit the layers."""
    config = FilesConfig.model_validate({"kind": "files", **document})
    check_files(config, catalogue)
    return Files(config, folder, catalogue)


def outcome(
    root: Path, name: str, anchor: str | None = "2021-07-10", tile: Tile = TILE, **entry: Any
) -> Outcome:
    """Return what a tile has of a modality by one entry, of the modality's own product."""
    document = {"path": "a.tif", "product": MMEARTH_BENCH.layers[name].product, **entry}
    return files_of(root, rasters={name: [document]}).observe(Visit(tile, (name,), anchor))[name]


def seen(root: Path, name: str, **entry: Any) -> Observation:
    """Return an observation that must be there and keep its contract."""
    found = outcome(root, name, **entry)
    assert isinstance(found, Observation), found
    found.check()
    return found


def middle(root: Path, name: str, **entry: Any) -> list[float | None]:
    """Return the stored value of each band in the middle of the tile; None for no data."""
    array = seen(root, name, **entry).array
    pixel = array[:, 64, 64] if array.ndim == 3 else array
    return [None if value == MMEARTH_BENCH.layers[name].nodata else float(value) for value in pixel]


def refused(root: Path, name: str, kind: type[MMEarthError], **entry: Any) -> str:
    """Return the sentence of an observation that must fail in one way."""
    found = outcome(root, name, **entry)
    assert type(found) is kind, found
    return str(found)
