"""Blocks of memory for batches, used again once nobody holds an array of theirs.

A fresh batch of 38 MB costs more in page faults than in copying. So a block is handed out again as
soon as its last array, or tensor made from one, is gone: nothing is ever written under its reader.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Name of an array → its shape and dtype."""
Arrays = dict[str, NDArray[Any]]
Block = NDArray[np.uint8]

_ALIGNMENT = 64  # bytes: a cache line
_HELD_BY_US = 2  # by the list, and by the argument of getrefcount


def nbytes_of(layout: Layout) -> int:
    """Return how many bytes a block must have for all arrays of a layout."""
    return max((begin + nbytes for begin, nbytes, _, _ in places(layout).values()), default=0)


def places(layout: Layout) -> dict[str, tuple[int, int, tuple[int, ...], np.dtype[Any]]]:
    """Return where each array of a layout lies in its block: begin, bytes, shape and dtype."""
    found = {}
    begin = 0
    for name, (shape, dtype) in layout.items():
        nbytes = dtype.itemsize * int(np.prod(shape))
        found[name] = begin, nbytes, shape, dtype
        begin += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
    return found


def carve(block: Block, layout: Layout) -> Arrays:
    """Return the arrays of a layout in a block of `nbytes_of(layout)`."""
    return {
        name: block[begin : begin + nbytes].view(dtype).reshape(shape)
        for name, (begin, nbytes, shape, dtype) in places(layout).items()
    }


def allocate(nbytes: int) -> Block:
    """Return a block of this process's own memory."""
    return np.empty(nbytes, dtype=np.uint8)


@dataclass(slots=True)
class Pool:
    """Blocks of one size; not for several threads at once."""

    nbytes: int
    """Of each block."""
    make: Callable[[int], Block] = allocate
    """Gives a new block of so many bytes."""
    blocks: list[Block] = field(default_factory=list)
    """All that were made; they go when the pool does."""

    def take(self) -> int:
        """Return the position of a block that nobody reads; make one where there is none."""
        for i in range(len(self.blocks)):
            # Every array and tensor of a block refers to the block itself, through any views.
            if sys.getrefcount(self.blocks[i]) <= _HELD_BY_US:
                return i
        self.blocks.append(self.make(self.nbytes))
        return len(self.blocks) - 1
