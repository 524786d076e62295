"""Arrow schemas of the published tables, and their version in the Parquet footer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmearth.catalog.errors import FormatError, StorageError
from mmearth.catalog.files import atomic_path, check_regular
from mmearth.catalog.layer import Layer
from mmearth.catalog.targets import target_field
from mmearth.catalog.task import Task

SCHEMA_VERSION = "2.1"
"""Of every table here. The first number changes when an old reader would misread the new table."""
VERSION_KEY = b"mmearth:schema_version"
"""Where the version stands in the Parquet footer."""
_ANY_ROWS = 100_000  # of any small table; in larger ones each row has a number of its own
ROW_GROUP_ROWS = 122_880
"""DuckDB's own row group; a smaller one costs pruning, a larger one costs parallelism."""
PAGE_ROWS = 1024
"""Of each column's pages, which an index lists: who wants one row over HTTP fetches so many."""
_FEW_VALUES = frozenset({"task", "split", "shard", "modality", "state", "source"})
"""Columns with a dictionary; one of many values would have to be fetched whole for one row."""
BATCH_ROWS = 8192
"""Rows that are held at once where a table is read bit by bit: some 30 MB of a manifest."""

STATES = ("done", "missing", "failed")
"""Of an observation: on disk; absent at the source, for good; not obtained, worth a retry."""

_TILES: list[tuple[str, pa.DataType]] = [
    ("task", pa.string()),
    ("tile", pa.string()),  # Tile.id
    ("epsg", pa.int32()),
    ("left", pa.int32()),
    ("top", pa.int32()),
    ("lon", pa.float64()),
    ("lat", pa.float64()),
    ("cell", pa.string()),
    ("date", pa.string()),  # YYYY-MM-DD asked for by the label or the configuration; null: any
    ("split", pa.string()),
    ("train_5", pa.bool_()),
    ("train_50", pa.bool_()),
]

OBSERVATIONS = pa.schema(
    [
        ("tile", pa.string()),
        ("modality", pa.string()),  # a layer, or the name of a task with pixel-level targets
        ("state", pa.string()),  # one of STATES
        ("reason", pa.string()),  # why missing or failed; null when done
        ("bytes", pa.int64()),  # of its member in shards; null without pixels, and unless done
        ("sha256", pa.string()),  # likewise
        ("acquired", pa.string()),
        ("valid_fraction", pa.float64()),
        ("source", pa.string()),
        ("source_ids", pa.list_(pa.string())),
        ("stand_in", pa.string()),
        ("expression", pa.string()),  # SHA-256 of the request that a service computed it from
    ]
)
"""`observations.parquet`: one row per tile and layer, collected or why not; sorted by both."""

MEMBER = pa.struct(
    [
        ("present", pa.bool_()),
        ("valid_fraction", pa.float64()),
        ("band_valid_fraction", pa.list_(pa.float64())),  # of a pixel-level modality
        ("byte_offset", pa.int64()),
        ("byte_length", pa.int64()),
        ("sha256", pa.string()),
        ("source_ids", pa.list_(pa.string())),
        ("acquired", pa.string()),
        ("stand_in", pa.string()),
        ("expression", pa.string()),
        ("values", pa.list_(pa.float64())),  # of a tile-level modality, no-data where absent
    ]
)
"""One modality of one sample: where its bytes are in the shard, and where they came from."""


def tiles_schema(tasks: Iterable[Task]) -> pa.Schema:
    """Return the schema of `tiles.parquet`: one row per task and tile, what was planned.

    Sorted by (task, tile). The columns of tile-level targets are those of the manifests; they are
    null in rows of another task.
    """
    targets = {task.column: target_field(task) for task in tasks if not task.is_pixel}
    return pa.schema([*_TILES, *targets.values(), ("label_id", pa.string())])


def member_column(layer: Layer) -> str:
    """Return the manifest's struct column of a layer.

    It is the layer's name, but for those whose name is the column of their class code, such as
    `biome`: their structs are `<name>_observation`.
    """
    return f"{layer.name}_observation" if layer.has_code_column else layer.name


def manifest_path(task: str) -> str:
    """Return where a task's manifest is, relative to the dataset's root."""
    return f"manifests/{task}.parquet"


BBOX = pa.struct([(name, pa.float32()) for name in ("xmin", "ymin", "xmax", "ymax")])
"""Covers a geometry, in degrees: GeoParquet's column by which a reader finds those in a box."""


def manifest_schema(task: Task, layers: Iterable[Layer]) -> pa.Schema:
    """Return the columns that a manifest of `task` has at least: one row per sample.

    Sorted by split, then by `hilbert`: an integer whose high bits are the place's index on a
    Hilbert curve and whose low bits come from the key, so that both a box and a single key touch
    few row groups.
    """
    return pa.schema(_manifest([task], layers))


def written_manifest(tasks: Iterable[Task], layers: Iterable[Layer]) -> pa.Schema:
    """Return the columns that every manifest of a dataset has, whatever its task.

    Those of targets are null in manifests of other tasks; before schema 2.1 they were not there,
    and there was no `bbox`.
    """
    fields = _manifest(tasks, layers)
    after = [field.name for field in fields].index("geometry") + 1
    return pa.schema([*fields[:after], pa.field("bbox", BBOX), *fields[after:]])


def found_manifest(
    names: Iterable[str], task: Task, tasks: Iterable[Task], layers: Iterable[Layer]
) -> pa.Schema:
    """Return the columns that a manifest should have which has some of these names."""
    return written_manifest(tasks, layers) if "bbox" in names else manifest_schema(task, layers)


def _manifest(tasks: Iterable[Task], layers: Iterable[Layer]) -> list[pa.Field]:
    layers = tuple(layers)
    plain: list[tuple[str, pa.DataType]] = [
        ("key", pa.string()),
        ("task", pa.string()),
        ("split", pa.string()),
        ("train_5", pa.bool_()),
        ("train_50", pa.bool_()),
        ("hilbert", pa.uint64()),
        ("tile", pa.string()),
        ("epsg", pa.int32()),
        ("left", pa.int32()),
        ("top", pa.int32()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("cell", pa.string()),
        ("geometry", pa.binary()),  # WKB, EPSG:4326 in lon, lat order
        ("date", pa.date32()),
        *[
            (layer.name, pa.from_numpy_dtype(np.dtype(layer.dtype)))
            for layer in layers
            if layer.has_code_column
        ],
    ]
    targets = {task.column: target_field(task) for task in tasks}
    members = [(member_column(layer), MEMBER) for layer in layers]
    last = [("label_id", pa.string()), ("shard", pa.string()), *members]
    return list(pa.schema([*plain, *targets.values(), *last]))


def write_table(table: pa.Table, path: Path, schema: pa.Schema) -> None:
    """Write a table with the schema's version in its footer, atomically and with the same bytes.

    Raises:
        StorageError: The disk is full or the directory cannot be written.
    """
    write_parts([table], path, schema)


def write_parts(parts: Iterable[pa.Table], path: Path, schema: pa.Schema) -> None:
    """Write a table that never is in memory as a whole; the bytes are those of `write_table`.

    Args:
        parts: One after the other; of ROW_GROUP_ROWS rows each, but for the last.
        path: The Parquet file.
        schema: Of every part, and of the file.

    Raises:
        StorageError: The disk is full or the directory cannot be written.
    """
    stamped = schema.with_metadata(
        {**(schema.metadata or {}), VERSION_KEY: SCHEMA_VERSION.encode()}
    )
    # Nobody filters by the least checksum; without it the footer is a third smaller.
    filtered = [field.name for field in schema if _is_plain(field.type)]
    filtered += [f"{f.name}.{part.name}" for f in schema if f.type == BBOX for part in BBOX]
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary,
            stamped,
            compression="zstd",
            write_statistics=filtered,
            use_dictionary=[name for name in schema.names if name in _FEW_VALUES],
            write_page_index=True,
            write_batch_size=PAGE_ROWS,
            data_page_size=1,  # a batch is more: each is a page
        ) as writer,
    ):
        for part in parts:
            # Of one chunk: a page ends where a chunk does, and equal tables have equal bytes.
            whole = part.select(schema.names).cast(stamped).combine_chunks()
            writer.write_table(whole, ROW_GROUP_ROWS)


def _is_plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind))


def read_table(
    path: Path,
    columns: list[str] | None = None,
    root: Path | None = None,
    schema: pa.Schema | None = None,
) -> pa.Table:
    """Read a table that mmearth wrote.

    Args:
        path: The Parquet file.
        columns: Those to read, `sentinel2.source_ids` for one field of a struct; None for all.
        root: Of the dataset that it belongs to: a symlink must not lead out of it.
        schema: What its columns must be, at least; None: any that it has.

    Raises:
        FormatError: The file is missing, is no regular file or not Parquet, lacks a column or has
            one of another type, or has another schema version.
        StorageError: It may not be read.
    """
    found = check_columns(path, schema or (), root)
    lacking = [name for name in columns or () if name.partition(".")[0] not in found.names]
    if lacking:
        raise _lacks(path, lacking[0])
    with _damaged(path):
        # Never as a part of a Hive table: a folder named `split=val` above it would be a column.
        return _valid(pq.read_table(path, columns=columns, partitioning=None))


def check_columns(path: Path, fields: Iterable[pa.Field], root: Path | None = None) -> pa.Schema:
    """Return the schema of a table that mmearth wrote, which has some columns of some types.

    Args:
        path: The Parquet file.
        fields: What its columns must be, at least; such as a schema.
        root: As for `read_table`.

    Raises:
        FormatError, StorageError: As `read_table` says.
    """
    found = check_version(path, root)
    for field in fields:
        places = found.get_all_field_indices(field.name)
        if not places:
            raise _lacks(path, field.name)
        kinds = [found.field(place).type for place in places]
        if kinds != [field.type]:
            listed = " and ".join(_short(kind) for kind in kinds)
            raise FormatError(
                f"{path}: column {field.name} is {listed}, expected {_short(field.type)}; it is "
                "damaged, or of another version: build it again"
            )
    return found


def _lacks(path: Path, column: str) -> FormatError:
    return FormatError(
        f"{path} has no column {column}; it is damaged, or of another version: fetch it or build "
        "it again"
    )


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 40 else f"{text[:39]}…"  # a modality's struct has eleven fields


def read_parts(path: Path) -> Iterator[pa.Table]:
    """Yield the row groups of a table that mmearth wrote, in order.

    Raises:
        FormatError: The file is missing, is no regular file or not Parquet, or has another schema
            version.
        StorageError: It may not be read.
    """
    with _opened(path, None) as file:
        for i in range(file.num_row_groups):
            yield _valid(file.read_row_group(i))


def read_batches(
    path: Path,
    columns: list[str] | None = None,
    root: Path | None = None,
    rows: int = BATCH_ROWS,
) -> Iterator[pa.Table]:
    """Yield the rows of a table that mmearth wrote, some at a time, in their order.

    Args:
        path: The Parquet file.
        columns: As for `read_table`.
        root: As for `read_table`.
        rows: How many at a time.

    Raises:
        FormatError, StorageError: As `read_table` says.
    """
    with _opened(path, root) as file:
        found = file.schema_arrow.names
        lacking = [name for name in columns or () if name.partition(".")[0] not in found]
        if lacking:
            raise _lacks(path, lacking[0])
        for batch in file.iter_batches(rows, columns=columns):
            yield _valid(pa.Table.from_batches([batch]))


def _valid(table: pa.Table) -> pa.Table:
    """Return a table whose text is text: Parquet is read without looking at it."""
    table.validate(full=True)
    return table


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as exc:
        raise StorageError(
            f"cannot read {path}: permission denied; ask for the permission to read it"
        ) from exc
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise FormatError(
            f"{path} is not a readable Parquet file ({exc}); fetch it or build it again"
        ) from exc


def check_version(path: Path, root: Path | None) -> pa.Schema:
    """Return the schema of a table that mmearth wrote.

    Args:
        path: The Parquet file.
        root: As for `read_table`.

    Raises:
        FormatError, StorageError: As `read_table` says.
    """
    with _opened(path, root) as file:
        return file.schema_arrow


@contextmanager
def _opened(path: Path, root: Path | None) -> Iterator[pq.ParquetFile]:
    try:
        nbytes = check_regular(path, root).st_size
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FormatError(
            f"{path} is not there; expected a table that mmearth wrote: build it first"
        ) from exc
    with _damaged(path), pq.ParquetFile(path) as file:
        n_rows, found = file.metadata.num_rows, file.schema_arrow.metadata or {}
        if n_rows > max(nbytes, _ANY_ROWS):
            raise FormatError(
                f"{path} claims {n_rows} rows in {nbytes} bytes; expected a byte a row or more: "
                "fetch it or build it again"
            )
        version = found.get(VERSION_KEY, b"none").decode(errors="replace")
        if version.split(".")[0] != SCHEMA_VERSION.split(".", maxsplit=1)[0]:
            raise FormatError(
                f"{path} has schema version {version}, this mmearth reads {SCHEMA_VERSION}; "
                "build the dataset again or install the version that made it"
            )
        yield file
