"""A few of very many places, in their order, so that their tiles do not overlap."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.tile import Tiles, lonlat_bounds
from mmearth.curate.overlap import OUTER_MARGIN_M, keep_apart

_LEAST_TRIED, _MOST_TRIED = 256, 20_000  # tiles looked at in one go
_ROWS, _COLUMNS = 1 << 18, 1 << 15  # more outer boxes of 52 m than a UTM zone has, either way
_AROUND = np.array([column * _ROWS + row for column in (-1, 0, 1) for row in (-1, 0, 1)])


def first_apart(tiles: Tiles, count: int) -> NDArray[np.int64]:
    """Return the indices of up to `count` tiles whose outer boxes do not touch.

    Tiles are tried in their order, some at a time, until enough are found or none is left. Of those
    tried together `keep_apart` chooses; how many that are does not depend on `count`, so that a
    larger one keeps what a smaller one had. What lies under a chosen tile is struck off at once, so
    the work grows with the number of tiles and not with their conflicts: along a track of GEDI each
    footprint is in conflict with a hundred others.

    Args:
        tiles: In random order.
        count: How many; fewer where no other fits between those that were chosen.
    """
    square = _squares(tiles)
    by_square = np.argsort(square, kind="stable")
    square = square[by_square]
    free = np.ones(len(tiles), dtype=np.bool_)
    kept, n_tried = np.empty(0, dtype=np.int64), _LEAST_TRIED
    while kept.size < count:
        tried = np.flatnonzero(free)[:n_tried]
        if not tried.size:
            break
        free[tried] = False
        fresh = _apart(tiles, kept, tried)[: count - kept.size]
        free[_under(tiles, fresh, by_square, square)] = False
        kept, n_tried = np.concatenate([kept, fresh]), min(2 * n_tried, _MOST_TRIED)
    return kept


def _apart(tiles: Tiles, kept: NDArray[np.int64], tried: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those tried whose outer boxes touch neither a kept one nor each other."""
    # A box across the antimeridian has an east beyond 180.
    tree = shapely.STRtree(_boxes(tiles[kept], (-360.0, 0.0, 360.0)))
    touching, _ = tree.query(_boxes(tiles[tried], (0.0,)), predicate="intersects")
    tried = np.delete(tried, np.unique(touching))
    return tried[keep_apart(tiles[tried])]


def _boxes(tiles: Tiles, turns: tuple[float, ...]) -> NDArray[np.object_]:
    """Return the outer boxes of tiles in degrees, once for each turn of the globe."""
    west, south, east, north = lonlat_bounds(tiles, OUTER_MARGIN_M).T
    return np.concatenate([shapely.box(west + turn, south, east + turn, north) for turn in turns])


def _squares(tiles: Tiles) -> NDArray[np.int64]:
    """Return a number for the square that each tile's corner lies in, (tile,); they divide a zone.

    Neighbours differ by one of _AROUND.
    """
    side = _outer_m(tiles)
    column, row = tiles.left // side, tiles.top // side
    return np.asarray((tiles.epsg * _COLUMNS + column) * _ROWS + row)


def _under(
    tiles: Tiles,
    fresh: NDArray[np.int64],
    by_square: NDArray[np.int64],
    square: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the tiles of the same zone whose outer squares touch one of the fresh ones.

    Args:
        tiles: All there are.
        fresh: Indices of some.
        by_square: All indices, sorted by their squares.
        square: The squares in that order.
    """
    near = (_squares(tiles[fresh])[:, None] + _AROUND).ravel()
    begin, end = (np.searchsorted(square, near, side) for side in ("left", "right"))
    length = end - begin
    centre = np.repeat(np.repeat(fresh, _AROUND.size), length)
    position = np.arange(length.sum()) + np.repeat(begin - np.cumsum(length) + length, length)
    other = by_square[position]
    across = np.abs(tiles.left[other] - tiles.left[centre])
    along = np.abs(tiles.top[other] - tiles.top[centre])
    side = _outer_m(tiles)
    return np.asarray(other[(across <= side) & (along <= side)])


def _outer_m(tiles: Tiles) -> int:
    """Return the side of a tile's outer box in metres: 1300 as published."""
    return tiles.grid.side_m + 2 * int(OUTER_MARGIN_M)
