"""One build at a time in a directory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mmearth.catalog.errors import ConfigError, storage_errors

LOCK = ".curate/lock"
"""An empty SQLite database whose lock the system frees when its holder ends, however it ends."""


@contextmanager
def only_build(root: Path) -> Iterator[None]:
    """Keep every other build out of a dataset's directory.

    Raises:
        ConfigError: Another build is at work there.
        StorageError: The directory cannot be written.
    """
    path = root / LOCK
    with storage_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as exc:
            raise ConfigError(
                f"another build is at work in {root}; wait until it ends, or choose another "
                "directory"
            ) from exc
        yield
