"""Manifest → Index: streamed from DuckDB in Arrow batches, never an object of Python a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.codec import Codec
from mmearth.catalog.errors import FormatError
from mmearth.catalog.layer import Layer
from mmearth.catalog.query import Query
from mmearth.catalog.schema import manifest_path, member_column
from mmearth.catalog.task import Task
from mmearth.loaders.choose.arrow import (
    Array,
    check_all,
    coded,
    digests,
    flags,
    lists,
    numbers,
    positions,
    required,
    several,
    there,
)
from mmearth.loaders.choose.index import Index
from mmearth.loaders.choose.spill import Column, Spill, nbytes
from mmearth.loaders.fetch.root import relative
from mmearth.loaders.query import Tables, column, connect, interruptible, rows
from mmearth.loaders.statement import said

MEMORY_BYTES = 1 << 30
"""An index of more bytes than this lies in files."""
BATCH_ROWS = 1 << 17
"""Rows that are turned into arrays at a time."""
_HEADER_BYTES = 128  # of every `.npy` member, before its values
_MOST_MORE = 16  # bytes that a compact member may have more than its values; it has more than these
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
    task = tables.catalogue.task(query.task)
    layers = {name: tables.catalogue.layer(name) for name in query.modalities}
    codec = tables.catalogue.codec
    parts = [*_plain_parts(shards), *_target_parts(task, codec, checksums)]
    for layer in layers.values():
        parts += _layer_parts(task, layer, codec, checksums)
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
    return _assembled(task, layers, tables.catalogue, tuple(shards), arrays, spill)


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
    task: Task,
    layers: dict[str, Layer],
    catalogue: Catalogue,
    shards: tuple[str, ...],
    arrays: dict[str, Array],
    spill: Spill | None,
) -> Index:
    def of(kind: str) -> dict[str, Array]:
        found = (name.partition("/") for name in arrays)
        return {name: arrays[f"{first}/{name}"] for first, _, name in found if first == kind}

    target = arrays.get("target")
    offset = of("offset")
    labelled = offset[task.name] != 0 if target is None else arrays["labelled"]
    if not (task.optional or labelled.all()):
        raise FormatError(
            f"{np.count_nonzero(~labelled)} samples have no target; expected one for every sample "
            f"of {task.name}: see `mmearth packaging verify`, or build the dataset again"
        )
    return Index(
        task,
        layers,
        catalogue.grid,
        catalogue.codec,
        shards,
        arrays["shard"],
        arrays["place"],
        arrays["date"],
        arrays["lon"],
        arrays["lat"],
        offset,
        of("length"),
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

    def numbered(batch: pa.RecordBatch) -> Array:
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
        _Part("shard", {"at/shard": "shard"}, "uint32", numbered),
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


def _target(task: Task, column: pa.Array) -> Array:
    """Return tile-level targets, (n, band), as in `Index.target`; anything where there is none.

    Raises:
        FormatError: One is not a target of the task.
    """
    if task.kind == "multilabel":
        return several(column, task.outputs)
    if task.kind == "classification":
        codes = np.array(task.target.codes, task.dtype)
        return codes[positions(column, task.outputs)][:, np.newaxis]
    is_there = there(column)
    values = column.flatten() if pa.types.is_struct(column.type) else [column]
    found = np.empty((len(column), len(values)))
    for i, (band, each) in enumerate(zip(task.target.bands, values, strict=True)):
        found[:, i] = numbers(each, np.nan)
        low, high = band.valid
        is_right = ~is_there | ((found[:, i] >= low) & (found[:, i] <= high))
        where = task.column if len(values) == 1 else f"{task.column}.{band.name}"
        check_all(is_right, found[:, i], where, f"{low:g} to {high:g} {band.unit}")
    return found


def _target_parts(task: Task, codec: Codec, checksums: bool) -> list[_Part]:
    source = column(task, task.column)
    if task.is_pixel:
        parts = _member_parts(task.target, source, codec, checksums)
        return [*parts, _known_part(task.target, source)]
    at = "at/target"
    tail = (len(task.target.bands),)
    return [
        _Part("target", {at: source}, task.dtype, lambda b: _target(task, b[at]), tail),
        _Part("labelled", {at: source}, "bool", lambda b: there(b[at])),
    ]


def _layer_parts(task: Task, layer: Layer, codec: Codec, checksums: bool) -> list[_Part]:
    source, n_bands = column(task, member_column(layer)), len(layer.bands)
    here, alias = f"present/{layer.name}", f"values/{layer.name}"
    present = _Part(
        here, {here: f"coalesce({source}.present, false)"}, "bool", lambda b: flags(b[here])
    )
    if layer.is_pixel:
        parts = _member_parts(layer, source, codec, checksums, present)
        return [present, *parts, _known_part(layer, source)]
    absent = layer.nodata
    if absent is None:
        absent = np.nan if np.dtype(layer.dtype).kind == "f" else 0.0

    def values(batch: pa.RecordBatch) -> Array:
        return lists(layer.name, batch[alias], flags(batch[here]), n_bands, absent)

    return [present, _Part(alias, {alias: f"{source}.values"}, "float64", values, (n_bands,))]


def _member_parts(
    layer: Layer, source: str, codec: Codec, checksums: bool, present: _Part | None = None
) -> list[_Part]:
    """Return the arrays of a layer's members, whose column `source` is."""
    name = layer.name
    at, n, digest = (f"{kind}/{name}" for kind in ("offset", "length", "sha256"))
    least = most = _HEADER_BYTES + layer.nbytes
    if not codec.is_npy:
        least, most = _MOST_MORE + 1, _MOST_MORE + layer.nbytes

    def offsets(batch: pa.RecordBatch) -> Array:
        offset, lengths = numbers(batch[at]), numbers(batch[n])
        is_there = offset != 0
        wrong = np.where(is_there, (lengths < least) | (lengths > most), lengths != 0)
        # Members of a tar begin at its blocks; beyond `_LAST` a sum of offsets would overflow.
        wrong |= (offset % _TAR_BLOCK != 0) | (offset > _LAST) | (offset < 0)
        if present is not None:
            wrong |= is_there != flags(batch[present.name])
        if wrong.any():
            i = int(np.argmax(wrong))
            expected = f"{most}" if codec.is_npy else f"{least} to {most}"
            raise FormatError(
                f"{name} of a sample has {lengths[i]} bytes at {offset[i]}; expected {expected} at "
                f"a multiple of {_TAR_BLOCK} where it is present and none where it is not: build "
                "the dataset again"
            )
        return offset

    ranges = {at: f"{source}.byte_offset", n: f"{source}.byte_length"}
    parts = [_Part(at, ranges, "uint64", offsets)]
    if not codec.is_npy:
        parts.append(_Part(n, ranges, "uint32", lambda batch: numbers(batch[n])))
    if checksums:
        sql = {digest: f"{source}.sha256", at: f"{source}.byte_offset"}
        parts.append(_Part(digest, sql, "V32", lambda b: digests(name, b[digest], there(b[at]))))
    return parts


def _known_part(layer: Layer, source: str) -> _Part:
    """Return what is known of each band's pixels, as `Index.known` has it."""
    name, n_bands = layer.name, len(layer.bands)
    here, each, at = f"known/{name}", f"bands/{name}", f"offset/{name}"
    share = f"{source}.valid_fraction"
    sql = {here: share, at: f"{source}.byte_offset"}
    if n_bands > 1:
        # The bands of most samples are alike: their lists would be half of what is read.
        sql[each] = f"CASE WHEN {share} NOT IN (0, 1) THEN {source}.band_valid_fraction END"
    least, expected = (0.0, "0 to 1") if layer.nodata is not None else (1.0, "1: no-data is none")

    def known(batch: pa.RecordBatch) -> Array:
        of_all = numbers(batch[here], np.nan)
        is_right = ~there(batch[at]) | ((of_all >= least) & (of_all <= 1))
        check_all(is_right, of_all, f"valid_fraction of {name}", expected)
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
