"""Blocks of memory for batches, used again once nobody holds an array of theirs.

A fresh batch of 38 MB costs more in page faults than in copying. So a block is handed out again as
soon as its last array, or tensor made from one, is gone: nothing is ever written under its reader.
A few outlive their pool, for the next loader: one that validates begins after each epoch.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Form = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and dtype of an array."""
Arrays = dict[str, NDArray[Any]]
Block = NDArray[np.uint8]


class Place(NamedTuple):
    """Where an array lies in a block."""

    begin: int
    """Its first byte."""
    nbytes: int
    """How many it has."""
    shape: tuple[int, ...]
    """Its shape."""
    dtype: np.dtype[Any]
    """Its dtype."""


Layout = Mapping[str, Place]
"""Name of an array → where it lies."""

_ALIGNMENT = 64  # bytes: a cache line
_HELD_BY_US = 2  # by the list, and by the argument of getrefcount


def lay_out(forms: Mapping[str, Form]) -> Layout:
    """Return where arrays lie in a block, one after another."""
    layout: dict[str, Place] = {}
    begin = 0
    for name, (shape, dtype) in forms.items():
        nbytes = dtype.itemsize * int(np.prod(shape))
        layout[name] = Place(begin, nbytes, shape, dtype)
        begin += _aligned(nbytes)
    return layout


def nbytes_of(layout: Layout) -> int:
    """Return how many bytes a block must have for all arrays of a layout: whole cache lines."""
    return max((place.begin + _aligned(place.nbytes) for place in layout.values()), default=0)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def carve(block: Block, layout: Layout) -> Arrays:
    """Return the arrays of a layout in a block of `nbytes_of(layout)`."""
    return {
        name: np.ndarray(place.shape, place.dtype, block, place.begin)
        for name, place in layout.items()
    }


_LEFT_BYTES = 256 << 20
"""Of all blocks that outlive their pools: two or three batches of 32 tiles with all modalities."""
_left: list[Block] = []
_leaving = threading.RLock()  # a pool may end while another is served, in the same thread


def _after_fork() -> None:
    """Take a new lock: one that another thread held would stay held in the child for ever."""
    global _leaving  # noqa: PLW0603 (a lock cannot be made free in any other way)
    _leaving = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def allocate(nbytes: int) -> Block:
    """Return a block of this process's own memory: new, or one that a pool left and nobody reads.

    What is in it has no meaning.
    """
    with _leaving:
        left = list(_left)
        for i in reversed(range(len(left))):  # the last one is the likeliest in the cache
            if left[i].nbytes == nbytes and _is_free(left, i, elsewhere=1):
                block = left.pop(i)
                _left[:] = [other for other in _left if other is not block]
                return block
    return np.empty(nbytes, dtype=np.uint8)


def _is_free(blocks: list[Block], i: int, elsewhere: int = 0) -> bool:
    """Return whether nobody holds a block but the list, and `elsewhere` other places of ours."""
    # Every array and tensor of a block refers to the block itself, through any views.
    return sys.getrefcount(blocks[i]) <= _HELD_BY_US + elsewhere


def _leave(blocks: list[Block]) -> None:
    """Take over the blocks of a pool that has gone; the oldest go where there are too many."""
    with _leaving:
        _left.extend(blocks)
        while _left_bytes() > _LEFT_BYTES:
            del _left[:1]


def _left_bytes() -> int:
    return sum(block.nbytes for block in _left)


@dataclass(slots=True, weakref_slot=True)
class Pool:
    """Blocks of one size; not for several threads at once."""

    nbytes: int
    """Of each block."""
    make: Callable[[int], Block] = allocate
    """Gives a new block of so many bytes."""
    blocks: list[Block] = field(default_factory=list)
    """All that were made; they go when the pool does, or are left to others."""

    def __post_init__(self) -> None:
        if self.make is allocate:
            weakref.finalize(self, _leave, self.blocks).atexit = False

    def take(self) -> int:
        """Return the position of a block that nobody reads; make one where there is none."""
        for i in range(len(self.blocks)):
            if _is_free(self.blocks, i):
                return i
        self.blocks.append(self.make(self.nbytes))
        return len(self.blocks) - 1
