"""Overlap removal equals its definition, tried on places that crowd, repeat and cross zones."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.tile import Tile, lonlat_bounds, tiles_at
from mmearth.curate.overlap import OUTER_MARGIN_M, keep_apart

# (lon, lat) of the middle: inland, at an edge of zones, at the antimeridian, south, far north.
_MIDDLES = [(10.3, 45.0), (12.0, 60.0), (180.0, -17.0), (-66.0, -30.0), (33.0, 83.0)]
_SPREAD_DEG = 0.03  # a few tiles wide: most places conflict with some other


def _touch(a: np.ndarray, b: np.ndarray) -> bool:
    """Compare two boxes in degrees, on every turn of the globe."""
    return any(
        a[0] <= b[2] + turn and b[0] + turn <= a[2] and a[1] <= b[3] and b[1] <= a[3]
        for turn in (-360.0, 0.0, 360.0)
    )


def _naive(tiles: list[Tile]) -> list[bool]:
    """Do what the definition says, word for word."""
    boxes = lonlat_bounds(tiles, OUTER_MARGIN_M)
    left = set(range(len(tiles)))
    while True:
        conflicts = {i: sum(_touch(boxes[i], boxes[j]) for j in left if j != i) for i in left}
        worst = max(conflicts, key=lambda i: (conflicts[i], -i), default=None)
        if worst is None or conflicts[worst] == 0:
            return [i in left for i in range(len(tiles))]
        left.remove(worst)


_PLACES = st.tuples(
    st.sampled_from(_MIDDLES),
    st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), max_size=25),
)


@settings(max_examples=60, deadline=None)
@given(_PLACES)
def test_equals_the_naive_removal(
    places: tuple[tuple[float, float], list[tuple[int, int]]],
) -> None:
    (lon, lat), offsets = places
    tiles = tiles_at(
        [lon + x * _SPREAD_DEG / 20 for x, _ in offsets],
        [lat + y * _SPREAD_DEG / 20 for _, y in offsets],
        DEFAULT_GRID,
    )
    assert keep_apart(tiles).tolist() == _naive(tiles)
