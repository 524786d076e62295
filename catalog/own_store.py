"""A sealed dataset is its own store: its shards hold every sample, and nothing is kept twice.

While a dataset is collected its pixels are in packs. After the seal the rows of the ledger point
into the shards, and packs keep what made no sample. Before a dataset is packed anew its shards are
moved aside, to be read from there. A kill at any moment leaves one of a few states, and in each of
them the rows name bytes that are there:

| rows point into | `shards/` holds | then |
| --- | --- | --- |
| packs, or shards moved aside | what an unfinished packing made | it is packed again |
| `shards/` (the fact `adopted`) | all of it | what is in packs or aside beyond it is deleted |

A dataset without a ledger was downloaded. Its manifests say where everything is, and are moved
aside with the shards.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.checksums import DATASET, unseal
from mmearth.catalog.errors import FormatError, IntegrityError, storage_errors
from mmearth.catalog.files import sync
from mmearth.catalog.observed_sql import CHECKED, LEDGER, checksum, connect, quoted, sqlite_errors
from mmearth.catalog.schema import manifest_path, member_column
from mmearth.catalog.store import BEFORE, PACKS, Location, PackWriter, StoreReader

_ADOPTED = "adopted"
_AT_ONCE = 1_024  # rows that are Python objects at one time
_MOVED = {"path": ":path", "byte_offset": ":byte_offset"}
_MOVE = (
    f"UPDATE observations SET path = :path, byte_offset = :byte_offset, checksum = "
    f"{checksum(*(_MOVED.get(name, quoted([name])) for name in CHECKED))} "
    "WHERE tile = :tile AND modality = :modality AND sha256 = :sha256 AND bytes = :bytes"
)
_BESIDE = {"path": f"'{BEFORE}/' || path"}
_ASIDE = (
    f"UPDATE observations SET path = {_BESIDE['path']}, checksum = "
    f"{checksum(*(_BESIDE.get(name, quoted([name])) for name in CHECKED))} "
    "WHERE path >= 'shards/' AND path < 'shards0'"
)
"""Say of what was in the shards before that it is aside, where what was not packed again stays."""
_LEFT = (
    "SELECT tile, modality, identity, path, byte_offset, bytes, sha256 FROM observations "
    "WHERE (tile, modality, identity) > (?, ?, ?) AND path >= '.curate/' AND path < '.curate0' "
    f"ORDER BY tile, modality, identity LIMIT {_AT_ONCE}"
)


def set_aside(root: Path) -> None:
    """Move a dataset's shards to where they are read from while it is packed anew.

    It is unsealed first. Nothing is moved where the rows of the ledger do not point into them:
    then they are what an unfinished packing made.

    Raises:
        StorageError: The directory cannot be written.
    """
    is_sealed = (root / DATASET).exists()
    unseal(root)
    if (root / LEDGER).exists():
        with _ledger(root) as db:
            if _is_adopted(db):
                _compact(root, db)  # an adoption that was interrupted left some of it to do
                if (root / "shards").exists():
                    _discard(root, BEFORE)
                    _move_aside(root, "shards")
                db.execute("DELETE FROM facts WHERE name = ?", (_ADOPTED,))
        return
    if is_sealed:
        _discard(root, BEFORE)
    for name in ("manifests", "shards"):  # in this order: what says where, then what is there
        if (root / name).exists() and not (root / BEFORE / name).exists():
            _move_aside(root, name)


def adopt(root: Path, catalogue: Catalogue) -> None:
    """Make a sealed dataset its own store: point into its shards, and keep nothing twice.

    It does nothing where that is done already, and goes on where it was interrupted.

    Args:
        root: The dataset's directory.
        catalogue: Its own.

    Raises:
        FormatError: The ledger is damaged.
        StorageError: The disk is full or the directory cannot be written.
    """
    if (root / LEDGER).exists():
        with _ledger(root) as db:
            if not _is_adopted(db):
                with _transaction(db):
                    db.execute(_ASIDE)
                    for task in catalogue.tasks:
                        db.executemany(_MOVE, _places(root, catalogue, task))
                    db.execute("INSERT OR REPLACE INTO facts VALUES (?, '')", (_ADOPTED,))
            _compact(root, db)
    _discard(root, BEFORE)


def _places(root: Path, catalogue: Catalogue, task: str) -> Iterator[dict[str, Any]]:
    """Yield where the members of a task's samples are, for `_MOVE`."""
    columns = {
        layer.name if layer.name == task else member_column(layer): layer.name
        for layer in catalogue.members(catalogue.tasks[task])
    }
    fields = ("byte_offset", "byte_length", "sha256")
    wanted = ["tile", "shard", *(f"{column}.{field}" for column in columns for field in fields)]
    with pq.ParquetFile(root / manifest_path(task)) as manifest:
        for part in manifest.iter_batches(_AT_ONCE, columns=wanted):
            for row in part.to_pylist():
                for column, name in columns.items():
                    if (at := row[column]) and at["byte_length"] is not None:
                        place = {"path": row["shard"], "byte_offset": at["byte_offset"]}
                        known = {"sha256": at["sha256"], "bytes": at["byte_length"]}
                        yield {"tile": row["tile"], "modality": name, **place, **known}


def compact(root: Path) -> None:
    """Free what packs hold that no row of the ledger names.

    Raises:
        FormatError: The ledger is damaged.
        StorageError: The disk is full or the directory cannot be written.
    """
    with _ledger(root) as db:
        _compact(root, db)


def _compact(root: Path, db: sqlite3.Connection) -> None:
    """Leave one pack, of what the rows name beside shards; large ones are several files."""
    packs = list((root / PACKS).glob("*"))
    held = sum(path.stat().st_size for path in packs)
    wanted = {PACKS: 0, BEFORE: 0}
    for *_, at in _left(db):
        wanted[PACKS if at.path.startswith(f"{PACKS}/") else BEFORE] += at.nbytes
    if held == wanted[PACKS] and not wanted[BEFORE]:
        return
    writer = PackWriter(root)
    with StoreReader(root) as reader, _transaction(db):
        for tile, modality, at in _left(db):
            try:
                found = writer.add(reader.read(at, f"{modality} of tile {tile}"))
            except (FormatError, IntegrityError):
                continue  # the next build sees that it is not there, and collects it again
            place = {"path": found.path, "byte_offset": found.byte_offset}
            known = {"sha256": at.sha256, "bytes": at.nbytes}
            db.execute(_MOVE, {"tile": tile, "modality": modality, **place, **known})
        writer.sync()
        writer.close()
    for path in packs:
        path.unlink()


def _left(db: sqlite3.Connection) -> Iterator[tuple[str, str, Location]]:
    """Yield (tile, modality, where) of what is in packs or aside, sorted."""
    last = ("", "", "")
    while rows := db.execute(_LEFT, last).fetchall():
        for tile, modality, _, *at in rows:
            yield tile, modality, Location(*at)
        last = rows[-1][:3]


def _move_aside(root: Path, name: str) -> None:
    with storage_errors(f"write {root / BEFORE}"):
        (root / BEFORE).mkdir(parents=True, exist_ok=True)
        (root / name).rename(root / BEFORE / name)
        sync(root / BEFORE)
        sync(root)


def _discard(root: Path, name: str) -> None:
    """Delete a folder, of which a kill must not leave a part under its name."""
    gone = root / f"{name}.gone"
    with storage_errors(f"write {root / name}"):
        if (root / name).exists():
            shutil.rmtree(gone, ignore_errors=True)
            (root / name).rename(gone)
            sync(gone.parent)
        shutil.rmtree(gone, ignore_errors=True)


@contextmanager
def _ledger(root: Path) -> Iterator[sqlite3.Connection]:
    path = root / LEDGER
    with sqlite_errors(path):
        db = connect(path.absolute().as_uri())
        try:
            db.execute("PRAGMA synchronous=FULL")
            yield db
        finally:
            db.close()


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _is_adopted(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT 1 FROM facts WHERE name = ?", (_ADOPTED,)).fetchall())
