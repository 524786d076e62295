"""Statistics are exact: equal to sums of fractions, in whatever parts the values come."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mmearth.catalog.statistics import BandStatistics

FLOATS = hnp.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def exact(values: NDArray[Any]) -> tuple[Fraction, Fraction]:
    whole = [Fraction(float(value)) for value in values]
    return sum(whole, Fraction(0)), sum((value * value for value in whole), Fraction(0))


def assert_exact(seen: BandStatistics, values: NDArray[Any]) -> None:
    total, squares = exact(values)
    assert Fraction(seen.total, 2**1074) == total
    assert Fraction(seen.squares, 2**2148) == squares
    assert seen.n == values.size
    assert seen.mean == float(total / values.size)


@given(FLOATS)
@settings(max_examples=200, deadline=None)
def test_any_float32(values: NDArray[Any]) -> None:
    seen = BandStatistics()
    seen.update(values, None)
    assert_exact(seen, values)
    assert (seen.low, seen.high) == (float(values.min()), float(values.max()))


@given(FLOATS, st.data())
@settings(max_examples=100, deadline=None)
def test_parts_merged_in_any_order_are_the_whole(values: NDArray[Any], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, values.size))
    merged = BandStatistics()
    for part in (values[cut:], values[:cut]):
        seen = BandStatistics()
        if part.size:
            seen.update(part, None)
        merged.merge(seen)
    one_by_one = BandStatistics()
    for value in values.tolist():
        one_by_one.add(value, None)
    whole = BandStatistics()
    whole.update(values, None)
    assert merged == whole == one_by_one
    # As text: 0.0 and -0.0 are equal, and are not the same bytes.
    assert len({json.dumps(seen.to_json()) for seen in (merged, whole, one_by_one)}) == 1


def test_zeros_of_both_signs_are_one() -> None:
    texts = set()
    for order in ([0.0, -0.0], [-0.0, 0.0]):
        merged = BandStatistics()
        for value in order:
            seen = BandStatistics()
            seen.update(np.full(3, value, dtype=np.float32), None)
            merged.merge(seen)
        texts.add(json.dumps(merged.to_json()))
    assert len(texts) == 1


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(-12, 4, 16384).astype(np.float32),  # backscatter
        np.random.default_rng(1).integers(0, 65535, 16384).astype(np.uint16),  # reflectance
        np.full(40_000, 65534, dtype=np.uint16),
        np.full(32_768, -(2.0**23) + 0.5, dtype=np.float32),
        np.tile(np.array([1e-38, -3e38], dtype=np.float32), 9_000),  # 250 bits apart
        np.zeros(7, dtype=np.float32),
        np.array([5e-324, 1e-300, 2.0]),
    ],
)
def test_arrays_as_large_as_a_band(values: NDArray[Any]) -> None:
    seen = BandStatistics()
    seen.update(values, None)
    assert_exact(seen, values)


def test_no_data_is_counted_and_left_out() -> None:
    seen = BandStatistics()
    seen.update(np.array([1, 2, 9999, 3], dtype=np.uint16), 9999)
    seen.update(np.array([9999, 9999], dtype=np.uint16), 9999)
    seen.add(4.0, 9999)
    seen.add(9999.0, 9999)
    assert (seen.n, seen.n_missing, seen.mean, seen.low, seen.high) == (4, 4, 2.5, 1.0, 4.0)
    assert seen.std == math.sqrt(1.25)


def test_classes_are_counted() -> None:
    seen = BandStatistics()
    seen.update(np.array([0, 3, 3, 9], dtype=np.uint8), 9, categorical=True)
    seen.add(3.0, 9, categorical=True)
    assert seen.classes == {0: 1, 3: 3}
    assert (seen.mean, seen.n_missing) == (2.25, 1)
