"""What the readers of labels tell about a table: counts that decide a dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

READERS = "mmearth.curate.labels"
"""The logger that all readers of labels are below; each logs what it leaves out, as INFO."""


class _Notes(logging.Handler):
    """Keeps INFO; all of it goes where it would go otherwise, too."""

    def __init__(self, above: logging.Logger) -> None:
        super().__init__(logging.INFO)
        self.notes: list[str] = []
        self._above = above

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO:
            self.notes.append(record.getMessage())
        if self._above.isEnabledFor(record.levelno):
            self._above.handle(record)


@contextmanager
def told() -> Iterator[list[str]]:
    """Collect what is told about labels while they are read, whatever is logged otherwise."""
    logger = logging.getLogger(READERS)
    before = logger.level, logger.propagate
    handler = _Notes(logging.getLogger("mmearth"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield handler.notes
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
