"""The answer to a query as a table for people, as JSON, CSV or Parquet."""

from __future__ import annotations

import base64
import datetime
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from mmearth.catalog.files import write_atomic


def write(answer: pa.Table, form: str, path: Path) -> None:
    """Write an answer to a file, whole or not at all; `table` is written as CSV.

    Raises:
        StorageError: The file cannot be written.
    """
    write_atomic(path, render(answer, "csv" if form == "table" else form))


def render(answer: pa.Table, form: str) -> bytes:
    """Return an answer as `json` (a list of objects), `csv` or `parquet`.

    In CSV, structs and lists are JSON; in both texts, bytes are base64 and dates are ISO.
    """
    if form == "json":
        rows = [_plain(row) for row in answer.to_pylist()]
        return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()
    sink = io.BytesIO()
    if form == "parquet":
        pyarrow.parquet.write_table(answer, sink, compression="zstd")
    else:
        pyarrow.csv.write_csv(_flat(answer), sink)
    return sink.getvalue()


def cells(answer: pa.Table) -> list[list[object]]:
    """Return an answer's rows for people: numbers as they are, the rest as text of one line."""
    return [[_cell(_plain(value)) for value in row.values()] for row in answer.to_pylist()]


def _flat(answer: pa.Table) -> pa.Table:
    """Return a table whose nested and binary columns have become text."""
    columns = []
    for column in answer.columns:
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            values = [None if v is None else _text(_plain(v)) for v in column.to_pylist()]
            columns.append(pa.array(values, pa.string()))
        else:
            columns.append(column)
    return pa.table(columns, names=answer.column_names)


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(plain: Any) -> object:
    if plain is None or isinstance(plain, int | float):
        return plain
    return " ".join(_text(plain).split("\n"))
