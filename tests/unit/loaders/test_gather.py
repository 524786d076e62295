"""Rows are copied byte for byte, from any place to any, and nothing outside of them is touched.

And where one looks while copying, masks are those of a comparison of the whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth.loaders.fetch.gather import (
    copy_one,
    copy_one_with_numpy,
    gather,
    gather_and_look,
    gather_and_look_with_numpy,
    gather_with_numpy,
)

Gather = Callable[..., None]
WAYS = [gather, gather_with_numpy]
BOTH = pytest.mark.parametrize("way", WAYS, ids=["installed", "numpy"])
GUARD = 0xA5


def block(nbytes: int, shift: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return memory that begins `shift` bytes after a cache line, all of it GUARD."""
    whole = np.full(nbytes + 128, GUARD, np.uint8)
    begin = -whole.ctypes.data % 64 + shift
    return whole[begin : begin + nbytes]


@settings(max_examples=60, deadline=None)
@given(
    way=st.sampled_from(WAYS),
    n_words=st.integers(1, 50),
    shift=st.integers(0, 7),
    begins=st.lists(st.integers(0, 200), max_size=6),
    seed=st.integers(0, 99),
)
def test_every_byte_and_no_other(
    way: Gather, n_words: int, shift: int, begins: list[int], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    source = draw.integers(0, 2**64, 250, np.uint64)
    nbytes, n_rows = 8 * n_words, 8
    into = block(n_rows * nbytes, 8 * shift).view(np.uint64).reshape(n_rows, n_words)
    slots = draw.permutation(n_rows)[: len(begins)]
    expected = into.copy()
    for begin, slot in zip(begins, slots, strict=True):
        expected[slot] = source[begin : begin + n_words]
    way(source, np.array(begins, np.int64) * 8, into, slots.astype(np.int64), nbytes)
    np.testing.assert_array_equal(into, expected)


@BOTH
@pytest.mark.parametrize(
    ("begin", "slot"),
    [(-8, 0), (4, 0), (808 - 64 + 8, 0), (808 - 8, 0), (1 << 62, 0), (0, -1), (0, 3)],
)
def test_what_lies_outside_is_refused(way: Gather, begin: int, slot: int) -> None:
    source, into = np.zeros(101, np.uint64), np.full((3, 8), 7, np.uint64)
    rows = np.array([begin], np.int64), np.array([slot], np.int64)
    with pytest.raises(ValueError, match="found byte"):
        way(source, rows[0], into, rows[1], 64)
    assert (into == 7).all()


@pytest.mark.parametrize("way", [copy_one, copy_one_with_numpy], ids=["installed", "numpy"])
@pytest.mark.parametrize("n_words", [1, 7, 8, 9, 50])
@pytest.mark.parametrize("shift", range(8))
def test_one_row(way: Gather, n_words: int, shift: int) -> None:
    source = np.arange(n_words + 3, dtype=np.uint64)
    whole = block(8 * (n_words + 2), 8 * shift).view(np.uint64)
    into, guard = whole[1:-1], whole[0]
    way(source, 16, into)
    assert into.tolist() == list(range(2, 2 + n_words))
    assert whole[0] == whole[-1] == guard
    for begin in (-8, 4, 32, 1 << 62):
        with pytest.raises(ValueError, match="found byte"):
            way(source, begin, into)


@BOTH
def test_nothing_to_copy(way: Gather) -> None:
    none = np.zeros(0, np.int64)
    way(np.zeros(8, np.uint64), none, np.zeros((1, 8), np.uint64), none, 64)


@BOTH
def test_a_source_may_be_read_only_and_a_destination_may_not(way: Gather) -> None:
    source, into = np.arange(8, dtype=np.uint64), np.zeros((1, 8), np.uint64)
    source.flags.writeable = False
    one = np.zeros(1, np.int64)
    way(source, one, into, one, 64)
    np.testing.assert_array_equal(into[0], source)
    into.flags.writeable = False
    with pytest.raises((ValueError, TypeError)):
        way(source, one, into, one, 64)


def test_what_makes_no_sense_is_refused() -> None:
    source, into = np.zeros(8, np.uint64), np.zeros((1, 8), np.uint64)
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    for way in WAYS:
        with pytest.raises(ValueError):
            way(source, one, into, two, 64)


LOOKS = pytest.mark.parametrize(
    "way", [gather_and_look, gather_and_look_with_numpy], ids=["installed", "numpy"]
)
BAND = 128 * 128


@LOOKS
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("n_bands", [1, 3])
@pytest.mark.parametrize("uneven", [None, 1, 2])
@pytest.mark.parametrize("pixels", [32, 128, 144])
def test_masks_are_made_while_copying(
    way: Callable[..., bool], dtype: str, n_bands: int, uneven: int | None, pixels: int
) -> None:
    draw, nodata = np.random.default_rng(n_bands), np.dtype(dtype).type(200)
    shape = (4, 1, pixels * pixels)
    values = draw.integers(199, 202, shape).repeat(n_bands, axis=1).astype(dtype)
    if uneven is not None and n_bands > 1:
        values[uneven, -1, -1] = 200 if values[uneven, 0, -1] != 200 else 201
    source = values.reshape(-1).view(np.uint64)
    nbytes = values[0].nbytes
    into = np.zeros((5, nbytes // 8), np.uint64)
    valid = np.zeros((5, n_bands, pixels, pixels), np.bool_)
    slots = np.array([4, 0, 3])
    agree = way(source, np.arange(3) * nbytes, into, slots, nbytes, nodata, valid)
    copied = into.view(dtype).reshape(5, n_bands, -1)
    np.testing.assert_array_equal(copied[slots], values[:3])
    np.testing.assert_array_equal(valid.reshape(copied.shape)[slots], values[:3] != 200)
    assert not copied[[1, 2]].any() and not valid[[1, 2]].any()
    assert agree is (uneven is None or n_bands == 1)


@LOOKS
def test_no_mask_is_written_outside(way: Callable[..., bool]) -> None:
    source, into = np.zeros(2 * BAND // 8, np.uint64), np.full((2, BAND // 8), 7, np.uint64)
    zero, one = np.array([0]), np.array([1])
    few, many = np.zeros((1, 1, 128, 128), np.bool_), np.zeros((2, 1, 128, 128), np.bool_)
    for slot, nbytes, nodata, valid in [
        (one, BAND, np.uint8(9), few),  # no mask has that row
        (zero, BAND - 8, np.uint8(9), many),  # no whole band
        (zero, BAND, np.uint16(9), many),  # half a band
        (zero, BAND, np.float64(9), many),
        (zero, BAND, np.uint8(9), np.zeros((2, 2, 128, 64), np.bool_)[:, :1]),  # not in one piece
        (zero, BAND, np.uint8(9), np.zeros((2, 1, 128, 127), np.bool_)),  # no whole block
        (zero, BAND, np.uint8(9), np.zeros((2, 128, 128), np.bool_)),
    ]:
        with pytest.raises(ValueError, match=r"found|contiguous"):
            way(source, zero, into, slot, nbytes, nodata, valid)
    assert (into == 7).all() and not few.any() and not many.any()
