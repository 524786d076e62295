"""The default rule at any place: it keeps its distance and sees only place and seed."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.splits import LEFT_OUT, SPLITS, default
from mmearth.catalog.tile import EARTH_RADIUS_KM, Tile, lonlat_bounds, tiles_at

# Where a rule can go wrong: plain land, oblique and cornered edges of the ring around Africa (the
# Mediterranean, Sinai), the antimeridian at Fiji, the edge of two zones, the far north.
PLACES = ((82.0, 49.0), (9.5, 38.4), (34.6, 30.4), (180.0, -17.0), (12.0, 60.0), (60.0, 79.0))
places = st.sampled_from(PLACES)
seeds = st.integers(0, 2**40)


def carpet(lon: float, lat: float, side: int, step_m: float) -> list[Tile]:
    """Return side × side tiles around a place, every step_m."""
    degree_m = np.radians(EARTH_RADIUS_KM * 1000.0)
    steps = (np.arange(side) - side / 2) * step_m / degree_m
    east, north = np.meshgrid(steps / np.cos(np.radians(lat)), steps)
    return tiles_at((east + lon).ravel(), (north + lat).ravel(), DEFAULT_GRID)


def squares(tiles: list[Tile], lon: float, lat: float) -> NDArray[np.object_]:
    """Return the boxes of tiles on a plane in metres around a place, true to half a per cent."""
    west, south, east, north = lonlat_bounds(tiles).T
    turn = np.round((west - lon) / 360.0) * 360.0
    metre = np.radians(EARTH_RADIUS_KM * 1000.0)
    wide = metre * np.cos(np.radians((south + north) / 2))
    boxes = shapely.box(
        (west - turn - lon) * wide, south * metre, (east - turn - lon) * wide, north * metre
    )
    return np.asarray(boxes)


@given(places, seeds)
@settings(max_examples=25, deadline=None)
def test_squares_of_train_and_tests_keep_the_buffer(place: tuple[float, float], seed: int) -> None:
    tiles = carpet(*place, side=110, step_m=1_300.0)
    buffer_m = 5_000.0
    found = default(tiles, seed, buffer_m)
    boxes = squares(tiles, *place)
    train = boxes[found.split == "train"]
    for name in ("random_test", "geographic_test"):
        tests = boxes[found.split == name]
        if train.size and tests.size:
            _, gap = shapely.STRtree(train).query_nearest(tests, return_distance=True)
            # A box in degrees is up to 5 % larger than its tile, 60 m: it stands nearer.
            assert gap.min() >= buffer_m - 130.0


@pytest.mark.parametrize("buffer_m", [20_000.0, 40_000.0])
def test_wide_buffers_hide_no_corner(buffer_m: float) -> None:
    place = (85.0, 51.0)
    tiles = carpet(*place, side=200, step_m=2_500.0)
    found = default(tiles, 1, buffer_m)
    boxes = squares(tiles, *place)
    train, tests = boxes[found.split == "train"], boxes[found.split == "random_test"]
    assert min(train.size, tests.size) > 500
    _, gap = shapely.STRtree(train).query_nearest(tests, return_distance=True)
    assert gap.min() >= buffer_m * 0.98


@given(places, seeds, st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_other_tiles_and_their_order_change_nothing(
    place: tuple[float, float], seed: int, luck: object
) -> None:
    tiles = carpet(*place, side=30, step_m=9_000.0)
    order = list(range(len(tiles)))
    luck.shuffle(order)  # type: ignore[attr-defined]
    part = order[:200]
    whole, some = default(tiles, seed), default([tiles[i] for i in part], seed)
    for name in ("split", "train_5", "train_50"):
        assert (getattr(some, name) == getattr(whole, name)[part]).all()
    assert set(whole.split) <= {*SPLITS, LEFT_OUT}
    assert not (whole.train_5 & ~whole.train_50).any()
    assert not (whole.train_50 & (whole.split != "train")).any()


@pytest.mark.parametrize("place", [(34.8, 29.6), (9.5, 38.45)])
def test_a_test_tile_that_sticks_out_of_africa_keeps_its_distance(
    place: tuple[float, float],
) -> None:
    # So dense that some tiles only just touch the ring, with nearly all of their side outside.
    tiles = carpet(*place, side=150, step_m=200.0)
    buffer_m = 5_000.0
    found = default(tiles, 1, buffer_m)
    boxes = squares(tiles, *place)
    train, tests = boxes[found.split == "train"], boxes[found.split == "geographic_test"]
    assert min(train.size, tests.size) > 100
    _, gap = shapely.STRtree(train).query_nearest(tests, return_distance=True)
    assert gap.min() >= buffer_m - 130.0
