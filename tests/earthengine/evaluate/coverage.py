"""How much of each pixel of a grid a region covers."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

from mmearth.tests.earthengine.evaluate.geometry import in_crs
from mmearth.tests.earthengine.evaluate.lattice import inverse
from mmearth.tests.earthengine.evaluate.nouns import Region
from mmearth.tests.earthengine.model import Grid

Weights = NDArray[np.float64]

LEAST = 0.005
"""Share of a pixel below which it is not in a region. Source: the service's guide "Statistics of an
image region": pixels count if at least (approximately) 0.5 % of them is in the region."""

_NOISE = 1e-9
"""Share of a pixel that arithmetic may lose."""


def in_pixels(region: Region, grid: Grid) -> BaseGeometry:
    """Return a region in the columns and rows of a grid; what is whole to 1e-7 is made whole."""
    a, b, c, d, e, f = inverse(grid.transform)
    moved = affine_transform(in_crs(region, grid.crs), (a, b, d, e, c, f))
    return shapely.transform(moved, lambda points: np.round(points, 7))


def _is_box(shape: BaseGeometry) -> bool:
    """Return whether a shape is a rectangle along the axes."""
    if shape.geom_type != "Polygon" or not shape.area:
        return False
    return bool(abs(shapely.box(*shape.bounds).area - shape.area) <= _NOISE * shape.area)


def centres_inside(region: Region, grid: Grid) -> NDArray[np.bool_]:
    """Return which pixels' centres lie in a region, (row, col); points mark the pixel around them.

    Of an edge through a centre, left and upper ones are in.
    """
    key = ("centres", grid)
    if key not in region.memory:
        region.memory[key] = _centres(in_pixels(region, grid), grid)
    inside: NDArray[np.bool_] = region.memory[key]
    return inside


def _centres(shape: BaseGeometry, grid: Grid) -> NDArray[np.bool_]:
    inside = np.zeros((grid.height, grid.width), dtype=np.bool_)
    if shape.is_empty:
        return inside
    if shape.geom_type in ("Point", "MultiPoint"):
        places = np.floor(shapely.get_coordinates(shape)).astype(int)
        for col, row in places.tolist():
            if 0 <= col < grid.width and 0 <= row < grid.height:
                inside[row, col] = True
        return inside
    west, north, east, south = shape.bounds
    left, right = (int(np.ceil(x - 0.5)) for x in np.clip((west, east), 0, grid.width))
    top, bottom = (int(np.ceil(y - 0.5)) for y in np.clip((north, south), 0, grid.height))
    if _is_box(shape):
        inside[top:bottom, left:right] = True
        return inside
    shapely.prepare(shape)
    if shapely.contains_properly(shape, shapely.box(left, top, right, bottom)):
        inside[top:bottom, left:right] = True  # a tile within a scene, as nearly all are
        return inside
    columns, rows = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    inside[top:bottom, left:right] = shapely.contains_xy(shape, columns, rows)
    return inside


def coverage(region: Region, grid: Grid) -> Weights:
    """Return the share of each pixel that lies in a region, (row, col), 0 to 1.

    Exact but for rounding; shares below 0.5 % are 0.
    """
    key = ("coverage", grid)
    if key not in region.memory:
        shares = _shares(in_pixels(region, grid), grid)
        shares[shares < LEAST] = 0.0
        shares[shares > 1.0 - _NOISE] = 1.0
        region.memory[key] = shares
    weights: Weights = region.memory[key]
    return weights


def _shares(shape: BaseGeometry, grid: Grid) -> Weights:
    if shape.geom_type in ("Point", "MultiPoint"):
        return _centres(shape, grid).astype(np.float64)
    if _is_box(shape):
        west, north, east, south = shape.bounds
        columns, rows = np.arange(grid.width), np.arange(grid.height)
        across = np.clip(np.minimum(columns + 1, east) - np.maximum(columns, west), 0.0, 1.0)
        down = np.clip(np.minimum(rows + 1, south) - np.maximum(rows, north), 0.0, 1.0)
        return np.asarray(down[:, None] * across[None, :])
    shares = _centres(shape, grid).astype(np.float64)
    rows, columns = np.nonzero(_near_edge(shape, grid))
    cells = shapely.box(columns, rows, columns + 1, rows + 1)
    shares[rows, columns] = shapely.area(shapely.intersection(cells, shape))
    return shares


def _near_edge(shape: BaseGeometry, grid: Grid) -> NDArray[np.bool_]:
    """Return the pixels that the outline may pass through: those about its points, and more."""
    points = shapely.get_coordinates(shapely.segmentize(shape.boundary, 0.5))
    columns, rows = np.floor(points).astype(int).T
    near = np.zeros((grid.height + 2, grid.width + 2), dtype=np.bool_)
    kept = (columns >= -1) & (columns <= grid.width) & (rows >= -1) & (rows <= grid.height)
    near[rows[kept] + 1, columns[kept] + 1] = True
    wide = near.copy()
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            wide |= np.roll(near, (down, across), axis=(0, 1))
    return wide[1:-1, 1:-1]
