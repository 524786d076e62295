"""Batches read ahead of their use, by a thread; `ring.py` does it with processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from mmearth.loaders.batch_reader import BatchReader, Rows
from mmearth.loaders.orders.schedule import Turn
from mmearth.loaders.pool import Arrays, Block, Layout, allocate, carve, nbytes_of

Filled = tuple[Block, frozenset[str]]
"""A batch's block, and which of its masks were filled; see `BatchReader.read`."""


class Reading(Protocol):
    """What reads batches; it may be used for several epochs."""

    def send(self, rows: Rows) -> Callable[[], Filled]:
        """Begin to read a batch; return what waits for it and raises its errors."""

    def close(self) -> None:
        """End, without waiting for batches that were sent for."""


def read_ahead(
    reading: Reading, turns: Iterable[Turn], depth: int
) -> Iterator[tuple[Turn, Filled]]:
    """Yield the turns of a rank in order, each read while up to `depth` before it are used."""
    waiting: deque[tuple[Turn, Callable[[], Filled]]] = deque()
    for turn in turns:
        waiting.append((turn, reading.send(turn.rows)))
        if len(waiting) > depth:
            first, wait = waiting.popleft()
            yield first, wait()
    for turn, wait in waiting:
        yield turn, wait()


def scratch(reader: BatchReader, size: int) -> Arrays:
    """Return what one thread needs to read with, besides the arrays of the batches."""
    layout = reader.scratch_layout(size)
    return carve(allocate(nbytes_of(layout)), layout)


@dataclass(slots=True)
class Thread:
    """One thread of this process; copying and hashing release the interpreter's lock."""

    reader: BatchReader
    """What it reads with."""
    size: int
    """Samples of the greatest batch."""
    take: Callable[[], Block]
    """Gives a block that nobody reads."""
    _layout: Layout = field(init=False)
    _scratch: Arrays = field(init=False)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "mmearth"))

    def __post_init__(self) -> None:
        self._layout = self.reader.layout(self.size)
        self._scratch = scratch(self.reader, self.size)

    def send(self, rows: Rows) -> Callable[[], Filled]:
        """Begin to read a batch; return what waits for it and raises its errors."""
        block = self.take()
        arrays = carve(block, self._layout)
        reading = self._pool.submit(self.reader.read, rows, arrays, self._scratch)
        return lambda: (block, reading.result())

    def close(self) -> None:
        """End, without waiting for batches that were sent for."""
        self._pool.shutdown(cancel_futures=True)
