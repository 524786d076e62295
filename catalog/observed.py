"""Observations by tile: the rows of the ledger or, where a dataset has none, of its tables.

A dataset's directory has a ledger, one SQLite file, from the moment that something is collected. A
dataset that was downloaded has none: `open_observed` makes a temporary one of what it publishes.
Only `curate.ledger` writes to a dataset's ledger.
"""

from __future__ import annotations

import builtins
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.files import is_sha256
from mmearth.catalog.layer import Layer
from mmearth.catalog.observed_sql import (
    DAMAGED,
    LEDGER,
    TABLE,
    connect,
    connect_reading,
    quoted,
    sqlite_errors,
)
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import OBSERVATIONS, STATES, check_columns, manifest_path, member_column
from mmearth.catalog.store import BEFORE, Location, StoreReader

_MOST_HEADER = 4096  # bytes of a member beyond its values
_AT_ONCE = 2_048  # rows of a table that are Python objects at one time


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known about one modality, or pixel-level target, of one tile."""

    tile: str
    """Tile.id."""
    modality: str
    """A modality, or a task with pixel-level targets."""
    state: str
    """One of `schema.STATES`."""
    reason: str | None = None
    """Why it is missing or failed."""
    path: str | None = None
    """Of the pack or shard that has its pixels, relative to the dataset's root; None where it has
    none."""
    byte_offset: int | None = None
    """See `Location`; None without pixels."""
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

    @property
    def what(self) -> str:
        """What it is, for sentences."""
        return f"{self.modality} of tile {self.tile}"

    @property
    def is_here(self) -> bool:
        """Whether it was observed and is in the dataset's directory: its file may be lost."""
        return self.state == "done" and (self.path is not None or self.values is not None)

    @property
    def location(self) -> Location:
        """Where its pixels are; only of what is done and has pixels.

        Raises:
            FormatError: The row does not say it.
        """
        at = self.path, self.byte_offset, self.bytes, self.sha256
        if list(map(type, at)) == [str, int, int, str] and is_sha256(self.sha256):
            return Location(*at)  # type: ignore[arg-type]
        raise FormatError(
            f"{self.what} is said to be in {at}; expected a file, a range and a SHA-256: run the "
            "build again"
        )

    def array(self, layer: Layer) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the array of a modality without pixels, (band,), bit for bit.

        Raises:
            FormatError: The row has none, or one of another shape.
        """
        try:
            found = np.asarray(json.loads(self.values or ""), dtype=layer.dtype)
        except (ValueError, TypeError, OverflowError, RecursionError) as exc:
            raise FormatError(f"{self.what} has no values ({exc}); run the build again") from exc
        if found.shape != layer.shape:
            raise FormatError(
                f"{self.what} has values of shape {found.shape}, expected {layer.shape}; run the "
                "build again"
            )
        return found

    def read(self, reader: StoreReader, catalogue: Catalogue) -> Observation:
        """Return the observation of a row that is done; the caller checks its values.

        Raises:
            FormatError: Its member or its values are missing or of another layer.
            IntegrityError: Its member is not what was collected.
            StorageError: A file may not be read.
        """
        layer = catalogue.observed(self.modality)
        if layer.is_pixel:
            return decoded(self, self.member(reader, layer), catalogue)
        return self.observation(layer, self.array(layer))

    def member(self, reader: StoreReader, layer: Layer) -> builtins.bytes:
        """Return the bytes that its array with pixels is written as.

        Raises:
            FormatError: They are missing, or far more than the layer can have.
            IntegrityError: They are not what was collected.
            StorageError: A file may not be read.
        """
        at, most = self.location, 2 * layer.nbytes + _MOST_HEADER
        if at.nbytes > most:
            raise FormatError(
                f"{self.what} is said to have {at.nbytes} bytes, expected {most} at most; run the "
                "build again"
            )
        return reader.read(at, self.what)

    def observation(self, layer: Layer, array: np.ndarray[Any, np.dtype[Any]]) -> Observation:
        """Return the observation of a row that is done, given its array."""
        return Observation(
            layer,
            array,
            self.acquired,
            self.source or "",
            self.source_ids,
            self.stand_in,
            self.expression,
        )


def decoded(seen: Observed, data: bytes, catalogue: Catalogue) -> Observation:
    """Return the observation of a row that has pixels, given its member.

    Raises:
        FormatError: The member is of another layer.
    """
    layer, shape = catalogue.observed(seen.modality), catalogue.member_shape(seen.modality)
    array = catalogue.codec.decode(data, seen.what, layer.dtype, shape)
    return seen.observation(layer, array.reshape(layer.shape))


_COLUMNS = tuple(field.name for field in fields(Observed))
_TEXTS = (
    *("tile", "modality", "reason", "path", "sha256", "values", "acquired", "source"),
    *("stand_in", "expression"),
)
_HERE = """state = 'done' AND wanted AND (path IS NOT NULL OR "values" IS NOT NULL)"""
_KEPT = [name for name in OBSERVATIONS.names if name in _COLUMNS]
_KEEP = (
    f"INSERT OR REPLACE INTO observations ({quoted(_KEPT)}, permanent, tries, checksum) "
    f"VALUES ({', '.join(f':{name}' for name in _KEPT)}, 1, 1, 0)"
)
_PLACE = (
    'UPDATE observations SET path = ?, byte_offset = ?, bytes = ?, sha256 = ?, "values" = ? '
    "WHERE tile = ? AND modality = ?"
)


class Observations:
    """A ledger that is open to be read; for one thread."""

    def __init__(self, db: sqlite3.Connection, path: Path, has_checksums: bool) -> None:
        """Use an open database, which is closed with this.

        Args:
            db: It has the table `observations`.
            path: Where it came from, for sentences.
            has_checksums: Whether its rows have any.
        """
        self._db, self._path = db, path
        self._select = f"{quoted(_COLUMNS)}, {DAMAGED if has_checksums else 0}"

    def __enter__(self) -> Observations:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def of_tiles(self, tiles: Iterable[str]) -> dict[str, dict[str, Observed]]:
        """Return tile → modality → what is known about it; no entry for a tile without rows.

        Args:
            tiles: Ids of tiles, such as those of one shard; each is looked up by its key.

        Raises:
            FormatError: A row is damaged: it is not the one that was written.
        """
        return {tile: found for tile in tiles if (found := self.of_tile(tile))}

    def of_tile(self, tile: str) -> dict[str, Observed]:
        """Return modality → what is known about it, of one tile.

        Raises:
            FormatError: As `of_tiles` says.
        """
        return {row.modality: row for row in self._rows("tile = ? AND wanted", tile)}

    def here(self) -> Iterator[Observed]:
        """Yield all that was observed and is in the directory, sorted by tile and modality.

        Raises:
            FormatError: As `of_tiles` says.
        """
        return self._rows(_HERE)

    def first_tile(self) -> str:
        """Return the id of the first tile that has anything in the directory.

        Raises:
            ConfigError: Nothing has been collected yet.
        """
        with sqlite_errors(self._path):
            (tile,) = self._db.execute(
                f"SELECT min(tile) FROM observations WHERE {_HERE}"
            ).fetchone()
        if tile is None:
            raise ConfigError("nothing has been collected yet; run `mmearth curate build`")
        return str(tile)

    def fill(self, root: Path, catalogue: Catalogue, tiles: Sequence[str] | None) -> None:
        """Make the table of what a sealed dataset publishes: its observations and manifests."""
        known = None if tiles is None else pa.array(tiles, pa.string())
        aside = root / BEFORE  # where the manifests are while the dataset is packed anew
        manifests = aside if (aside / "manifests").exists() else root
        with sqlite_errors(self._path):
            self._db.executescript(TABLE)
            self._db.execute("BEGIN")
            for part in _parts(root, "observations.parquet", OBSERVATIONS.names, known):
                rows = ({**row, "source_ids": json.dumps(row["source_ids"] or [])} for row in part)
                self._db.executemany(_KEEP, rows)
            for task in catalogue.tasks.values():
                structs = {member_column(layer): layer.name for layer in catalogue.layers.values()}
                if task.is_pixel:
                    structs[task.column] = task.name
                names = ["tile", "shard", *structs]
                if not (manifests / manifest_path(task.name)).exists():
                    continue  # it is not packed yet
                for part in _parts(manifests, manifest_path(task.name), names, known):
                    self._db.executemany(_PLACE, _places(part, structs))

    def _rows(self, condition: str, *values: str) -> Iterator[Observed]:
        query = f"SELECT {self._select} FROM observations WHERE {condition} ORDER BY tile, modality"
        with sqlite_errors(self._path):
            for *row, is_damaged in self._db.execute(query, values):
                yield _observed(self._path, row, bool(is_damaged))


def check_begun(root: Path) -> None:
    """Refuse a directory in which nothing was built, before any file of it is asked for.

    Raises:
        ConfigError: There is neither a ledger nor a table of observations.
    """
    if not any((root / name).exists() for name in (LEDGER, "observations.parquet")):
        raise ConfigError(f"{root} holds no build; make one with `mmearth curate build`")


@contextmanager
def open_observed(
    root: Path, catalogue: Catalogue, tiles: Sequence[str] | None = None
) -> Iterator[Observations]:
    """Yield what was observed in a dataset's directory: finished, begun or downloaded.

    Nothing is written beside it.

    Args:
        root: The dataset's directory.
        catalogue: Its own.
        tiles: All that will be asked for, where the dataset has no ledger; None for any.

    Raises:
        ConfigError: There is neither a ledger nor a sealed dataset.
        FormatError: The ledger or a table is not what it must be.
    """
    path, published = root / LEDGER, root / "observations.parquet"
    check_begun(root)
    if path.exists():
        with Observations(connect_reading(root), path, has_checksums=True) as ledger:
            yield ledger
        return
    # SQLite's own temporary database, on the disk: it has no name and goes when it is closed.
    with Observations(connect(""), published, has_checksums=False) as made:
        made.fill(root, catalogue, tiles)
        yield made


def _observed(path: Path, row: list[Any], is_damaged: bool) -> Observed:
    """Return a row of a ledger, which may be a stranger's.

    Raises:
        FormatError: It is not what was written, or none of ours.
    """
    seen = dict(zip(_COLUMNS, row, strict=True))
    try:
        ids = seen["source_ids"]
        found = Observed(**{**seen, "source_ids": tuple(map(str, json.loads(ids or "[]")))})
    except (ValueError, TypeError, RecursionError):
        is_damaged, found = True, Observed("", "", "")
    texts = (seen[name] for name in _TEXTS)
    if is_damaged or found.state not in STATES or not all(isinstance(t, str | None) for t in texts):
        raise FormatError(
            f"{path}: the row of {seen['modality']} of tile {seen['tile']} is not what was "
            "written; run the build again, or fetch the dataset again"
        )
    return found


def _parts(
    root: Path, name: str, columns: list[str], tiles: pa.Array | None
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of some tiles of a published table, a few thousand at a time."""
    found = check_columns(root / name, (), root)
    here = [column for column in columns if column in found.names]
    with pq.ParquetFile(root / name) as file:
        for part in file.iter_batches(_AT_ONCE, columns=here):
            chosen = part if tiles is None else part.filter(pc.is_in(part["tile"], tiles))
            yield chosen.to_pylist()


def _places(part: list[dict[str, Any]], structs: dict[str, str]) -> Iterator[tuple[Any, ...]]:
    """Yield where the observations of some samples are, for `_PLACE`."""
    for row in part:
        for column, name in structs.items():
            if (at := row[column]) and at["byte_length"] is not None:
                values = at.get("values")
                place = row["shard"], at["byte_offset"], at["byte_length"], at["sha256"]
                if values is not None:
                    place = None, None, None, None
                yield *place, values and json.dumps(values), row["tile"], name
