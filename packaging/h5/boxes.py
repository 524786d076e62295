"""Boxes of whole chunks: HDF5 is read and written so that every chunk is touched once.

The published files have chunks such as (1150, 1, 8, 8): one tile lies in thousands of them, so a
reader that goes by tiles inflates each chunk a thousand times.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

Box = tuple[slice, ...]
BOX_BYTES = 16 << 20
"""Memory of one box, about; a box is one chunk at least."""


def boxes(
    shape: tuple[int, ...], chunks: tuple[int, ...] | None, itemsize: int, nbytes: int = BOX_BYTES
) -> Iterator[Box]:
    """Yield boxes that cover an array, each of whole chunks, row by row.

    Args:
        shape: Of the array.
        chunks: Of its chunks; None where it has none.
        itemsize: Bytes of a value.
        nbytes: A box has about so many at most.
    """
    sides = list(chunks or (1, *shape[1:]))
    # Grow from the last axis on: what lies together in a tile is read together.
    for axis in reversed(range(len(shape))):
        size = itemsize
        for side in sides:
            size *= side
        times = max(1, min(nbytes // max(size, 1), -(-shape[axis] // sides[axis])))
        sides[axis] = min(sides[axis] * times, shape[axis])
    starts = [range(0, n, side) for n, side in zip(shape, sides, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple(
            slice(begin, min(begin + side, n))
            for begin, side, n in zip(corner, sides, shape, strict=True)
        )
