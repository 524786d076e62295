"""The ledger: what is known about every tile and modality, in one SQLite file.

A row is written after the pack that has its bytes was synced, all rows of a tile in one
transaction. A crash in between costs the tile one more visit, which makes the same bytes. Every row
has a checksum: SQLite does not notice a changed byte inside a value.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from mmearth.catalog.errors import FormatError, storage_errors
from mmearth.catalog.observed_sql import (
    CHECKED,
    DAMAGED,
    INSERT,
    LEDGER,
    VERSION,
    connect,
    connect_reading,
    other_version,
    quoted,
    sqlite_errors,
    version_of,
)
from mmearth.catalog.schema import OBSERVATIONS, ROW_GROUP_ROWS
from mmearth.catalog.store import Location, StoreReader
from mmearth.curate.ledger_sql import RETRY, SCHEMA


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
    """Of the file that has its pixels: see `store.Location`; None where it has none."""
    byte_offset: int | None = None
    """Of its member in that file; likewise."""
    bytes: int | None = None
    """Length of its member; likewise."""
    sha256: str | None = None
    """Of its member; likewise."""
    values: str | None = None
    """Of a modality without pixels: its array as JSON; None of others."""
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
    expression: str | None = None
    """See `Observation.expression`."""
    identity: str = ""
    """What it is known by besides: see `curate.identity`."""


METERED = "metered"
"""Name of the fact that what was collected cost requests."""
NOT_KEPT = "not kept: "
"""Begins the reason why something is not there that was not kept for lack of something else."""


class Known(NamedTuple):
    """What is known about one modality of one tile, as far as another visit asks for it."""

    tile: str
    """Tile.id."""
    modality: str
    """A modality, or a task with pixel-level targets."""
    identity: str
    """What it is known by besides: see `curate.identity`."""
    wanted: int
    """1 where it is the dataset's own, 0 where it is only kept."""
    state: str
    """One of `schema.STATES`"""
    permanent: int
    """0 where another run may succeed."""
    was_kept: int
    """0 where it was not kept since a required modality is not there; see `collect`."""
    nbytes: int
    """Length of its member; 0 where it has none."""
    path: str | None
    """Of the pack or shard that has it, relative to the dataset's root; None where none has."""
    end: int | None
    """Where its bytes end in that file; likewise."""
    acquired: str | None
    """See `Observation.acquired`."""


class Ledger:
    """An open ledger; only the process that drives a build writes to it."""

    def __init__(self, root: Path) -> None:
        """Open the ledger of a dataset's directory to write to it; made when there is none.

        Raises:
            ConfigError: Another process holds it.
            FormatError: The file is no ledger.
            StorageError: The disk is full or the directory cannot be written.
        """
        path = root / LEDGER
        with storage_errors(f"open {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with sqlite_errors(path):
            self._db = connect(path.absolute().as_uri())
            self._db.execute("PRAGMA journal_mode=WAL")
            # A commit is on the disk when it returns: what it says was paid for.
            self._db.execute("PRAGMA synchronous=FULL")
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables and (version := version_of(self._db)) != VERSION:
                self._db.close()
                raise other_version(path, version)
            self._db.executescript(SCHEMA)

    @classmethod
    def reading(cls, root: Path) -> Ledger:
        """Open a ledger to read it, also on a read-only disk; nothing is written beside it.

        Raises:
            ConfigError: There is none.
            FormatError: The file is no ledger.
        """
        ledger = cls.__new__(cls)
        ledger._path, ledger._db = root / LEDGER, connect_reading(root)
        return ledger

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def fact(self, name: str) -> str | None:
        """Return a fact about the whole build, or None."""
        found = list(self._rows("SELECT value FROM facts WHERE name = ?", name))
        return str(found[0][0]) if found else None

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
            {name: getattr(record, name) for name in CHECKED}
            | {"source_ids": json.dumps(record.source_ids)}
            for record in records
        ]
        with self._transaction():
            self._db.executemany(INSERT, rows)

    def drop_damaged(self) -> int:
        """Forget the rows that are not what was written; return how many.

        Their observations are collected again.

        Raises:
            FormatError: The file is damaged so much that rows cannot be deleted.
        """
        if n_damaged := self.n_damaged():
            with self._transaction():
                self._db.execute(f"DELETE FROM observations WHERE {DAMAGED}")
                if self.n_damaged():  # rows out of order: SQLite does not find them by their key
                    raise sqlite3.DatabaseError("rows cannot be deleted")
        return n_damaged

    def drop_lost(self) -> int:
        """Forget what cannot be read back from its pack or shard; return how many rows.

        All of it is read. What is forgotten is collected again.

        Raises:
            StorageError: A file may not be read.
        """
        rows = self._rows(
            "SELECT tile, modality, path, byte_offset, bytes, sha256 FROM observations "
            "WHERE path IS NOT NULL AND wanted ORDER BY path, byte_offset"
        )
        with StoreReader(self._path.parent.parent) as reader:
            lost = [
                (tile, name) for tile, name, *at in rows if not _is_there(reader, Location(*at))
            ]
        with self._transaction():
            self._db.executemany(
                "DELETE FROM observations WHERE tile = ? AND modality = ? AND wanted", lost
            )
        return len(lost)

    def n_damaged(self) -> int:
        """Return how many rows are not what was written."""
        rows = self._rows(f"SELECT count(*) FROM observations WHERE {DAMAGED}")
        return sum(n for (n,) in rows)

    def n_paid(self) -> int:
        """Return how many observations are there that cost requests."""
        if self.fact(METERED) is None:
            return 0
        rows = self._rows("SELECT count(*) FROM observations WHERE state = 'done'")
        return sum(n for (n,) in rows)

    def is_empty(self) -> bool:
        """Return whether nothing has been collected yet."""
        return not list(self._rows("SELECT 1 FROM observations LIMIT 1"))

    def known(self, after: str, last: str | None) -> Iterator[Known]:
        """Yield what is known about the tiles behind `after`, sorted by tile and modality.

        A plan is gone through in stretches, so that neither side is in memory as a whole.

        Args:
            after: Id of the tile before the first one.
            last: Id of the last one; None for all that are left.
        """
        rows = self._rows(
            "SELECT tile, modality, identity, wanted, state, permanent, reason IS NULL OR NOT "
            f"reason LIKE '{NOT_KEPT}%', coalesce(bytes, 0), path, byte_offset + bytes, acquired "
            f"FROM observations WHERE tile > ? {'' if last is None else 'AND tile <= ?'} "
            "ORDER BY tile, modality, identity",
            *([after] if last is None else [after, last]),
        )
        return (Known(*row) for row in rows)

    def want(self, changes: Iterable[tuple[int, str, str, str]]) -> None:
        """Say which observations are the dataset's own.

        Args:
            changes: (1 or 0, tile, modality, identity) of those of which it changes.
        """
        with self._transaction():
            self._db.executemany(
                "UPDATE observations SET wanted = ? "
                "WHERE tile = ? AND modality = ? AND identity = ?",
                changes,
            )

    def unwanted(self) -> tuple[int, int]:
        """Return how many observations are kept that the dataset has not, and their bytes."""
        rows = self._rows(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM observations WHERE NOT wanted"
        )
        return next((n, nbytes) for n, nbytes in rows)

    def prune(self) -> None:
        """Forget the observations that the dataset has not."""
        with self._transaction():
            self._db.execute("DELETE FROM observations WHERE NOT wanted")

    def paths(self) -> set[str]:
        """Return every file that has anything of what was collected, relative to the root."""
        rows = self._rows("SELECT DISTINCT path FROM observations WHERE path IS NOT NULL")
        return {path for (path,) in rows}

    def counts(self) -> list[tuple[str, str, bool, int]]:
        """Return (modality, state, permanent, how many), sorted."""
        rows = self._rows(
            "SELECT modality, state, permanent, count(*) FROM observations WHERE wanted "
            "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        return [(name, state, bool(permanent), n) for name, state, permanent, n in rows]

    def failures(self) -> Iterator[dict[str, object]]:
        """Yield every failed modality of every tile, with how often it was tried."""
        rows = self._rows(
            "SELECT tile, modality, permanent, tries, kind, reason FROM observations "
            "WHERE state = 'failed' AND wanted ORDER BY tile, modality"
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

    def n_unasked(self) -> int:
        """Return how many tiles have something that failed and that another run may collect."""
        row = self._db.execute(
            "SELECT count(DISTINCT tile) FROM observations "
            "WHERE wanted AND state = 'failed' AND permanent = 0"
        ).fetchone()
        return int(row[0])

    def retry(self, permanent: bool | None) -> int:
        """Make failures pending again; return how many.

        Args:
            permanent: Only those that are (True) or are not (False) for good; None for all.
        """
        condition = "" if permanent is None else f" AND permanent = {int(permanent)}"
        with self._transaction():
            found = self._db.execute(f"{RETRY}{condition}")
        return found.rowcount

    def export(self) -> Iterator[pa.Table]:
        """Yield `observations.parquet` a row group at a time, at least one, sorted.

        No tries, no times, nothing of how it came about.
        """
        names = OBSERVATIONS.names
        rows = self._rows(
            f"SELECT {quoted(names)} FROM observations WHERE wanted ORDER BY tile, modality"
        )
        ids = names.index("source_ids")
        part = list(islice(rows, ROW_GROUP_ROWS))
        if not part:
            yield OBSERVATIONS.empty_table()
        while part:
            columns = list(zip(*part, strict=True))
            columns[ids] = tuple(json.loads(text) for text in columns[ids])
            arrays = [pa.array(c, f.type) for c, f in zip(columns, OBSERVATIONS, strict=True)]
            yield pa.Table.from_arrays(arrays, schema=OBSERVATIONS)
            part = list(islice(rows, ROW_GROUP_ROWS))

    def _rows(self, query: str, *values: str) -> Iterator[Any]:
        """Yield the rows of a SELECT; what SQLite finds wrong becomes one of our errors."""
        with sqlite_errors(self._path):
            yield from self._db.execute(query, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Keep all changes of the block, or none."""
        with sqlite_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _is_there(reader: StoreReader, at: Location) -> bool:
    try:
        reader.read(at, "it")
    except FormatError:
        return False
    return True
