"""The ring around Africa that the published geographic split holds out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from mmearth.catalog.tile import Tile, lonlat_bounds

# Longitude, latitude. Hand-drawn by the authors with wide margins of ocean: it keeps Sinai, the
# islands from Cape Verde to the Mascarenes and, unasked, Malta; it leaves Arabia out.
_RING = (
    (-45.76, 24.25), (-44.37, 12.88), (-34.39, 6.10), (-12.04, -2.88), (-16.34, -43.60),
    (4.83, -54.02), (32.05, -47.37), (66.16, -27.42), (67.69, -3.59), (56.26, 14.50),
    (43.79, 12.07), (42.76, 13.44), (42.91, 14.14), (34.80, 28.02), (34.59, 28.00),
    (34.54, 28.12), (34.90, 29.49), (34.88, 29.53), (34.87, 29.58), (34.88, 29.64),
    (34.86, 29.69), (34.83, 29.81), (34.77, 29.95), (34.75, 30.02), (34.73, 30.06),
    (34.69, 30.16), (34.61, 30.37), (34.54, 30.41), (34.56, 30.49), (34.52, 30.53),
    (34.50, 30.68), (34.40, 30.86), (34.37, 30.94), (34.25, 31.26), (34.24, 31.30),
    (34.22, 31.32), (33.05, 33.27), (14.98, 36.08), (10.23, 38.46), (0.50, 36.82),
    (-7.37, 35.67), (-12.12, 36.67), (-13.40, 36.89), (-15.96, 37.00), (-18.86, 36.81),
    (-24.09, 36.56), (-27.42, 38.39), (-28.93, 39.24), (-39.29, 32.69),
)  # fmt: skip

_AT_ONCE = 65_536  # boxes; each takes 400 bytes in GEOS


@cache
def africa() -> Polygon:
    """Return the ring as a polygon in longitude and latitude.

    Source:
        MMEarth-Bench (arXiv 2602.06285), `africa.geojson`, coordinates to 0.01°.
    """
    return Polygon(_RING)


def touches_africa(tiles: Sequence[Tile], margin_m: float = 0.0) -> NDArray[np.bool_]:
    """Return which tiles' longitude-latitude boxes intersect the ring, (n,).

    Args:
        tiles: The places.
        margin_m: Each box is grown by this much first, in metres.

    Source:
        MMEarth-Bench, `generate_splits.py`: the EPSG:4326 bounds of the square.
    """
    if not tiles:
        return np.zeros(0, dtype=np.bool_)
    shapely.prepare(africa())
    bounds = lonlat_bounds(tiles, margin_m)
    parts = [bounds[i : i + _AT_ONCE].T for i in range(0, len(bounds), _AT_ONCE)]
    return np.concatenate([shapely.intersects(africa(), shapely.box(*part)) for part in parts])
