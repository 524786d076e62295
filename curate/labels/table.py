"""One table of places, whatever file it comes from: every column as text, then as numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from mmearth.catalog.errors import ConfigError
from mmearth.curate.labels.dates import asked_date
from mmearth.curate.labels.delimited import NUMBER, Rows, check_columns, found_of, read_rows
from mmearth.curate.labels.identity import feature_ids, id_text
from mmearth.curate.labels.numbers import has_decimal_commas, numbers
from mmearth.curate.places import TableConfig
from mmearth.curate.vector import crs_of, read_layer

_TEXT = {".csv", ".tsv", ".txt", ".tab", ".dat", ".psv"}
_VECTOR = {".gpkg", ".geojson", ".json", ".shp", ".zip", ".fgb", ".parquet", ".geoparquet", ".pq"}
"""Names of files that are no text, whatever their bytes: damaged ones are not read as text."""
ABSENT = ("", "-", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", r"\N")
"""What stands for an empty cell in exports of R, pandas, PostgreSQL and spreadsheets; not among
identifiers, where `NA` is one."""
_POINT = 0  # GEOS type id
_SHOWN = 200  # characters of a cell, in a sentence


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Columns of a table of places."""

    path: Path
    """The file."""
    names: dict[str, str]
    """Key of the configuration → name of its column."""
    text: dict[str, pa.ChunkedArray]
    """Key → its column as text, null where a cell is empty, (n,)."""
    rows: NDArray[np.int64]
    """Where each row is: its line in a file of text, else its number from 1, (n,)."""
    by_line: bool
    """Whether `rows` are lines."""
    comma: bool
    """Whether its numbers have a decimal comma."""
    malformed: tuple[int, ...]
    """Lines that were left out: too many or too few cells."""
    unplaced: int
    """Features that were left out: they have no geometry."""
    points: NDArray[np.object_] | None
    """Points of a vector file, (n,); None where columns hold the coordinates."""
    crs: CRS | None
    """Of the coordinates; None where nothing says so: longitude and latitude."""

    def __len__(self) -> int:
        return len(self.rows)

    def numbers(self, key: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return a column as numbers, NaN where there is none, and which cells are no number."""
        return numbers(self.text[key], self.comma)

    def cell(self, key: str, row: int) -> str:
        """Return where a cell is and what it holds, as part of a sentence."""
        word = "line" if self.by_line else "row"
        text = self.text[key][row].as_py()
        if text is not None and len(text) > _SHOWN:
            text = f"{text[:_SHOWN]}…"
        return f"{self.path}, {word} {self.rows[row]}, column {self.names[key]!r}: found {text!r}"

    def date(self, row: int) -> str | None:
        """Return what a row asks for, as `Label.date`; None where no column or cell does.

        Raises:
            ConfigError: The cell holds something else than a day or intervals.
        """
        if "date" not in self.text or (text := self.text["date"][row].as_py()) is None:
            return None
        try:
            return asked_date(text)
        except ConfigError as exc:
            raise ConfigError(
                f"{self.cell('date', row)}, expected a date YYYY-MM-DD, or intervals "
                "YYYY-MM-DD/YYYY-MM-DD separated by commas"
            ) from exc

    def refuse_text(self, key: str, text: NDArray[np.bool_]) -> None:
        """Refuse cells that are no numbers.

        Raises:
            ConfigError: There is one; names the first.
        """
        if text.any():
            raise ConfigError(
                f"{self.cell(key, int(np.argmax(text)))}, expected a number with a decimal point; "
                f"correct the cell, or name another column with {key}:"
            )


def read_table(
    path: Path,
    columns: Mapping[str, str | None],
    numeric: Sequence[str],
    config: TableConfig,
    optional: Collection[str] = (),
) -> Table:
    """Read the columns of a table of places that a configuration names.

    Args:
        path: Text (CSV, TSV and the like), Parquet, GeoParquet, or any vector file of points.
        columns: Key of the configuration → name of the column; None where it names none. `lon`
            and `lat` are not looked at where the file has points.
        numeric: Keys of the columns that hold numbers.
        config: Says how the file is read.
        optional: Names, in small letters, of columns that are read where they are there; they are
            the keys, too.

    Raises:
        ConfigError: The file cannot be read, a column is missing, or a geometry is no point.
    """
    names = {key: name for key, name in columns.items() if name is not None}
    if is_text(path):
        return _of_text(path, names, numeric, config, optional)
    refuse_encoding(path, config.encoding)
    read = read_layer(path, config.layer, config.crs)
    fields, points = read.fields, read.shapes
    if "id" in names.values() and (ids := feature_ids(path)) is not None:
        others = {name: fields[name] for name in fields.column_names if name != "id"}
        fields = pa.table({**others, "id": pa.array([id_text(id_) for id_ in ids], pa.string())})
    rows = np.arange(len(fields) if points is None else points.size)
    unplaced = 0
    if points is not None:
        names = {key: name for key, name in names.items() if key not in ("lon", "lat")}
        rows = np.flatnonzero(~(shapely.is_missing(points) | shapely.is_empty(points)))
        unplaced = points.size - rows.size
        points = _single_points(path, points[rows])
    names |= found_of(fields.column_names, optional)
    check_columns(path, fields.column_names, list(names.items()))
    text = {key: trimmed(key, fields[name].take(pa.array(rows))) for key, name in names.items()}
    comma = has_decimal_commas(text[key] for key in numeric if key in text)
    return Table(path, names, text, rows + 1, False, comma, (), unplaced, points, read.crs)


def is_text(path: Path) -> bool:
    """Return whether a file is a table of text: by its name, or where that says nothing its bytes.

    Vector files that are text begin with a bracket (GeoJSON, KML) or `!table` (MapInfo).
    """
    if path.is_dir():  # of shapefiles, or an Esri geodatabase
        return False
    with suppress(OSError), path.open("rb") as stream:
        head = stream.read(1024).lstrip()
        known = _TEXT.intersection(suffix.lower() for suffix in path.suffixes[-2:])
        return not head.startswith((b"{", b"[", b"<", b"!table")) and bool(
            known or (head and b"\0" not in head and path.suffix.lower() not in _VECTOR)
        )
    return path.suffix.lower() not in _VECTOR


def refuse_encoding(path: Path, encoding: str | None) -> None:
    """Refuse `encoding:` for a file that says itself how its text is written.

    Raises:
        ConfigError: It is given.
    """
    if encoding is not None:
        raise ConfigError(f"{path} is no table of text; leave encoding: out")


def text_columns(rows: Rows) -> dict[str, pa.ChunkedArray]:
    """Return key → column of rows, null where a cell is empty."""
    return {
        key: trimmed(key, pa.chunked_array([pa.array([row[i] for row in rows.cells], pa.string())]))
        for i, key in enumerate(rows.keys)
    }


def _of_text(
    path: Path,
    names: dict[str, str],
    numeric: Sequence[str],
    config: TableConfig,
    optional: Collection[str],
) -> Table:
    tells = {names[key]: NUMBER for key in ("lon", "lat")}
    rows = read_rows(path, list(names.items()), tells, optional, config.encoding)
    text = text_columns(rows)
    comma = has_decimal_commas(text[key] for key in numeric if key in text)
    lines = np.array(rows.lines, dtype=np.int64)
    found = crs_of(path, None, config.crs) if config.crs else None
    names |= {key: key for key in rows.keys if key not in names}
    return Table(path, names, text, lines, True, comma, tuple(rows.malformed), 0, None, found)


def _single_points(path: Path, shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return points, those that are alone in a multipoint too.

    Raises:
        ConfigError: A geometry is something else.
    """
    alone = shapely.get_num_geometries(shapes) == 1
    points = np.asarray(np.where(alone, shapely.get_geometry(shapes, 0), shapes))
    other = np.flatnonzero(shapely.get_type_id(points) != _POINT)
    if other.size:
        kind = points[other[0]].geom_type
        raise ConfigError(
            f"{path} has geometries that are no points, such as a {kind}; use `grid:` for polygons,"
            " and split multipoints into single points"
        )
    return points


def trimmed(key: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text without blanks around it, null where that says that there is nothing."""
    text = pc.utf8_trim_whitespace(column)
    empty = pc.equal(text, "") if key == "id" else pc.is_in(text, pa.array(ABSENT))
    return pc.if_else(empty, pa.scalar(None, pa.string()), text)
