"""The ledger's tables and statements, and what SQLite's refusals become."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmearth.catalog.errors import ConfigError, FormatError, storage_errors

SCHEMA = """
CREATE TABLE IF NOT EXISTS observations (
    tile TEXT NOT NULL, modality TEXT NOT NULL, state TEXT NOT NULL, permanent INTEGER NOT NULL,
    tries INTEGER NOT NULL, kind TEXT, reason TEXT, path TEXT, bytes INTEGER, sha256 TEXT,
    acquired TEXT, valid_fraction REAL, source TEXT, source_ids TEXT, stand_in TEXT,
    expression TEXT, PRIMARY KEY (tile, modality)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked (tile TEXT PRIMARY KEY, date TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
"""Every ledger's tables: what was seen, the dates that labels ask for, facts about the build."""
COLUMNS = (
    "tile, modality, state, permanent, tries, kind, reason, path, bytes, sha256, acquired, "
    "valid_fraction, source, source_ids, stand_in, expression"
)
"""Of `observations`, in the order of the table."""

PLANNED = """
CREATE TEMP TABLE planned (tile TEXT PRIMARY KEY, names TEXT NOT NULL, date TEXT) WITHOUT ROWID
"""
"""The plan at hand, for as long as stale rows are looked for; `names` has a blank around each."""
DROP_STALE = """
DELETE FROM observations WHERE NOT EXISTS (
    SELECT 1 FROM planned LEFT JOIN asked USING (tile)
    WHERE planned.tile = observations.tile AND planned.date IS asked.date
    AND instr(names, ' ' || modality || ' ')
)
"""
"""Drop what is not planned any more, or was planned for another date."""
DROP_ASKED = """
DELETE FROM asked WHERE NOT EXISTS (
    SELECT 1 FROM planned WHERE planned.tile = asked.tile AND planned.date = asked.date
)
"""
"""Drop the dates that no label asks for any more."""


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's refusals inside the block into ours.

    Args:
        path: The ledger.

    Raises:
        ConfigError: Another process holds it.
        FormatError: The file is no ledger.
        StorageError: The disk is full or the directory cannot be written.
    """
    try:
        yield
    except sqlite3.DatabaseError as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind of error
        with storage_errors(f"write {path}"):
            if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
                raise OSError(errno.ENOSPC, str(exc)) from exc
            if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
                raise OSError(errno.EACCES, str(exc)) from exc
        if code == sqlite3.SQLITE_BUSY:
            raise ConfigError(f"{path} is in use by another process; wait until it ends") from exc
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise FormatError(f"{path} is not a ledger ({exc}); build with --fresh") from exc
        raise
