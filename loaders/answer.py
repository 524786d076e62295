"""The answer to a query: a table for people, JSON, CSV, Parquet, or a layer of a GIS."""

from __future__ import annotations

import base64
import datetime
import io
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import shapely

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.extras import needing
from mmearth.catalog.files import write_atomic

GEOMETRY = "geometry"
"""The column of outlines: WKB in OGC:CRS84, longitude before latitude."""
LAYERS = {"gpkg": "GPKG", "fgb": "FlatGeobuf"}
"""Format → GDAL's name of it."""
_GEO = {
    "version": "1.1.0",
    "primary_column": GEOMETRY,
    "columns": {GEOMETRY: {"encoding": "WKB", "geometry_types": []}},
}
"""GeoParquet's metadata; without a CRS it is OGC:CRS84, without types they may be any."""


def write(answer: pa.Table, form: str, path: Path) -> None:
    """Write an answer to a file, whole or not at all; `table` is written as CSV.

    Raises:
        ConfigError: It is to be a layer and has no outlines.
        MissingExtraError: GDAL, which writes layers but GeoJSON, is not installed.
        StorageError: The file cannot be written.
    """
    if form not in LAYERS:
        write_atomic(path, render(answer, "csv" if form == "table" else form))
        return
    with needing("curate"):
        import pyogrio
    layer = _without_extension(_flat(_placed(answer), keep=GEOMETRY))
    # A GeoPackage says when it was made; equal answers shall be equal bytes.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00Z"})
    # FlatGeobuf keeps the file's name, so the temporary one has the same in a folder of its own.
    with TemporaryDirectory() as folder:
        made = Path(folder, path.name)
        pyogrio.write_arrow(
            layer,
            made,
            driver=LAYERS[form],
            geometry_name=GEOMETRY,
            geometry_type="Unknown",
            crs="OGC:CRS84",
        )
        write_atomic(path, made.read_bytes())


def render(answer: pa.Table, form: str) -> bytes:
    """Return an answer as `json` (a list of objects), `geojson`, `csv` or `parquet`.

    In CSV, structs and lists are JSON; in all texts, bytes are base64 and dates are ISO. Parquet
    with outlines is GeoParquet.

    Raises:
        ConfigError: It is to be GeoJSON and has no outlines.
    """
    if form == "json":
        rows = [_plain(row) for row in answer.to_pylist()]
        return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()
    if form == "geojson":
        return _geojson(_placed(answer))
    sink = io.BytesIO()
    if form == "parquet":
        if GEOMETRY in answer.column_names:
            answer = _without_extension(answer).replace_schema_metadata({"geo": json.dumps(_GEO)})
        pyarrow.parquet.write_table(answer, sink, compression="zstd")
    else:
        pyarrow.csv.write_csv(_flat(answer), sink)
    return sink.getvalue()


def cells(answer: pa.Table) -> list[list[object]]:
    """Return an answer's rows for people: numbers as they are, the rest as text of one line."""
    return [[_cell(_plain(value)) for value in row.values()] for row in answer.to_pylist()]


def _placed(answer: pa.Table) -> pa.Table:
    """Return an answer if its rows have outlines."""
    if GEOMETRY not in answer.column_names:
        raise ConfigError(
            f"found no column {GEOMETRY} in the answer, of which a layer is made; expected it "
            f"among {', '.join(answer.column_names[:8])}: select it too"
        )
    return answer


def _geojson(answer: pa.Table) -> bytes:
    """Return a feature a row, a line each."""
    shapes = shapely.to_geojson(shapely.from_wkb(answer[GEOMETRY].to_numpy()))
    rows = answer.drop_columns([GEOMETRY]).to_pylist()
    features = [
        f'{{"type": "Feature", "geometry": {shape or "null"}, "properties": {_text(_plain(row))}}}'
        for shape, row in zip(shapes, rows, strict=True)
    ]
    head = '{"type": "FeatureCollection", "features": [\n'
    return (head + ",\n".join(features) + "\n]}\n").encode()


def _without_extension(answer: pa.Table) -> pa.Table:
    """Return a table whose outlines are plain WKB: DuckDB marks them with a type of its own."""
    at = answer.column_names.index(GEOMETRY)
    return answer.set_column(at, GEOMETRY, answer[GEOMETRY].cast(pa.binary()))


def _flat(answer: pa.Table, keep: str | None = None) -> pa.Table:
    """Return a table whose nested and binary columns have become text, but for one."""
    columns = []
    for name, column in zip(answer.column_names, answer.columns, strict=True):
        if name != keep and (pa.types.is_nested(column.type) or pa.types.is_binary(column.type)):
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
