"""Whether a table has the columns that its schema says; looked at once, until it is touched."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmearth.catalog.errors import FormatError
from mmearth.catalog.schema import SCHEMA_VERSION, VERSION_KEY
from mmearth.loaders.fetch.trust import Identity, identity

_ours: set[tuple[Identity, str]] = set()


def check_columns(path: Path, name: str, expected: pa.Schema) -> None:
    """Refuse a table whose columns are not those of its schema; others are left alone.

    Args:
        path: The file, whole.
        name: What to call it in the sentence.
        expected: Names and types.

    Raises:
        FormatError: A column is missing or of another type, or it is no Parquet of this version.
    """
    mark = identity(path.stat()), ",".join(expected.names)
    if mark in _ours:
        return
    try:
        found = pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise FormatError(
            f"{name} is not a readable Parquet file ({exc}); run `mmearth packaging verify`, or "
            "build the dataset again"
        ) from exc
    version = (found.metadata or {}).get(VERSION_KEY, b"none").decode(errors="replace")
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise FormatError(
            f"{name} has schema version {version}, this mmearth reads {SCHEMA_VERSION}; install "
            "the version that made it, or build the dataset again"
        )
    for column in expected:
        n_found = found.get_all_field_indices(column.name)
        kind = found.field(n_found[0]).type if len(n_found) == 1 else f"{len(n_found)} of them"
        if kind != column.type:
            raise FormatError(
                f"{name} is damaged: its column {column.name} is {_short(kind)}, expected one "
                f"{_short(column.type)}; run `mmearth packaging verify`, or build the dataset again"
            )
    _ours.add(mark)


def _short(kind: object) -> str:
    text = str(kind)
    return text if len(text) <= 40 else f"{text[:39]}…"
