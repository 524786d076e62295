"""Boxes of whole chunks: each value once, each chunk once, memory bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth.packaging.h5.boxes import BOX_BYTES, boxes


def _bytes(box: tuple[slice, ...], itemsize: int) -> int:
    n = itemsize
    for side in box:
        n *= side.stop - side.start
    return n


@given(
    st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=4
    ),  # (length, chunk) an axis
    st.integers(1, 4_000),
)
def test_every_value_once_and_no_chunk_in_two_boxes(
    axes: list[tuple[int, int]], nbytes: int
) -> None:
    shape = tuple(length for length, _ in axes)
    chunks = tuple(min(axis) for axis in axes)
    seen = np.zeros(shape, int)
    for box in boxes(shape, chunks, 4, nbytes):
        seen[box] += 1
        for side, chunk, length in zip(box, chunks, shape, strict=True):
            assert side.start % chunk == 0
            assert side.stop % chunk == 0 or side.stop == length
        assert _bytes(box, 4) <= max(nbytes, 4 * int(np.prod(chunks)))
    assert (seen == 1).all()


@pytest.mark.parametrize("dtype_bytes", [4, 8])
def test_boxes_of_a_published_file(dtype_bytes: int) -> None:
    """36,410 tiles of 12 bands: chunks of 1138 tiles and 8 × 8 pixels, as h5py chooses them."""
    found = list(boxes((36_410, 12, 128, 128), (1138, 1, 8, 8), dtype_bytes))
    assert all(box[0].stop - box[0].start in {1138, 36_410 % 1138} for box in found)
    assert all(box[3] == slice(0, 128) for box in found)  # whole lines: few seeks when written
    assert max(_bytes(box, dtype_bytes) for box in found) <= BOX_BYTES
    n_chunks = 32 * 12 * 16 * 16
    assert len(found) <= n_chunks / 16


def test_what_has_no_chunks_goes_by_tiles() -> None:
    found = list(boxes((100, 2, 128, 128), None, 4))
    assert found[0] == (slice(0, 100), slice(0, 2), slice(0, 128), slice(0, 128))
    assert [box[0] for box in boxes((3, 2, 4), None, 4, 40)] == [
        slice(0, 1),
        slice(1, 2),
        slice(2, 3),
    ]
