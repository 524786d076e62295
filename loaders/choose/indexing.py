"""Manifest → Index: streamed from DuckDB in Arrow batches, never an object of Python a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from mmearth.catalog.errors import FormatError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.query import Query
from mmearth.catalog.schema import manifest_path, member_column
from mmearth.catalog.task import Task
from mmearth.catalog.tasks import TASKS
from mmearth.loaders.choose.arrow import (
    Array,
    check_all,
    coded,
    digests,
    flags,
    lists,
    numbers,
    required,
    several,
    there,
)
from mmearth.loaders.choose.index import Index
from mmearth.loaders.choose.spill import Column, Spill, nbytes
from mmearth.loaders.fetch.root import relative
from mmearth.loaders.query import Tables, connect, interruptible, rows
from mmearth.loaders.statement import said

MEMORY_BYTES = 1 << 30
"""An index of more bytes than this lies in files."""
BATCH_ROWS = 1 << 17
"""Rows that are turned into arrays at a time."""
HEADER_BYTES = 128
"""Of every `.npy` member, before its values."""
_TAR_BLOCK = 512
_LAST = 1 << 60  # bytes: no file is that long
_ZONES = np.array([*range(32601, 32661), *range(32701, 32761)], np.int32)
"""EPSG codes of the UTM zones."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One array of an index: the columns it is made of, and how."""

    name: str
    sql: dict[str, str]
    dtype: str
    convert: Callable[[pa.RecordBatch], Array]
    tail: tuple[int, ...] = ()


def build_index(
    tables: Tables,
    query: Query,
    n_rows: int,
    checksums: bool = True,
    memory_bytes: int = MEMORY_BYTES,
    directory: Path | None = None,
) -> Index:
    """Read from a manifest what a loader must know of the samples that a query chooses.

    Args:
        tables: The dataset's.
        query: Checked, and answered before.
        n_rows: How many samples it chooses, from one.
        checksums: Whether to read the members' SHA-256, which are half of an index.
        memory_bytes: An index of more bytes lies in files.
        directory: Where those files' temporary directory is made; the system's unless given.

    Raises:
        FormatError: The manifest is damaged, contradicts itself, or changed since it was counted.
        StorageError: The disk is full.
    """
    shards: dict[str, int] = {}
    parts = [*_plain_parts(shards), *_target_parts(query.task, checksums)]
    for name in query.modalities:
        parts += _modality_parts(name, checksums)
    total = sum(nbytes((n_rows, *part.tail), part.dtype) for part in parts)
    spill = Spill(directory) if total > memory_bytes else None
    columns = {
        part.name: Column(part.name, (n_rows, *part.tail), part.dtype, spill) for part in parts
    }
    try:
        _fill(tables, query, parts, columns)
        arrays = {name: column.done() for name, column in columns.items()}
    except duckdb.Error as exc:
        raise FormatError(
            f"{tables.place}: {manifest_path(query.task)} cannot be read: {said(exc)}; "
            "see `mmearth packaging verify`, or build the dataset again"
        ) from exc
    except FormatError as exc:
        exc.add_note(f"{tables.place}: {manifest_path(query.task)}")
        raise
    finally:
        for column in columns.values():
            column.close()
    return _assembled(query, tuple(shards), arrays, spill)


def _fill(tables: Tables, query: Query, parts: list[_Part], columns: dict[str, Column]) -> None:
    """Append every batch of the answer to the columns."""
    # Names of ours hold a slash, so that no `where` can mean one of them.
    wanted = {alias: sql for part in parts for alias, sql in part.sql.items()}
    listed = ", ".join(f'{sql} AS "{alias}"' for alias, sql in wanted.items())
    asked = f"SELECT {listed} {rows(query)}"
    with connect(tables, asked) as connection:
        interruptible(connection, lambda: _append(connection.sql(asked), parts, columns))


def _append(
    answer: duckdb.DuckDBPyRelation, parts: list[_Part], columns: dict[str, Column]
) -> None:
    # Closed in any case: an error's traceback would keep it, and DuckDB's threads into a fork.
    with answer.to_arrow_reader(BATCH_ROWS) as reader:
        while (batch := _next(reader)) is not None:
            for part in parts:
                columns[part.name].append(part.convert(batch))


def _next(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    """Return the next batch of an answer, None after the last; what fails is DuckDB's error."""
    try:
        return next(reader, None)
    except OSError as exc:  # as which Arrow gives it on
        raise duckdb.Error(str(exc)) from exc


def _assembled(
    query: Query, shards: tuple[str, ...], arrays: dict[str, Array], spill: Spill | None
) -> Index:
    def of(kind: str) -> dict[str, Array]:
        found = (name.partition("/") for name in arrays)
        return {name: arrays[f"{first}/{name}"] for first, _, name in found if first == kind}

    target = arrays.get("target")
    offset = of("offset")
    labelled = offset[query.task] != 0 if target is None else arrays["labelled"]
    if not (TASKS[query.task].optional or labelled.all()):
        raise FormatError(
            f"{np.count_nonzero(~labelled)} samples have no target; expected one for every sample "
            f"of {query.task}: see `mmearth packaging verify`, or build the dataset again"
        )
    return Index(
        query.task,
        query.modalities,
        shards,
        arrays["shard"],
        arrays["place"],
        arrays["date"],
        arrays["lon"],
        arrays["lat"],
        offset,
        of("sha256"),
        of("known"),
        of("values"),
        of("present"),
        target,
        labelled,
        spill,
    )


def _plain_parts(shards: dict[str, int]) -> list[_Part]:
    """Return the arrays that every index has; `shards` is filled: name → position."""

    def positions(batch: pa.RecordBatch) -> Array:
        names, codes = coded(batch["at/shard"], "shard")
        for name in names:
            relative(name)
        position = np.array([shards.setdefault(n, len(shards)) for n in names], np.uint32)
        return position[codes]

    def place(batch: pa.RecordBatch) -> Array:
        of = [required(batch[f"at/{name}"], name, "int32") for name in ("epsg", "left", "top")]
        check_all(np.isin(of[0], _ZONES), of[0], "epsg", "the code of a UTM zone")
        return np.stack(of, axis=1)

    corners = {f"at/{name}": f'"{name}"' for name in ("epsg", "left", "top")}
    return [
        _Part("shard", {"at/shard": "shard"}, "uint32", positions),
        _Part("place", corners, "int32", place, (3,)),
        _column("date", "date", "int32"),
        _degrees("lon", 180.0),
        _degrees("lat", 90.0),
    ]


def _column(name: str, sql: str, dtype: str) -> _Part:
    alias = f"at/{name}"
    return _Part(name, {alias: sql}, dtype, lambda batch: required(batch[alias], name, dtype))


def _degrees(name: str, most: float) -> _Part:
    def degrees(batch: pa.RecordBatch) -> Array:
        found = required(batch[f"at/{name}"], name, "float64")
        check_all(np.abs(found) <= most, found, name, f"{-most:g} to {most:g} degrees")
        return found

    return _Part(name, {f"at/{name}": name}, "float64", degrees)


def _target(task: Task) -> Callable[[pa.RecordBatch], Array]:
    low, high = task.valid

    def target(batch: pa.RecordBatch) -> Array:
        column = batch["at/target"]
        found = numbers(column, np.nan)
        is_right = ~there(column) | ((found >= low) & (found <= high))
        check_all(is_right, found, "target", f"{low:g} to {high:g} {task.unit}")
        return found[:, np.newaxis]

    return target


def _target_parts(task: str, checksums: bool) -> list[_Part]:
    here = TASKS[task]
    if here.level == "pixel":
        length = HEADER_BYTES + nbytes(here.shape, here.dtype)
        return [*_member_parts(task, task, length, checksums), _known_part(task, task, 1)]
    if here.kind == "multilabel":
        sql = {"at/target": f'"{task}"."{task}"'}
        return [
            _Part(
                "target",
                sql,
                here.dtype,
                lambda batch: several(batch["at/target"], here.outputs),
                (len(here.outputs),),
            ),
            _Part("labelled", sql, "bool", lambda batch: there(batch["at/target"])),
        ]
    sql = {"at/target": "target"}
    return [
        _Part(
            "target",
            sql,
            here.dtype,
            _target(here),
            (1,),
        ),
        _Part("labelled", sql, "bool", lambda batch: there(batch["at/target"])),
    ]


def _modality_parts(name: str, checksums: bool) -> list[_Part]:
    modality, column = MODALITIES[name], member_column(name)
    here = f"present/{name}"
    present = _Part(
        here, {here: f"coalesce({column}.present, false)"}, "bool", lambda b: flags(b[here])
    )
    if modality.level == "pixel":
        length = HEADER_BYTES + modality.nbytes
        parts = _member_parts(name, column, length, checksums, present)
        return [present, *parts, _known_part(name, column, len(modality.bands))]
    alias, n_bands = f"values/{name}", len(modality.bands)
    absent = np.nan if modality.nodata is None else modality.nodata
    return [
        present,
        _Part(
            alias,
            {alias: f"{column}.values"},
            "float64",
            lambda b: lists(name, b[alias], flags(b[here]), n_bands, absent),
            (n_bands,),
        ),
    ]


def _member_parts(
    name: str, column: str, length: int, checksums: bool, present: _Part | None = None
) -> list[_Part]:
    """Return the arrays of a pixel-level member of `length` bytes."""
    at, n, digest = (f"{kind}/{name}" for kind in ("offset", "length", "sha256"))

    def offsets(batch: pa.RecordBatch) -> Array:
        offset, lengths = numbers(batch[at]), numbers(batch[n])
        expected = np.where(offset != 0, length, 0)
        # Members of a tar begin at its blocks; beyond `_LAST` a sum of offsets would overflow.
        wrong = (lengths != expected) | (offset % _TAR_BLOCK != 0) | (offset > _LAST)
        wrong |= offset < 0
        if present is not None:
            wrong |= (offset != 0) != flags(batch[present.name])
        if wrong.any():
            i = int(np.argmax(wrong))
            raise FormatError(
                f"{name} of a sample has {lengths[i]} bytes at {offset[i]}; expected {length} at a "
                f"multiple of {_TAR_BLOCK} where it is present and none where it is not: build the "
                "dataset again"
            )
        return offset

    source = f'"{column}"'
    parts = [
        _Part(at, {at: f"{source}.byte_offset", n: f"{source}.byte_length"}, "uint64", offsets)
    ]
    if checksums:
        sql = {digest: f"{source}.sha256", at: f"{source}.byte_offset"}
        parts.append(_Part(digest, sql, "V32", lambda b: digests(name, b[digest], there(b[at]))))
    return parts


def _known_part(name: str, column: str, n_bands: int) -> _Part:
    """Return what is known of each band's pixels, as `Index.known` has it."""
    source, here, each, at = f'"{column}"', f"known/{name}", f"bands/{name}", f"offset/{name}"
    share = f"{source}.valid_fraction"
    sql = {here: share, at: f"{source}.byte_offset"}
    if n_bands > 1:
        # The bands of most samples are alike: their lists would be half of what is read.
        sql[each] = f"CASE WHEN {share} NOT IN (0, 1) THEN {source}.band_valid_fraction END"

    def known(batch: pa.RecordBatch) -> Array:
        of_all = numbers(batch[here], np.nan)
        is_right = ~there(batch[at]) | ((of_all >= 0) & (of_all <= 1))
        check_all(is_right, of_all, f"valid_fraction of {name}", "0 to 1")
        found = np.tile(_code(of_all)[:, np.newaxis], n_bands)
        if n_bands > 1:
            mixed = found[:, 0] < 0
            found[mixed] = _code(lists(name, batch[each], mixed, n_bands, 0.0)[mixed])
        found[~there(batch[at])] = 0
        return found

    return _Part(here, sql, "int8", known, (n_bands,))


def _code(share: Array) -> Array:
    """Return 1 where all of it is valid, 0 where nothing is, else -1."""
    return np.where(share == 1, 1, np.where(share == 0, 0, -1)).astype(np.int8)
