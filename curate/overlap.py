"""Overlapping tiles are removed so that no ground is in two samples of a task."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

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
    places, group = _places(tiles)
    size = [len(indices) for indices in group]
    neighbours = _conflicts(places)
    # Tiles of one place conflict with each other and have the same conflicts besides.
    members = [deque(indices) for indices in group]
    degree = [n - 1 for n in size]
    for i, others in neighbours.items():
        degree[i] += sum(size[other] for other in others)
    kept = np.ones(len(tiles), dtype=np.bool_)
    heap = [(-count, members[i][0], i) for i, count in enumerate(degree) if count]
    heapq.heapify(heap)
    while heap:
        count, first, i = heapq.heappop(heap)
        if not members[i] or first != members[i][0] or -count != degree[i]:
            continue  # an older entry of a place whose conflicts have changed
        kept[members[i].popleft()] = False
        for changed in (i, *neighbours.get(i, ())):
            degree[changed] -= 1
            if members[changed] and degree[changed]:
                heapq.heappush(heap, (-degree[changed], members[changed][0], changed))
    return kept


def _places(tiles: Sequence[Tile]) -> tuple[list[Tile], list[list[int]]]:
    """Return the different tiles, and the indices of each."""
    group: dict[Tile, list[int]] = {}
    for i, tile in enumerate(tiles):
        group.setdefault(tile, []).append(i)
    return list(group), list(group.values())


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
    first, second = owner[left], owner[right]
    pairs = np.unique(first * len(tiles) + second)
    first, second = np.divmod(pairs, len(tiles))
    apart = first != second
    first, second = first[apart], second[apart]
    owners, begins = np.unique(first, return_index=True)
    others = second.tolist()
    spans = pairwise([*begins.tolist(), len(others)])
    return {i: others[begin:end] for i, (begin, end) in zip(owners.tolist(), spans, strict=True)}
