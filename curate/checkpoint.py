"""What visits found goes to the disk in steps: packs first, then the rows that name them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from mmearth.catalog.files import sync_files
from mmearth.curate.ledger import Ledger, Record

EVERY_S = 1.0
"""Seconds of work that a power cut or a kill may cost, beside the visits in flight."""


def _nothing(_: list[Record]) -> None:
    pass


class Checkpoint:
    """Keeps the records of finished visits; the ledger never names bytes that are not on the disk.

    Syncing after every visit would make each wait for the disk. Once a second costs a few per cent
    of a build (docs/reliability.md).
    """

    def __init__(
        self, root: Path, ledger: Ledger, after: Callable[[list[Record]], None] = _nothing
    ) -> None:
        """Begin with nothing to keep.

        Args:
            root: The dataset's directory.
            ledger: Where the records go.
            after: Called with records that are there.
        """
        self._root, self._ledger, self._after = root, ledger, after
        self._waiting: list[Record] = []
        self._last = time.monotonic()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write()

    def keep(self, records: list[Record]) -> None:
        """Take the records of one visit; write them with others before long.

        Raises:
            StorageError: The disk is full.
        """
        self._waiting += records
        if time.monotonic() - self._last >= EVERY_S:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            sync_files(self._root, sorted({r.path for r in self._waiting if r.path is not None}))
            self._ledger.record(self._waiting)
            self._after(self._waiting)
            self._waiting.clear()
        self._last = time.monotonic()
