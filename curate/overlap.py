"""Overlapping tiles are removed so that no ground is in two samples of a task."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.tile import Tile, lonlat_bounds

OUTER_MARGIN_M = 10.0
"""A tile's outer box is 1300 m wide: 10 m more than the tile on each side (MMEarth-Bench §3)."""


def keep_apart(tiles: Sequence[Tile]) -> NDArray[np.bool_]:
    """Return which tiles stay so that no two outer boxes touch, (n,).

    The tile with most conflicts goes first, the lowest index on ties, until none is left.

    Source:
        MMEarth-Bench, overlap removal of the 1300 m outer tiles.
    """
    kept = np.ones(len(tiles), dtype=np.bool_)
    neighbours = _conflicts(tiles)
    degree = {i: len(others) for i, others in neighbours.items()}
    heap = [(-count, i) for i, count in degree.items()]
    heapq.heapify(heap)
    while heap:
        count, i = heapq.heappop(heap)
        if not kept[i] or -count != degree[i] or count == 0:
            continue  # an older entry of a tile whose conflicts have changed
        kept[i] = False
        for other in neighbours[i]:
            if kept[other]:
                degree[other] -= 1
                heapq.heappush(heap, (-degree[other], other))
    return kept


def _conflicts(tiles: Sequence[Tile]) -> dict[int, list[int]]:
    """Return, for each tile whose outer box touches another's, the indices of those others."""
    if not tiles:
        return {}
    west, south, east, north = lonlat_bounds(tiles, OUTER_MARGIN_M).T
    boxes = shapely.box(west, south, east, north)
    owner = np.arange(len(tiles))
    beyond = np.flatnonzero(east > 180.0)
    # A box across the antimeridian stands a second time one turn to the west.
    turned = shapely.box(west[beyond] - 360, south[beyond], east[beyond] - 360, north[beyond])
    boxes, owner = np.concatenate([boxes, turned]), np.concatenate([owner, beyond])
    left, right = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    pairs = np.column_stack([owner[left], owner[right]])
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    result: dict[int, list[int]] = {}
    for i, other in pairs.tolist():
        result.setdefault(i, []).append(other)
    return result
