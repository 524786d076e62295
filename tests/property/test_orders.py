"""Every order is a permutation in whole batches, whoever reads them and wherever one stops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmearth.loaders.orders.batches import Batches
from mmearth.loaders.orders.order import ORDERS
from mmearth.loaders.orders.share import turns

Places = tuple[NDArray[np.float64], NDArray[np.float64]]


@st.composite
def places(draw: st.DrawFn) -> Places:
    n = draw(st.integers(0, 120))
    # Few distinct degrees, so that places often share a coordinate or all of it.
    lon = draw(st.lists(st.integers(-18, 18), min_size=n, max_size=n))
    lat = draw(st.lists(st.integers(-9, 9), min_size=n, max_size=n))
    return np.array(lon, np.float64) * 10, np.array(lat, np.float64) * 10


@pytest.mark.parametrize("name", ORDERS)
@given(at=places(), batch_size=st.integers(1, 17), seed=st.integers(0, 3), epoch=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_each_sample_is_in_one_batch(
    name: str, at: Places, batch_size: int, seed: int, epoch: int
) -> None:
    n, found = len(at[0]), ORDERS[name](*at, batch_size, seed, epoch)
    assert np.sort(found.rows).tolist() == list(range(n))
    assert found.rows.dtype == found.bounds.dtype == np.int64
    sizes = np.diff(found.bounds).tolist()
    assert (found.bounds[0], found.bounds[-1], sum(sizes)) == (0, n, n)
    if not n:
        assert sizes == []
    elif name == "geographic":
        assert len(sizes) == max(1, round(n / batch_size)) and max(sizes) - min(sizes) <= 1
    elif name.endswith("_published"):
        assert sizes == [n] or (min(sizes) >= batch_size and max(sizes) < 2 * batch_size)
    else:
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1) and 0 < sizes[-1] <= batch_size


@pytest.mark.parametrize("name", ORDERS)
def test_epochs_differ_and_seeds_repeat(name: str) -> None:
    draw = np.random.default_rng(0)
    at = draw.uniform(-180, 180, 200), draw.uniform(-80, 80, 200)

    def rows(seed: int, epoch: int) -> list[int]:
        return ORDERS[name](*at, 8, seed, epoch).rows.tolist()

    assert rows(1, 2) == rows(1, 2)
    differs = name in ("shuffled", "shuffled_published", "geographic")
    assert (rows(1, 2) != rows(1, 3)) == differs
    assert (rows(1, 2) != rows(2, 2)) == differs


def test_the_remainder_joins_the_last_batch() -> None:
    at = np.zeros(19), np.zeros(19)
    merged = ORDERS["shuffled_published"](*at, 8, 0, 0)
    assert np.diff(merged.bounds).tolist() == [8, 11]
    assert merged.rows.tolist() == ORDERS["shuffled"](*at, 8, 0, 0).rows.tolist()


@given(
    n_batches=st.integers(0, 40),
    first=st.integers(1, 4),
    second=st.integers(1, 4),
    steps=st.integers(0, 12),
)
def test_any_ranks_go_on_with_what_is_left(
    n_batches: int, first: int, second: int, steps: int
) -> None:
    seen: list[int] = []
    for rank in range(first):
        mine = list(turns(n_batches, 0, rank, first))[:steps]
        seen += [batch for batch, is_padding in mine if not is_padding]
    position = min(steps * first, n_batches)
    counts = set()
    for rank in range(second):
        mine = list(turns(n_batches, position, rank, second))
        counts.add(len(mine))
        seen += [batch for batch, is_padding in mine if not is_padding]
        assert all(0 <= batch < n_batches for batch, _ in mine)
    assert sorted(seen) == list(range(n_batches))
    assert counts == {math.ceil((n_batches - position) / second)}


@given(at=places(), batch_size=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_published_partition_by_the_book(at: Places, batch_size: int) -> None:
    lon, lat = at
    points = [(x, y, i) for i, (x, y) in enumerate(zip(lon, lat, strict=True))]
    expected = _by_the_book(points, None, batch_size) if points else []
    found = ORDERS["geographic_published"](lon, lat, batch_size, 0, 0)
    assert [found[i].tolist() for i in range(len(found))] == expected


def _by_the_book(
    points: list[tuple[float, float, int]], box: list[float] | None, size: int
) -> list[list[int]]:
    """The rule of the paper, word for word, with recursion and Python's own sort."""
    if box is None:
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        dx, dy = 0.05 * (max(xs) - min(xs)), 0.05 * (max(ys) - min(ys))
        box = [min(xs) - dx, max(xs) + dx, min(ys) - dy, max(ys) + dy]
    n = len(points)
    if n < 2 * size:
        return [[p[2] for p in points]]
    axis = 0 if box[1] - box[0] > box[3] - box[2] else 1
    points = sorted(points, key=lambda p: p[axis])
    left = min(max(math.ceil(n / size) // 2 * size, size), n - size)
    value = (points[left - 1][axis] + points[left][axis]) / 2
    low, high = box.copy(), box.copy()
    low[2 * axis + 1] = high[2 * axis] = value
    return [
        *_by_the_book(points[:left], low, size),
        *_by_the_book(points[left:], high, size),
    ]


def test_neighbours_across_the_antimeridian_stay_together() -> None:
    lon = np.concatenate([np.linspace(179.5, 179.9, 8), np.linspace(-179.9, -179.5, 8)])
    lon, lat = np.concatenate([lon, np.linspace(0, 1, 16)]), np.zeros(32)
    found: Batches = ORDERS["geographic"](lon, lat, 16, 0, 0)
    assert {frozenset(found[i].tolist()) for i in range(2)} == {
        frozenset(range(16)),
        frozenset(range(16, 32)),
    }


def test_neighbours_around_a_pole_stay_together() -> None:
    lon = np.concatenate([np.arange(16) * 22.5, np.full(16, 10.0)])
    lat = np.concatenate([np.full(16, 89.0), np.linspace(40, 41, 16)])
    found = ORDERS["geographic"](lon, lat, 16, 0, 0)
    assert {frozenset(found[i].tolist()) for i in range(2)} == {
        frozenset(range(16)),
        frozenset(range(16, 32)),
    }
