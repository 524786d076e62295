"""An answer as a layer of a GIS: its outlines, and its columns as GDAL's formats have them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from mmearth.catalog.errors import ConfigError, StorageError
from mmearth.catalog.extras import needing
from mmearth.catalog.files import write_atomic

GEOMETRY = "geometry"
"""The column of outlines: WKB in OGC:CRS84, longitude before latitude."""
LAYERS = {"gpkg": "GPKG", "fgb": "FlatGeobuf"}
"""Format → GDAL's name of it."""
_FID = "fid"
"""GeoPackage's own column: a number for each row, under this name unless the answer has it."""
_RESERVED = ("gpkg", "sqlite_")
"""Beginnings of names that GeoPackage keeps for its own tables."""


def placed(answer: pa.Table) -> pa.Table:
    """Return an answer whose `geometry` is plain WKB: DuckDB marks it with a type of its own.

    Raises:
        ConfigError: It has no such column, or something else in it.
    """
    if GEOMETRY not in answer.column_names:
        raise ConfigError(
            f"found no column {GEOMETRY} in the answer, of which a layer is made; expected it "
            f"among {', '.join(answer.column_names[:8])}: select it too"
        )
    found = outlines(answer[GEOMETRY])
    if found is None:
        raise ConfigError(
            f"found {answer[GEOMETRY].type} in the column {GEOMETRY} of the answer, which are no "
            "outlines; expected those of a task: name other columns otherwise"
        )
    return answer.set_column(answer.column_names.index(GEOMETRY), GEOMETRY, found)


def outlines(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return a column as WKB; None where it holds something else than outlines."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), pa.binary())])
    storage = getattr(column.type, "storage_type", column.type)
    if not pa.types.is_binary(storage):
        return None
    found = column.cast(pa.binary())
    try:
        shapely.from_wkb(found.to_numpy())
    except shapely.errors.GEOSException:
        return None
    return found


def plain_values(answer: pa.Table) -> pa.Table:
    """Return an answer without values that GDAL rounds, misreads or refuses.

    Whole numbers without a sign or beyond 64 bits (`hilbert`, a sum) are of 64 bits if all fit,
    else text; other decimals are doubles. A column of NULL alone that has no type, and days
    before the year 1 or after 9999, which GDAL's formats lose, are text.
    """
    columns = [_plain_column(column) for column in answer.columns]
    return pa.table(columns, names=answer.column_names)


def write_layer(layer: pa.Table, form: str, path: Path) -> None:
    """Write a table of plain columns and outlines by GDAL, whole or not at all.

    Raises:
        ConfigError: Names of its columns differ by case alone.
        MissingExtraError: GDAL is not installed.
        StorageError: The file cannot be written.
    """
    with needing("curate"):
        import pyogrio
    lower = Counter(name.lower() for name in layer.column_names)
    if alike := [name for name in layer.column_names if lower[name.lower()] > 1]:
        raise ConfigError(
            f"found the columns {' and '.join(alike)} in the answer, which {LAYERS[form]} takes "
            "for one; expected names that differ by more than case: say AS"
        )
    # A GeoPackage says when it was made; equal answers shall be equal bytes.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00Z"})
    # A layer is named as its file, so the temporary one has that name in a folder of its own.
    with TemporaryDirectory() as folder:
        made = Path(folder, f"{_named(path.stem)}.{form}")
        try:
            pyogrio.write_arrow(
                layer,
                made,
                driver=LAYERS[form],
                geometry_name=GEOMETRY,
                geometry_type="Unknown",
                crs="OGC:CRS84",
                layer_options=_options(layer, form),
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as exc:
            raise StorageError(
                f"{folder}: {LAYERS[form]} cannot be written there before it goes to {path} "
                f"({' '.join(str(exc).split())}); is that disk full? TMPDIR names another place"
            ) from exc
        write_atomic(path, made.read_bytes())


def _plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_uint64(kind) or pa.types.is_decimal(kind):
        return _plain_number(column)
    is_day = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    if pa.types.is_null(kind) or (is_day and _is_beyond_the_calendar(column)):
        return column.cast(pa.string())
    return column


def _is_beyond_the_calendar(column: pa.ChunkedArray) -> bool:
    """Say whether there is a day whose year has not four digits, as infinity has none."""
    ends = pc.min_max(column)
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return False  # they end in 2262, and Python has no nanoseconds
    try:
        ends.as_py()
    except (OverflowError, ValueError):
        return True
    return False


def _plain_number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_decimal(column.type) and column.type.scale:
        return column.cast(pa.float64())
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column.cast(pa.string())


def _named(stem: str) -> str:
    """Return a name for a layer: that of its file, unless a format forbids it."""
    is_free = re.fullmatch(r"\w[\w .,'-]*", stem) and not stem.lower().startswith(_RESERVED)
    return stem if is_free else "answer"


def _options(layer: pa.Table, form: str) -> dict[str, str]:
    """Return how a format's writer is to be told what the answer has."""
    if form == "fgb":  # its index has no room for rows without a place
        shapes = shapely.from_wkb(layer[GEOMETRY].to_numpy())
        is_nowhere = shapely.is_missing(shapes) | shapely.is_empty(shapes)
        return {"SPATIAL_INDEX": "NO"} if is_nowhere.any() else {}
    taken, name = {each.lower() for each in layer.column_names}, _FID
    while name in taken:
        name += "_"
    return {"FID": name, "GEOMETRY_NAME": GEOMETRY}
