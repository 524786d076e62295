"""What a NetCDF file says of its axes of space, where GDAL does not heed it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError

_UNITS = {"lat": r"degrees?_?n(orth)?", "lon": r"degrees?_?e(ast)?"}
"""CF conventions 1.11, §4.1 and §4.2."""


def says_degrees(dataset: Any) -> bool:
    """Return whether an open raster has one axis of latitudes and one of longitudes."""
    return dataset.driver == "netCDF" and all(_axis(dataset, which) for which in _UNITS)


def is_rotated(dataset: Any, crs: CRS) -> bool:
    """Return whether its degrees are about a pole that is not the Earth's, and the CRS is not."""
    names = {text for key, text in dataset.tags().items() if key.endswith("#standard_name")}
    derived = re.search(r"ob_tran|pole rotation|derivingconversion", crs.to_wkt(), re.IGNORECASE)
    return bool(names & {"grid_latitude", "grid_longitude"}) and derived is None


def is_transposed(dataset: Any) -> bool:
    """Return whether its columns are latitudes: GDAL takes the last dimension for longitudes."""
    if not says_degrees(dataset):
        return False
    lat, lon = (_values(dataset, _axis(dataset, which)) for which in ("lat", "lon"))
    box = dataset.bounds
    across, up = (box.left, box.right), (box.bottom, box.top)
    if lat is None or lon is None or (_spans(lon, across) and _spans(lat, up)):
        return False
    return _spans(lat, across) and _spans(lon, up)


def _axis(dataset: Any, which: str) -> str | None:
    """Return the only axis whose unit is degrees north, or east."""
    found = [
        key.removesuffix("#units")
        for key, text in dataset.tags().items()
        if key.endswith("#units") and re.fullmatch(_UNITS[which], text.strip(), re.IGNORECASE)
    ]
    return found[0] if len(found) == 1 else None


def _values(dataset: Any, axis: str | None) -> NDArray[np.float64] | None:
    """Return the values along an axis; None where it has two dimensions, or cannot be read."""
    values = None if axis is None else read_variable(dataset, axis)
    return values.ravel() if values is not None and 1 in values.shape and values.size > 1 else None


def read_variable(dataset: Any, name: str) -> NDArray[np.float64] | None:
    """Return another variable of an open NetCDF file, two dimensions; None if it cannot be read.

    Args:
        dataset: The file, or one of its variables.
        name: Of the other one, with its group.
    """
    path = dataset.name.removeprefix("netcdf:")
    path = path if path == dataset.name else path.rsplit(":", 1)[0].strip('"')
    try:
        with rasterio.open(f'netcdf:"{path}":{name}') as found:
            return np.asarray(found.read(1).astype(np.float64))
    except (RasterioError, CPLE_BaseError):
        return None


def _spans(values: NDArray[np.float64], ends: tuple[float, float]) -> bool:
    """Return whether an axis reaches, by half a pixel more, from one end to the other."""
    low, high = sorted(ends)
    step = float(np.ptp(values)) / (values.size - 1)
    return bool(abs(values.min() - low) <= step and abs(values.max() - high) <= step)
