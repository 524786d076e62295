"""Members of one shard → their rows of a batch, copied once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["IS_COMPILED", "Words", "copy", "gather", "gather_with_numpy"]

Words = NDArray[np.uint64]
"""Memory as it is copied: of members and batches alike, 128 × 128 of anything is whole words."""


def copy(source: Words, into: Words) -> None:
    """Copy into the processor's cache, for somebody who looks at the bytes next; holds no lock.

    In registers: what `into[:] = source` calls (`rep movsb`) is up to a fifth slower from pages of
    4 kB.
    """
    np.positive(source, into)


def gather_with_numpy(
    source: Words, begins: NDArray[np.int64], into: Words, slots: NDArray[np.int64], nbytes: int
) -> None:
    """Copy several rows of a source into rows of an array; the interpreter's lock is not held.

    Args:
        source: (k,) a shard.
        begins: (n,) the byte of the source at which each row begins, a multiple of 8.
        into: (m, nbytes / 8), C-contiguous, written.
        slots: (n,) the row of `into` that it goes to.
        nbytes: Of each row.

    Raises:
        ValueError: A row is not whole within `source`, or not in `into`.
    """
    for begin, slot in zip(begins.tolist(), slots.tolist(), strict=True):
        if not (0 <= begin <= source.nbytes - nbytes and 0 <= slot < len(into)):
            raise ValueError(
                f"found byte {begin} of {source.nbytes} for row {slot} of {nbytes} bytes in "
                f"{into.nbytes}"
            )
        copy(source[begin >> 3 : begin + nbytes >> 3], into[slot])


try:
    # Compiled, it takes one step for all rows and writes past the cache; see `_gather.c`.
    from mmearth.loaders.fetch._gather import gather

    IS_COMPILED = True
except ImportError:  # it was installed where there was no compiler
    gather = gather_with_numpy
    IS_COMPILED = False
