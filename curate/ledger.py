"""The ledger: what is known about every tile and modality, in one SQLite file.

A row is written after its file was renamed into place, all rows of a tile in one transaction. A
crash in between costs the tile one more visit, which makes the same bytes.
"""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mmearth.catalog.errors import ConfigError, FormatError, storage_errors
from mmearth.catalog.schema import OBSERVATIONS

LEDGER = ".curate/ledger.sqlite"
"""Where it is in a dataset's directory; it is not published."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS observations (
    tile TEXT NOT NULL, modality TEXT NOT NULL, state TEXT NOT NULL, permanent INTEGER NOT NULL,
    tries INTEGER NOT NULL, kind TEXT, reason TEXT, path TEXT, bytes INTEGER, sha256 TEXT,
    acquired TEXT, valid_fraction REAL, source TEXT, source_ids TEXT, stand_in TEXT,
    PRIMARY KEY (tile, modality)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked (tile TEXT PRIMARY KEY, date TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = (
    "tile, modality, state, permanent, tries, kind, reason, path, bytes, sha256, acquired, "
    "valid_fraction, source, source_ids, stand_in"
)


@dataclass(frozen=True, slots=True)
class Record:
    """What one visit found out about one modality of one tile."""

    tile: str
    """Tile.id."""
    modality: str
    """A modality, or a task with pixel-level targets."""
    state: str
    """One of `schema.STATES`."""
    permanent: bool = True
    """False where another run may succeed."""
    kind: str | None = None
    """Name of the error, where there was one."""
    reason: str | None = None
    """Why it is missing or failed."""
    path: str | None = None
    """In the store, relative to the dataset's root."""
    bytes: int | None = None
    """Length of the file."""
    sha256: str | None = None
    """Of the file."""
    acquired: str | None = None
    """See `Observation.acquired`."""
    valid_fraction: float | None = None
    """See `Observation.valid_fraction`."""
    source: str | None = None
    """See `Observation.source`."""
    source_ids: tuple[str, ...] = ()
    """See `Observation.source_ids`."""
    stand_in: str | None = None
    """See `Observation.stand_in`."""


class Ledger:
    """An open ledger; only the process that drives a build writes to it."""

    def __init__(self, root: Path, create: bool = True) -> None:
        """Open the ledger of a dataset's directory.

        Raises:
            ConfigError: There is none and `create` is False.
            FormatError: The file is no ledger.
            StorageError: The disk is full or the directory cannot be written.
        """
        path = root / LEDGER
        if not create and not path.exists():
            raise ConfigError(f"{root} holds no build; make one with `mmearth curate build`")
        with storage_errors(f"open {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        with _sqlite_errors(path):
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        self._path = path

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def fact(self, name: str) -> str | None:
        """Return a fact about the whole build, or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Keep a fact about the whole build."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def record(self, records: Iterable[Record]) -> None:
        """Keep what a visit found out, in one transaction.

        Raises:
            StorageError: The disk is full.
        """
        rows = [
            (
                *(r.tile, r.modality, r.state, r.permanent, r.kind, r.reason, r.path, r.bytes),
                *(r.sha256, r.acquired, r.valid_fraction, r.source, json.dumps(r.source_ids)),
                r.stand_in,
            )
            for r in records
        ]
        tries = (
            "1 + coalesce((SELECT tries FROM observations WHERE tile = ?1 AND modality = ?2), 0)"
        )
        statement = (
            f"INSERT OR REPLACE INTO observations ({_COLUMNS}) VALUES "
            f"(?1, ?2, ?3, ?4, {tries}, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
        )
        with self._transaction():
            self._db.executemany(statement, rows)

    def is_empty(self) -> bool:
        """Return whether nothing has been collected yet."""
        return self._db.execute("SELECT 1 FROM observations LIMIT 1").fetchone() is None

    def settled(self) -> dict[tuple[str, str], str]:
        """Return (tile, modality) → state of all that another run need not visit."""
        rows = self._db.execute("SELECT tile, modality, state FROM observations WHERE permanent")
        return {(tile, modality): state for tile, modality, state in rows}

    def files(self) -> dict[tuple[str, str], tuple[str, int]]:
        """Return (tile, modality) → path and length in bytes of all that is on disk."""
        rows = self._db.execute(
            "SELECT tile, modality, path, bytes FROM observations WHERE state = 'done'"
        )
        return {(tile, modality): (path, length) for tile, modality, path, length in rows}

    def dates(self) -> dict[str, str]:
        """Return tile → anchor date, where Sentinel-2 is on disk."""
        rows = self._db.execute(
            "SELECT tile, acquired FROM observations "
            "WHERE modality = 'sentinel2' AND state = 'done'"
        )
        return dict(rows.fetchall())

    def counts(self) -> list[tuple[str, str, bool, int]]:
        """Return (modality, state, permanent, how many), sorted."""
        rows = self._db.execute(
            "SELECT modality, state, permanent, count(*) FROM observations "
            "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        return [(name, state, bool(permanent), n) for name, state, permanent, n in rows]

    def failures(self) -> Iterator[dict[str, object]]:
        """Yield every failed modality of every tile, with how often it was tried."""
        rows = self._db.execute(
            "SELECT tile, modality, permanent, tries, kind, reason FROM observations "
            "WHERE state = 'failed' ORDER BY tile, modality"
        )
        for tile, modality, permanent, tries, kind, reason in rows:
            yield {
                "tile": tile,
                "modality": modality,
                "permanent": bool(permanent),
                "tries": tries,
                "kind": kind,
                "reason": reason,
            }

    def first_tile(self) -> str:
        """Return the id of the first tile that has anything on disk.

        Raises:
            ConfigError: Nothing has been collected yet.
        """
        row = self._db.execute("SELECT min(tile) FROM observations WHERE state = 'done'").fetchone()
        if row[0] is None:
            raise ConfigError("nothing has been collected yet; run `mmearth curate build`")
        return str(row[0])

    def reasons(self, tile: str) -> dict[str, str]:
        """Return modality → why it is not on disk, for one tile.

        Raises:
            ConfigError: The tile was never visited.
        """
        rows = self._db.execute(
            "SELECT modality, state, reason FROM observations WHERE tile = ?", (tile,)
        ).fetchall()
        if not rows:
            raise ConfigError(
                f"tile {tile} is not in this build; see tiles.parquet for those that are"
            )
        return {name: reason or state for name, state, reason in rows if state != "done"}

    def retry(self, permanent: bool | None) -> int:
        """Make failures pending again; return how many.

        Args:
            permanent: Only those that are (True) or are not (False) for good; None for all.
        """
        condition = "" if permanent is None else f" AND permanent = {int(permanent)}"
        with self._transaction():
            found = self._db.execute(
                f"UPDATE observations SET permanent = 0 WHERE state = 'failed'{condition}"
            )
        return found.rowcount

    def keep_only(self, wanted: Mapping[str, Sequence[str]], dates: Mapping[str, str]) -> None:
        """Drop the rows that a changed plan no longer wants.

        Args:
            wanted: Tile → the modalities and pixel-level targets that are planned there.
            dates: Tile → the date its label asks for; a tile whose date has changed is dropped.
        """
        asked = dict(self._db.execute("SELECT tile, date FROM asked").fetchall())
        known = self._db.execute("SELECT tile, modality FROM observations").fetchall()
        stale = [
            (tile, name)
            for tile, name in known
            if name not in wanted.get(tile, ()) or asked.get(tile) != dates.get(tile)
        ]
        if not stale and asked == dates:
            return
        with self._transaction():
            self._db.executemany("DELETE FROM observations WHERE tile = ? AND modality = ?", stale)
            self._db.execute("DELETE FROM asked")
            self._db.executemany("INSERT INTO asked VALUES (?, ?)", dates.items())

    def export(self) -> pa.Table:
        """Return `observations.parquet`: no tries, no times, nothing of how it came about."""
        names = OBSERVATIONS.names
        rows = self._db.execute(
            f"SELECT {', '.join(names)} FROM observations ORDER BY tile, modality"
        )
        columns: list[list[object]] = [list(column) for column in zip(*rows, strict=True)]
        if not columns:
            return OBSERVATIONS.empty_table()
        ids = names.index("source_ids")
        columns[ids] = [json.loads(str(text)) for text in columns[ids]]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, OBSERVATIONS, strict=True)]
        return pa.Table.from_arrays(arrays, schema=OBSERVATIONS)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Keep all changes of the block, or none."""
        with _sqlite_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's refusals into ours."""
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
