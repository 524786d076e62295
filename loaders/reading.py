"""Batches read ahead of their use, by a thread; `ring.py` does it with processes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mmearth.loaders.batch_reader import BatchReader, Extents
from mmearth.loaders.orders.schedule import Turn
from mmearth.loaders.pool import Arrays, Block, Layout, allocate, carve, nbytes_of

if TYPE_CHECKING:
    from mmearth.loaders.collate import Batch

Finish = Callable[[Turn, Block, Extents], "Batch"]
"""(turn, its block, how much of its masks was written) → what the user gets."""


class Reading(Protocol):
    """What reads batches; it may be used for several epochs."""

    def send(self, turn: Turn, finish: Finish) -> Callable[[], Batch]:
        """Begin to read a batch; return what waits for it and raises its errors."""

    def close(self) -> None:
        """End, without waiting for batches that were sent for."""


def read_ahead(
    reading: Reading, turns: Iterable[Turn], depth: int, finish: Finish
) -> Iterator[tuple[Turn, Batch]]:
    """Yield the turns of a rank in order, each read while up to `depth` before it are used."""
    waiting: deque[tuple[Turn, Callable[[], Batch]]] = deque()
    for turn in turns:
        waiting.append((turn, reading.send(turn, finish)))
        if len(waiting) > depth:
            first, wait = waiting.popleft()
            yield first, wait()
    while waiting:
        first, wait = waiting.popleft()
        yield first, wait()


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
    _process: int = field(default_factory=os.getpid)
    _layout: Layout = field(init=False)
    _scratch: Arrays = field(init=False)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "mmearth"))

    def __post_init__(self) -> None:
        self._layout = self.reader.layout(self.size)
        self._scratch = scratch(self.reader, self.size)

    def send(self, turn: Turn, finish: Finish) -> Callable[[], Batch]:
        """Begin to read a batch; return what waits for it and raises its errors."""
        # Finished in the thread too: two that take turns with the interpreter's lock, between a
        # hundred small copies, cost a tenth of the time.
        return self._pool.submit(self._read, turn, self.take(), finish).result

    def _read(self, turn: Turn, block: Block, finish: Finish) -> Batch:
        arrays = carve(block, self._layout)
        extents = self.reader.read(turn.rows, arrays, self._scratch, turn.epoch)
        return finish(turn, block, extents)

    def close(self) -> None:
        """End, without waiting for batches that were sent for; not what another process reads."""
        if os.getpid() == self._process:
            self._pool.shutdown(cancel_futures=True)
