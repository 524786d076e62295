"""Overlapping tiles are removed so that no ground is in two samples of a task."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.tile import Tile, Tiles, lonlat_bounds

OUTER_MARGIN_M = 10.0
"""A tile's outer box is 1300 m wide: 10 m more than the tile on each side (MMEarth-Bench §3)."""
_AT_ONCE = 65_536  # boxes in one tree; each takes 500 bytes in GEOS


def keep_apart(tiles: Sequence[Tile]) -> NDArray[np.bool_]:
    """Return which tiles stay so that no two outer boxes touch, (n,).

    The tile with most conflicts goes first, the lowest index on ties, until none is left.

    Source:
        MMEarth-Bench, overlap removal of the 1300 m outer tiles.
    """
    columns = Tiles.of(tiles)
    _, first, place = np.unique(columns.number, return_index=True, return_inverse=True)
    neighbours = _conflicts(columns[first])
    # Tiles of one place conflict with each other and have the same conflicts besides.
    members = _members(place, neighbours)
    degree = {
        i: len(here) - 1 + sum(len(members[other]) for other in neighbours.get(i, ()))
        for i, here in members.items()
    }
    kept = np.ones(len(tiles), dtype=np.bool_)
    heap = [(-count, members[i][-1], i) for i, count in degree.items()]
    heapq.heapify(heap)
    while heap:
        count, lowest, i = heapq.heappop(heap)
        if not members[i] or lowest != members[i][-1] or -count != degree[i]:
            continue  # an older entry of a place whose conflicts have changed
        kept[members[i].pop()] = False
        for changed in (i, *neighbours.get(i, ())):
            degree[changed] -= 1
            if members[changed] and degree[changed]:
                heapq.heappush(heap, (-degree[changed], members[changed][-1], changed))
    return kept


def _members(place: NDArray[np.int64], neighbours: dict[int, list[int]]) -> dict[int, list[int]]:
    """Return the tiles, the lowest index last, of each place that has a conflict or several tiles.

    Args:
        place: The number of each tile's place, (n,).
        neighbours: Places in conflict with others.
    """
    count = np.bincount(place)
    order, end = np.argsort(place, kind="stable"), np.cumsum(count)
    crowded = neighbours.keys() | set(np.flatnonzero(count > 1).tolist())
    return {i: order[end[i] - count[i] : end[i]][::-1].tolist() for i in sorted(crowded)}


def _conflicts(tiles: Tiles) -> dict[int, list[int]]:
    """Return, for each tile whose outer box touches another's, the indices of those others."""
    if not tiles:
        return {}
    bounds = lonlat_bounds(tiles, OUTER_MARGIN_M)
    # A box across the antimeridian stands a second time one turn to the west.
    beyond = np.flatnonzero(bounds[:, 2] > 180.0)
    turned = bounds[beyond] - np.array([360.0, 0.0, 360.0, 0.0])
    bounds, owner = np.concatenate([bounds, turned]), np.append(np.arange(len(tiles)), beyond)
    from_south = np.argsort(bounds[:, 1], kind="stable")
    bounds, owner = bounds[from_south], owner[from_south]
    left, right = owner[_touching(bounds)]
    pairs = np.unique(np.append(left * len(tiles) + right, right * len(tiles) + left))
    first, second = np.divmod(pairs, len(tiles))
    apart = first != second
    first, second = first[apart], second[apart]
    owners, begins = np.unique(first, return_index=True)
    others = second.tolist()
    spans = pairwise([*begins.tolist(), len(others)])
    return {i: others[begin:end] for i, (begin, end) in zip(owners.tolist(), spans, strict=True)}


def _touching(bounds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pairs of boxes that touch, (2, pair), some of them both ways round.

    Args:
        bounds: (west, south, east, north) of each box, sorted by south, (n, 4).
    """
    pairs = []
    for begin in range(0, len(bounds), _AT_ONCE):
        block = bounds[begin : begin + _AT_ONCE]
        end = np.searchsorted(bounds[:, 1], block[:, 3].max(), side="right")
        tree = shapely.STRtree(shapely.box(*block.T))
        reachable = shapely.box(*bounds[begin:end].T)
        pairs.append(begin + tree.query(reachable, predicate="intersects"))
    return np.concatenate(pairs, axis=1)
