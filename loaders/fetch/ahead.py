"""Reading ahead of the copying: only while batches wait for the disk."""

from __future__ import annotations

import mmap
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmearth.loaders.fetch.shards import Mapped

ANNOUNCED = 16
"""Batches that are announced to the operating system after one that had to wait for the disk."""


class Ahead:
    """Announces what batches will read, where they had to wait for it lately.

    Then the disk begins with all of a batch, and not page by page as it is copied. In memory
    already it would cost a tenth of the copying: so it ends where no batch waits.
    """

    def __init__(self, who: int) -> None:
        """Announce the first batches.

        Args:
            who: Whose waits for the disk count, as `resource` names them.
        """
        self._who, self.left = who, ANNOUNCED

    @contextmanager
    def of_batch(self, announce: Callable[[], None]) -> Iterator[None]:
        """Enclose the copying of a batch; `announce` says what it will read."""
        if self.left > 0:
            announce()
            self.left -= 1
        waited = self._waits()
        yield
        if self._waits() > waited:
            self.left = ANNOUNCED

    def _waits(self) -> int:
        return resource.getrusage(self._who).ru_majflt


def announce(mapped: Mapped, begin: int, end: int) -> None:
    """Announce bytes of a shard, if they are there."""
    if begin and end <= mapped.nbytes:
        page = begin // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.pages.madvise(mmap.MADV_WILLNEED, page, end - page)
