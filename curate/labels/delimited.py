"""Columns of a text table: separator, encoding and compression are found out, not asked for."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError

_SEPARATORS = ("\t", ",", ";")
_ABSENT = pa.array(["", "-", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", r"\N"])
"""What stands for an empty cell in exports of R, pandas, PostgreSQL and spreadsheets."""
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_END = "end"  # of the table: a line of these, added to see that no quote swallowed the last lines
_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 1 << 18  # the header of any table


def read_columns(path: Path, names: Sequence[str]) -> tuple[pa.Table, int]:
    """Return columns of a table as text, null where a cell is empty.

    Tab, comma or semicolon; UTF-8, with or without a byte order mark, or Latin-1; plain or gzip;
    cells in double quotes may hold separators and line ends. Blanks around a cell do not count.

    Args:
        path: The table; its first line names the columns.
        names: The columns to read, in the order of the result.

    Returns:
        The columns, and how many lines were left out because they have too many or too few cells.

    Raises:
        ConfigError: The file cannot be read, is no such table, or lacks a column.
    """
    wanted = list(dict.fromkeys(names))
    separator, n_cells = _layout(path, wanted)
    end = "\n" + separator.join([_END] * n_cells) + "\n"
    try:
        try:
            table, n_malformed = _read(path, wanted, separator, end, "utf-8")
        except (pa.ArrowInvalid, UnicodeDecodeError) as exc:
            if "utf" not in str(exc).lower():
                raise
            table, n_malformed = _read(path, wanted, separator, end, "latin-1")
    except (OSError, pa.ArrowException, UnicodeDecodeError) as exc:
        raise _unreadable(path, exc) from exc
    last = table.slice(table.num_rows - 1) if table.num_rows else table
    if last.to_pylist() != [dict.fromkeys(wanted, _END)]:
        raise ConfigError(
            f"{path} has a cell whose double quote is never closed, so that its last lines are "
            "lost; close the quote or remove it"
        )
    return table.slice(0, table.num_rows - 1), n_malformed


def numbers(column: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a column of text as numbers.

    Args:
        column: Text, (n,); null where the cell is empty.

    Returns:
        The numbers, NaN where there is none, and which cells hold something else than a number;
        both (n,).
    """
    try:
        values = column.cast(pa.float64())
        if pc.all(pc.is_finite(values)).as_py() is not False:  # it takes `inf` for a number
            return _as_numpy(values), np.zeros(len(column), dtype=np.bool_)
    except pa.ArrowInvalid:
        pass  # some cell is no plain number: look at each
    fits = pc.fill_null(pc.match_substring_regex(column, _NUMBER), False)
    plain = pc.utf8_ltrim(pc.if_else(fits, column, pa.scalar(None, pa.string())), "+")
    text = pc.and_(pc.is_valid(column), pc.invert(fits)).to_numpy(zero_copy_only=False)
    return _as_numpy(plain.cast(pa.float64())), np.array(text, dtype=np.bool_)


def _as_numpy(values: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _layout(path: Path, wanted: Sequence[str]) -> tuple[str, int]:
    """Return what separates the cells of a header that has all wanted columns once, and how many.

    Raises:
        ConfigError: The file cannot be read, holds no text, or lacks a column.
    """
    try:
        with _open(path) as stream:
            head = bytes(stream.read(_HEAD_BYTES))
    except (OSError, pa.ArrowException) as exc:
        raise _unreadable(path, exc) from exc
    if not head.strip() or b"\0" in head:
        raise ConfigError(
            f"{path} is {'no text in UTF-8 or Latin-1' if head.strip() else 'empty'}; expected a "
            "table as CSV or TSV, plain or gzip"
        )
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = head.decode("latin-1").removeprefix("ï»¿")
    headers = {separator: _cells(text.lstrip(), separator) for separator in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda found: len(headers[found]))
    for name in wanted:
        count = headers[separator].count(name)
        if count != 1:
            raise ConfigError(
                f"{path} has {'several columns' if count else 'no column'} {name!r}; its columns "
                f"are {', '.join(headers[separator])}: name another, or null where there is none"
            )
    return separator, len(headers[separator])


def _cells(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error:  # a cell of more than 128 KiB: not with this separator
        return []


def _open(path: Path) -> pa.NativeFile:
    with pa.OSFile(str(path)) as file:
        packed = file.read(len(_GZIP)) == _GZIP
    return pa.input_stream(str(path), compression="gzip" if packed else None)


def _read(
    path: Path, wanted: Sequence[str], separator: str, end: str, encoding: str
) -> tuple[pa.Table, int]:
    """Return the wanted columns with the line `end` after the last, and the number of bad lines."""
    malformed: list[None] = []

    def skip(_: pa.csv.InvalidRow) -> str:
        malformed.append(None)
        return "skip"

    with _open(path) as stream:
        data = stream.read() + end.encode()
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        # A worker thread that lets go of `skip` after Python has ended aborts the process.
        pa.csv.ReadOptions(encoding=encoding, use_threads=False),
        pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=skip),
        pa.csv.ConvertOptions(
            include_columns=list(wanted), column_types=dict.fromkeys(wanted, pa.string())
        ),
    )
    return pa.table({name: _trimmed(table[name]) for name in wanted}), len(malformed)


def _trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.is_in(text, _ABSENT), pa.scalar(None, pa.string()), text)


def _unreadable(path: Path, exc: Exception) -> ConfigError:
    return ConfigError(
        f"{path} cannot be read as a table ({' '.join(str(exc).split())}); expected CSV or TSV, "
        "plain or gzip, with every double quote closed"
    )
