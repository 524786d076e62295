"""Members of one shard → their rows of a batch, copied once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "IS_COMPILED",
    "Words",
    "copy_one",
    "copy_one_with_numpy",
    "gather",
    "gather_and_look",
    "gather_and_look_with_numpy",
    "gather_with_numpy",
    "guard",
    "guard_with_numpy",
]

Words = NDArray[np.uint64]
"""Memory as it is copied: of members and batches alike, bands of anything are whole words."""
# NumPy copies by `positive`, in registers: what `into[:] = …` calls (`rep movsb`) is up to a fifth
# slower from pages of 4 kB.
_BLOCK = 256  # values; a band is whole blocks, as tiles have 16 pixels, 32, 48, … a side


def guard_with_numpy() -> None:
    """Let copies that follow raise OSError where a page of their source has gone: once a batch.

    It is mapped, and its file was truncated or cannot be read: a signal, SIGBUS, of which others
    may also want to be told. Not compiled, this does nothing, and the signal kills the process.
    """


def copy_one_with_numpy(source: Words, begin: int, into: Words) -> None:
    """Copy a row into the processor's cache, for somebody who looks at its bytes next.

    Args:
        source: (k,) a shard.
        begin: The byte of the source at which the row begins, a multiple of 8.
        into: (n,), C-contiguous, written.

    Raises:
        ValueError, OSError: As `gather`.
    """
    np.positive(_row(source, begin, into[np.newaxis], 0, into.nbytes), into)


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
        ValueError: A row is not whole within `source`, or not at a word, or not in `into`.
        OSError: A page of `source` has gone; see `guard`.
    """
    for begin, slot in zip(begins.tolist(), slots.tolist(), strict=True):
        np.positive(_row(source, begin, into, slot, nbytes), into[slot])


def gather_and_look_with_numpy(
    source: Words,
    begins: NDArray[np.int64],
    into: Words,
    slots: NDArray[np.int64],
    nbytes: int,
    nodata: np.generic,
    valid: NDArray[np.bool_],
) -> bool:
    """Copy rows as `gather` does, and write which of their values are not no-data.

    Args:
        source: (k,) a shard.
        begins: (n,) the byte of the source at which each row begins, a multiple of 8.
        into: (m, nbytes / 8), C-contiguous, written.
        slots: (n,) the row of `into` and of `valid` that it goes to.
        nbytes: Of each row: whole bands.
        nodata: Bits are compared.
        valid: (≤ m, band, row, column), C-contiguous, written; bands of whole blocks of 256 values.

    Returns:
        Whether in each row all bands have the same mask.

    Raises:
        ValueError: As `gather`; or masks, no-data and rows do not go together.
        OSError: As `gather`.
    """
    _, n_bands, *rest = valid.shape
    n_values = math.prod(rest)
    is_whole = valid.ndim == 4 and valid.flags.c_contiguous and not n_values % _BLOCK
    if not is_whole or nbytes != n_bands * n_values * nodata.itemsize:
        raise ValueError(
            f"found values of {nodata.itemsize} bytes for rows of {nbytes} bytes and contiguous "
            f"masks of {valid.shape}, which are not whole bands of blocks of {_BLOCK}"
        )
    into = into[: len(valid)]
    bits = f"u{nodata.itemsize}"
    agree = True
    for begin, slot in zip(begins.tolist(), slots.tolist(), strict=True):
        np.positive(_row(source, begin, into, slot, nbytes), into[slot])
        masks = valid[slot].reshape(n_bands, n_values)
        np.not_equal(into[slot].view(bits).reshape(masks.shape), nodata.view(bits), out=masks)
        words = masks.view(np.uint64)
        agree = agree and bool((words[1:] == words[0]).all())
    return agree


def _row(source: Words, begin: int, into: Words, slot: int, nbytes: int) -> Words:
    """Return a row of a source if it is whole there, and has a place."""
    if begin % 8 or not (0 <= begin <= source.nbytes - nbytes and 0 <= slot < len(into)):
        raise ValueError(
            f"found byte {begin} of {source.nbytes} for row {slot} of {len(into)}, of {nbytes} "
            "bytes each"
        )
    return source[begin >> 3 : begin + nbytes >> 3]


try:
    # Compiled, it takes one step for all rows and writes past the cache; see `_gather.c`.
    from mmearth.loaders.fetch._gather import copy_one, gather, gather_and_look, guard

    IS_COMPILED = True
except ImportError:  # it was installed where there was no compiler
    gather, gather_and_look = gather_with_numpy, gather_and_look_with_numpy
    copy_one, guard = copy_one_with_numpy, guard_with_numpy
    IS_COMPILED = False
