"""The answer to a query: a table for people, JSON, CSV, Parquet, or a layer of a GIS."""

from __future__ import annotations

import base64
import datetime
import io
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import shapely

from mmearth.catalog.files import write_atomic
from mmearth.loaders.layers import (
    GEOMETRY,
    LAYERS,
    outlines,
    placed,
    plain_values,
    write_layer,
)

_GEO = {
    "version": "1.1.0",
    "primary_column": GEOMETRY,
    "columns": {GEOMETRY: {"encoding": "WKB", "geometry_types": []}},
}
"""GeoParquet's metadata; without a CRS it is OGC:CRS84, without types they may be any."""


def write(answer: pa.Table, form: str, path: Path) -> None:
    """Write an answer to a file, whole or not at all; `table` is written as CSV.

    Raises:
        ConfigError: It is to be a layer and has no outlines, or its columns cannot be told apart.
        MissingExtraError: GDAL, which writes layers but GeoJSON, is not installed.
        StorageError: The file cannot be written.
    """
    if form in LAYERS:
        named = placed(answer)
        write_layer(_flat(plain_values(named), {*named.column_names} - {GEOMETRY}), form, path)
    else:
        write_atomic(path, render(answer, "csv" if form == "table" else form))


def render(answer: pa.Table, form: str) -> bytes:
    """Return an answer as `json` (a list of objects), `geojson`, `csv` or `parquet`.

    In CSV, structs and lists are JSON; in all texts, bytes are base64 and dates are ISO. Parquet
    with outlines is GeoParquet.

    Raises:
        ConfigError: It is to be GeoJSON and has no outlines.
    """
    if form == "json":
        rows = [_plain(row) for row in _rows(answer)]
        return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()
    if form == "geojson":
        return _geojson(plain_values(placed(answer)))
    sink = io.BytesIO()
    if form == "parquet":
        pyarrow.parquet.write_table(_storable(answer), sink, compression="zstd")
    else:
        pyarrow.csv.write_csv(_flat(answer, {*answer.column_names}), sink)
    return sink.getvalue()


def cells(answer: pa.Table) -> list[list[object]]:
    """Return an answer's rows for people: numbers as they are, the rest as text of one line."""
    return [[_cell(_plain(value)) for value in row.values()] for row in _rows(answer)]


def _rows(answer: pa.Table) -> list[dict[str, Any]]:
    columns = {name: _values(answer[name]) for name in answer.column_names}
    return [{name: each[i] for name, each in columns.items()} for i in range(answer.num_rows)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return what Python has for the values; text where it has none, as of the year 10000."""
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):
        return list(column.cast(_dates_as_text(column.type)).to_pylist())


def _dates_as_text(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _dates_as_text(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_dates_as_text(kind.key_type), _dates_as_text(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_dates_as_text(kind.value_type), getattr(kind, "list_size", -1))
    return pa.string() if pa.types.is_temporal(kind) else kind


def _storable(answer: pa.Table) -> pa.Table:
    """Return an answer as Parquet holds it, GeoParquet where its `geometry` are outlines."""
    fields = [field.name for field in answer.schema if _is_foreign(field.type)]
    answer = _flat(answer, {*fields})
    found = outlines(answer[GEOMETRY]) if GEOMETRY in answer.column_names else None
    if found is None:
        return answer
    placed_ones = answer.set_column(answer.column_names.index(GEOMETRY), GEOMETRY, found)
    return placed_ones.replace_schema_metadata({"geo": json.dumps(_GEO)})


def _is_foreign(kind: pa.DataType) -> bool:
    """Say whether Parquet has no such type, or none of a type inside."""
    is_map_of_nothing = pa.types.is_map(kind) and pa.types.is_null(kind.key_type)
    if pa.types.is_interval(kind) or pa.types.is_union(kind) or is_map_of_nothing:
        return True
    return any(_is_foreign(kind.field(i).type) for i in range(kind.num_fields))


def _geojson(answer: pa.Table) -> bytes:
    """Return a feature a row, a line each."""
    shapes = shapely.to_geojson(shapely.from_wkb(answer[GEOMETRY].to_numpy()))
    rows = _rows(answer)
    features = []
    for shape, row in zip(shapes, rows, strict=True):
        told = _text(_plain({name: row[name] for name in row if name != GEOMETRY}))
        features.append(
            f'{{"type": "Feature", "geometry": {shape or "null"}, "properties": {told}}}'
        )
    head = '{"type": "FeatureCollection", "features": [\n'
    return (head + ",\n".join(features) + "\n]}\n").encode()


def _flat(answer: pa.Table, names: set[str]) -> pa.Table:
    """Return a table of which those columns are text that no plain cell can hold."""
    columns = []
    for name, column in zip(answer.column_names, answer.columns, strict=True):
        if name in names and _is_no_cell(column.type):
            values = [None if v is None else _text(_plain(v)) for v in _values(column)]
            columns.append(pa.array(values, pa.string()))
        else:
            columns.append(column)
    return pa.table(columns, names=answer.column_names)


def _is_no_cell(kind: pa.DataType) -> bool:
    is_foreign = pa.types.is_interval(kind) or isinstance(kind, pa.BaseExtensionType)
    return bool(is_foreign or pa.types.is_nested(kind) or pa.types.is_binary(kind))


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
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(plain: Any) -> object:
    if plain is None or isinstance(plain, int | float):
        return plain
    return " ".join(_text(plain).split("\n"))
