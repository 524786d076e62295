"""Reading vector files: one way, whatever the format, in longitude and latitude."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
from pyogrio.errors import DataSourceError

from mmearth.catalog.errors import ConfigError


def read_vector(path: Path, *fields: str) -> gpd.GeoDataFrame:
    """Return a vector file's features in EPSG:4326, those without geometry left out.

    Args:
        path: Any file that GDAL reads.
        fields: Columns that must be there.

    Raises:
        ConfigError: The file cannot be read, names no CRS, or lacks a field.
    """
    try:
        # Some writers leave NaN in a coordinate; NumPy would warn about it on every read.
        with np.errstate(invalid="ignore"):
            frame = gpd.read_file(path)
    except (OSError, DataSourceError) as exc:
        raise ConfigError(
            f"{path} cannot be read as a vector file ({' '.join(str(exc).split())})"
        ) from exc
    if not isinstance(frame, gpd.GeoDataFrame):
        raise ConfigError(f"{path} has no geometries; expected a vector file")
    if frame.crs is None:
        raise ConfigError(f"{path} names no CRS; write it into the file")
    for field in fields:
        if field not in frame:
            known = ", ".join(map(str, frame.columns))
            raise ConfigError(f"{path} has no field {field!r}; its fields are {known}")
    return frame[~(frame.geometry.isna() | frame.geometry.is_empty)].to_crs(4326)
