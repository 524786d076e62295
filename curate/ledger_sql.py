"""The ledger's tables and statements, and what SQLite's refusals become."""

from __future__ import annotations

import errno
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmearth.catalog.errors import ConfigError, FormatError, storage_errors

SCHEMA = """
CREATE TABLE IF NOT EXISTS observations (
    tile TEXT NOT NULL, modality TEXT NOT NULL, state TEXT NOT NULL, permanent INTEGER NOT NULL,
    tries INTEGER NOT NULL, kind TEXT, reason TEXT, path TEXT, bytes INTEGER, sha256 TEXT,
    acquired TEXT, valid_fraction REAL, source TEXT, source_ids TEXT, stand_in TEXT,
    expression TEXT, checksum INTEGER NOT NULL, PRIMARY KEY (tile, modality)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked (tile TEXT PRIMARY KEY, date TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
"""Every ledger's tables: what was seen, the dates that labels ask for, facts about the build."""
_CHECKED = (
    *("tile", "modality", "state", "permanent", "kind", "reason", "path", "bytes", "sha256"),
    *("acquired", "valid_fraction", "source", "source_ids", "stand_in", "expression"),
)
"""Columns of `observations` that a row's checksum covers: all but `tries`."""


def _checksum(*values: str) -> str:
    """Return the SQL expression of a row's checksum.

    SQLite checks the shape of its pages and not their bytes. Cast, so that text that is not UTF-8
    any more reaches the function, too.
    """
    return f"row_checksum({', '.join(f'CAST({value} AS BLOB)' for value in values)})"


def row_checksum(*values: bytes | None) -> int:
    """Return the CRC-32 of a row's values, each with its length; None for NULL."""
    crc = 0
    for value in values:
        length = -1 if value is None else len(value)
        crc = zlib.crc32(value or b"", zlib.crc32(length.to_bytes(8, "little", signed=True), crc))
    return crc


INSERT = (
    f"INSERT OR REPLACE INTO observations ({', '.join(_CHECKED)}, tries, checksum) "
    f"VALUES ({', '.join(f':{name}' for name in _CHECKED)}, 1 + coalesce((SELECT tries "
    "FROM observations WHERE tile = :tile AND modality = :modality), 0), "
    f"{_checksum(*(f':{name}' for name in _CHECKED))})"
)
"""Keep a row, given its columns by name; how often it was tried is counted."""
DAMAGED = f"checksum IS NOT {_checksum(*_CHECKED)}"
"""The condition that a row is not the one that was written."""
RETRY = (
    "UPDATE observations SET permanent = 0, checksum = "
    f"{_checksum(*('0' if name == 'permanent' else name for name in _CHECKED))} "
    "WHERE state = 'failed'"
)
"""Make failures pending again."""

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
        FormatError: The file is no ledger, or is damaged.
        StorageError: The disk is full or the directory cannot be written.
    """
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind of error
        with storage_errors(f"write {path}"):
            if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
                raise OSError(errno.ENOSPC, str(exc)) from exc
            if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
                raise OSError(errno.EACCES, str(exc)) from exc
        if code == sqlite3.SQLITE_BUSY:
            raise ConfigError(f"{path} is in use by another process; wait until it ends") from exc
        raise FormatError(
            f"{path} is damaged or is not a ledger of this version ({exc}); build with --fresh to "
            "collect everything again"
        ) from exc
