"""Where the pixels of a grid lie, in any projection."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from mmearth.tests.earthengine.model import Grid

Double = NDArray[np.float64]
Mask = NDArray[np.bool_]

UTM_NORTH, UTM_SOUTH = range(32601, 32661), range(32701, 32761)


def zone_of(crs: str) -> int | None:
    """Return the EPSG code of a UTM zone; None for any other projection."""
    code = crs.removeprefix("EPSG:")
    if not code.isdecimal():
        return None
    return int(code) if int(code) in UTM_NORTH or int(code) in UTM_SOUTH else None


@lru_cache(maxsize=256)
def positions(grid: Grid, crs: str) -> tuple[Double, Double]:
    """Return x and y of the pixels' centres in `crs`; they broadcast to (row, col)."""
    a, b, c, d, e, f = grid.transform
    columns = np.arange(grid.width)[None, :] + 0.5
    rows = np.arange(grid.height)[:, None] + 0.5
    if b == d == 0.0 and grid.crs == crs:
        return np.asarray(a * columns + c, float), np.asarray(e * rows + f, float)
    x, y = a * columns + b * rows + c, d * columns + e * rows + f
    if grid.crs == crs:
        return x, y
    x, y = convert(x, y, grid.crs, crs)
    return x, y


def middle(grid: Grid, crs: str) -> tuple[float, float]:
    """Return x and y of the grid's centre in `crs`."""
    a, b, c, d, e, f = grid.transform
    column, row = grid.width / 2, grid.height / 2
    x, y = a * column + b * row + c, d * column + e * row + f
    if grid.crs == crs:
        return x, y
    xs, ys = convert(np.array([x]), np.array([y]), grid.crs, crs)
    return float(xs[0]), float(ys[0])


def convert(x: Double, y: Double, source: str, target: str) -> tuple[Double, Double]:
    """Project places from one system to another, x and y (or longitude and latitude) first."""
    xs, ys = _between(source, target).transform(x, y)
    return np.asarray(xs), np.asarray(ys)


@lru_cache(maxsize=512)
def _between(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)
