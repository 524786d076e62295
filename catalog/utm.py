"""UTM: which zone a place is in, and the way between its metres and degrees."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from mmearth.catalog.errors import ConfigError

UTM_SOUTH, UTM_NORTH = -80.0, 84.0
"""Where UTM ends; the poles beyond have another projection (UPS)."""


def utm_epsg(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the EPSG code of each place's UTM zone, with Norway's and Svalbard's exceptions.

    Raises:
        ConfigError: A place is not on Earth or beyond UTM.

    Source:
        MGRS zone exceptions: zone 32 widened over south-west Norway (56–64° N), zones 31, 33, 35
        and 37 widened over Svalbard (72–84° N); NGA.SIG.0012.
    """
    bad = ~(np.isfinite(lon) & (np.abs(lat) <= 90.0))
    if bad.any():
        i = int(np.argmax(bad))
        raise ConfigError(
            f"place {lon[i]}, {lat[i]} is not on Earth; expected longitude, latitude in degrees"
        )
    polar = (lat < UTM_SOUTH) | (lat > UTM_NORTH)
    if polar.any():
        i = int(np.argmax(polar))
        raise ConfigError(
            f"place {lon[i]:g}, {lat[i]:g} is beyond UTM, which ends at 80° S and 84° N; "
            "tiles need a UTM zone: leave this place out"
        )
    east = (lon + 180.0) % 360.0 - 180.0
    zone = np.floor((east + 180.0) / 6.0).astype(np.int64) + 1
    zone[(lat >= 56) & (lat < 64) & (east >= 3) & (east < 12)] = 32
    svalbard = lat >= 72
    for code, west, end in ((31, 0, 9), (33, 9, 21), (35, 21, 33), (37, 33, 42)):
        zone[svalbard & (east >= west) & (east < end)] = code
    return np.where(lat < 0, 32700, 32600) + zone


@cache
def to_lonlat(epsg: int) -> Transformer:
    """Return the way from a zone's metres, x and y, to longitude and latitude in degrees."""
    # What PROJ comes to by itself, without looking it up anew in each thread (2 ms).
    south = " +south" if epsg > 32700 else ""
    return Transformer.from_pipeline(
        f"+proj=pipeline +step +inv +proj=utm +zone={epsg % 100}{south} +ellps=WGS84 "
        "+step +proj=unitconvert +xy_in=rad +xy_out=deg"
    )


@cache
def from_lonlat(epsg: int) -> Transformer:
    """Return the way from longitude and latitude in degrees to a zone's metres, x and y."""
    return Transformer.from_crs(4326, epsg, always_xy=True)
