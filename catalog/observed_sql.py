"""The ledger's table of observations, its checksums, and what SQLite's refusals become."""

from __future__ import annotations

import errno
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmearth.catalog.errors import ConfigError, FormatError, StorageError, storage_errors
from mmearth.catalog.files import open_regular

LEDGER = ".curate/ledger.sqlite"
"""Where the ledger is in a dataset's directory; it is not published."""
VERSION = 2
"""Of the ledger's tables; SQLite keeps it as `user_version`."""
TABLE = f"""
CREATE TABLE IF NOT EXISTS observations (
    tile TEXT NOT NULL, modality TEXT NOT NULL, identity TEXT NOT NULL DEFAULT '',
    wanted INTEGER NOT NULL DEFAULT 1, state TEXT NOT NULL, permanent INTEGER NOT NULL,
    tries INTEGER NOT NULL, kind TEXT, reason TEXT, path TEXT, byte_offset INTEGER, bytes INTEGER,
    sha256 TEXT, "values" TEXT, acquired TEXT, valid_fraction REAL, source TEXT, source_ids TEXT,
    stand_in TEXT, expression TEXT, checksum INTEGER NOT NULL,
    PRIMARY KEY (tile, modality, identity)
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
"""What was seen: a row for each tile, modality and identity (`curate.identity`), which is what an
observation is known by. Of one tile and modality one row at most is `wanted`: the dataset's own."""
CHECKED = (
    *("tile", "modality", "identity", "state", "permanent", "kind", "reason", "path"),
    *("byte_offset", "bytes", "sha256", "values", "acquired", "valid_fraction", "source"),
    *("source_ids", "stand_in", "expression"),
)
"""Columns of `observations` that a row's checksum covers: all but `wanted` and `tries`."""


def quoted(names: Iterable[str]) -> str:
    """Return names of columns for a statement: `values` is a word of SQL."""
    return ", ".join(f'"{name}"' for name in names)


def checksum(*values: str) -> str:
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
    f"INSERT OR REPLACE INTO observations ({quoted(CHECKED)}, tries, checksum) "
    f"VALUES ({', '.join(f':{name}' for name in CHECKED)}, 1 + coalesce((SELECT tries "
    "FROM observations WHERE tile = :tile AND modality = :modality AND identity = :identity), 0), "
    f"{checksum(*(f':{name}' for name in CHECKED))})"
)
"""Keep a row, given its columns by name; how often it was tried is counted."""
DAMAGED = f"checksum IS NOT {checksum(*(quoted([name]) for name in CHECKED))}"
"""The condition that a row is not the one that was written."""


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
            if code == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, str(exc)) from exc
            if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
                raise OSError(errno.EACCES, str(exc)) from exc
        if code == sqlite3.SQLITE_IOERR:  # of a quota too, and SQLite does not tell
            raise StorageError(
                f"cannot write {path}: no space is left on the disk for you, or it fails; look "
                "after it and run the same command again, it goes on where it stopped"
            ) from exc
        if code == sqlite3.SQLITE_BUSY:
            raise ConfigError(f"{path} is in use by another process; wait until it ends") from exc
        raise FormatError(
            f"{path} is damaged or is not a ledger of this version ({exc}); build with --fresh to "
            "collect everything again"
        ) from exc


def connect(uri: str) -> sqlite3.Connection:
    """Open a database by its URI; its statements may use `row_checksum`."""
    db = sqlite3.connect(uri, isolation_level=None, uri=True)
    db.create_function("row_checksum", -1, row_checksum, deterministic=True)
    return db


def connect_reading(root: Path) -> sqlite3.Connection:
    """Open a dataset's ledger to read it, also on a read-only disk; nothing is written beside it.

    Raises:
        ConfigError: There is none.
        FormatError: The file is no ledger.
    """
    path = root / LEDGER
    if not path.exists():
        raise ConfigError(f"{root} holds no build; make one with `mmearth curate build`")
    open_regular(path, root).close()
    # Without a log nobody writes. Then SQLite need not make the files through which it locks.
    alone = not path.with_name(f"{path.name}-wal").exists()
    with sqlite_errors(path):
        db = connect(f"{path.absolute().as_uri()}?{'immutable=1' if alone else 'mode=ro'}")
        # A stranger's may have a view under a table's name, which may never end.
        db.execute("PRAGMA trusted_schema=OFF")
        query = "SELECT type, sql FROM sqlite_master WHERE name = 'observations'"
        kinds = db.execute(query).fetchall()
        version = version_of(db)
    if [kind for kind, sql in kinds if sql.upper().startswith("CREATE TABLE")] != ["table"]:
        db.close()
        raise FormatError(f"{path} is no ledger: it has no table of observations; build again")
    if version != VERSION:
        db.close()
        raise other_version(path, version)
    return db


def version_of(db: sqlite3.Connection) -> int:
    """Return which version of its tables a database has; 0 where it tells none."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def other_version(path: Path, version: int) -> FormatError:
    """Return that a ledger is of another version than this one's."""
    return FormatError(
        f"{path} is a ledger of version {version}, expected {VERSION}: use the mmearth that began "
        "it, or build with --fresh to collect everything again"
    )
