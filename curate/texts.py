"""Columns of any type as text, so that all tables are read in one way."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmearth.catalog.errors import ConfigError


def as_text(path: Path, table: pa.Table) -> pa.Table:
    """Return a table's columns as text: numbers to their last digit, whole ones without a point.

    Raises:
        ConfigError: A column holds bytes that are no text.
    """
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            columns.append(_column(column))
            columns[-1].validate(full=True)  # text that is no UTF-8 would fail much later
        except (pa.ArrowException, UnicodeDecodeError) as exc:
            raise ConfigError(
                f"{path} holds bytes that are no UTF-8 in its column {name!r}; save it again in "
                "UTF-8"
            ) from exc
    return pa.table(columns, table.column_names)


def _column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_floating(kind):
        exact = column.cast(pa.float64())
        exact = pc.if_else(pc.is_nan(exact), pa.scalar(None, pa.float64()), exact)
        try:
            return exact.cast(pa.int64()).cast(pa.string())  # without an exponent
        except pa.ArrowInvalid:
            return exact.cast(pa.string())
    if pa.types.is_nested(kind):
        return pa.chunked_array(
            [pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())]
        )
    return column.cast(pa.string())
