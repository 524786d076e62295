"""Rows of a text table: separator and quoting are found out, not asked for."""

from __future__ import annotations

import csv
import io
import logging
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path

from mmearth.catalog.errors import ConfigError
from mmearth.curate.labels.text import read_text

_LOG = logging.getLogger(__name__)
SEPARATORS = ("\t", ",", ";", "|")
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*$", re.IGNORECASE)  # the first line, for Excel
NUMBER = re.compile(r'\s*("?)[+-]?[.,]?\d[^"]*\1\s*$')
"""How a cell that holds a coordinate looks."""
_HEADER = 100  # lines that a header may have in its quoted cells
_MOST_MALFORMED = 0.01  # share of the rows beyond which a table is not what it seems


@dataclass(frozen=True, slots=True)
class Rows:
    """The wanted cells of a text table."""

    keys: tuple[str, ...]
    """Of each wanted column its key, or its name in small letters where it need not be there."""
    cells: list[tuple[str, ...]]
    """One text a wanted column, one tuple a row."""
    lines: list[int]
    """The line of the file that each row begins at, from 1."""
    malformed: list[int]
    """The lines of rows that were left out: too many or too few cells."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the rows of a file are written."""

    separator: str
    """Between cells."""
    n_cells: int
    """Of the header."""
    wanted: dict[str, int]
    """Key → position of a wanted column."""
    tells: dict[int, re.Pattern[str]]
    """Position → how its cells look, of columns that tell a row from a line of prose."""


_Pick = Callable[[Sequence[str]], tuple[str, ...]]


class _StrayQuoteError(Exception):
    """A double quote that neither encloses a cell nor stands doubled within one."""


def read_rows(
    path: Path,
    wanted: Sequence[tuple[str, str]],
    tells: Mapping[str, re.Pattern[str]],
    optional: Collection[str] = (),
    encoding: str | None = None,
) -> Rows:
    """Return the wanted columns of a table of text.

    Tab, comma, semicolon or `|`; cells in double quotes may hold separators and line ends. Where
    double quotes plainly do not enclose cells they are characters like others.

    Args:
        path: The table; its first line names the columns.
        wanted: Of each column the key of the configuration that names it, and its name.
        tells: Name → how its cells look, of columns that tell a row from a line of prose.
        optional: Names, in small letters, of columns that are wanted where they are there.
        encoding: See `read_text`.

    Raises:
        ConfigError: The file cannot be read, is no such table, lacks a column, has a stray double
            quote, or too many of its rows have too many or too few cells.
    """
    lines = list(io.StringIO(read_text(path, encoding), newline=""))
    first = next(i for i, line in enumerate(lines) if line.strip())
    separators: Sequence[str] = SEPARATORS
    if said := _SEPARATOR_LINE.match(lines[first]):
        separators, first = (said[1],), first + 1
    with _cells_of_any_length():
        head = lines[first : first + _HEADER]
        layout = _layout(path, head, separators, wanted, tells, optional)
        try:
            rows = _quoted(lines, first, layout)
        except _StrayQuoteError as exc:
            rows = _unquoted(path, lines, first, layout, str(exc))
    rows = Rows(rows.keys, rows.cells[1:], rows.lines[1:], rows.malformed)  # without the header
    n_rows = len(rows.cells) + len(rows.malformed)
    if rows.malformed:
        told = path.name, len(rows.malformed), layout.n_cells, rows.malformed[0]
        _LOG.info("%s: %d rows have not the %d cells of the header, first at line %d", *told)
    if len(rows.malformed) > _MOST_MALFORMED * n_rows:
        raise ConfigError(
            f"{path}, line {rows.malformed[0]}: has not the {layout.n_cells} cells of the header, "
            f"as {len(rows.malformed)} of {n_rows} rows; enclose cells that hold a "
            f"{layout.separator!r} or a line end in double quotes"
        )
    return rows


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _layout(
    path: Path,
    lines: Sequence[str],
    separators: Sequence[str],
    wanted: Sequence[tuple[str, str]],
    tells: Mapping[str, re.Pattern[str]],
    optional: Collection[str],
) -> _Layout:
    """Return the layout that gives the header all wanted columns once.

    Raises:
        ConfigError: A column is missing, or there several times.
    """
    names = [name for _, name in wanted]
    headers = {separator: _header(lines, separator) for separator in separators}
    separator = max(
        separators, key=lambda s: (sum(name in headers[s] for name in names), len(headers[s]))
    )
    header = headers[separator]
    wanted = [*wanted, *found_of(header, optional)]
    check_columns(path, header, wanted)
    return _Layout(
        separator,
        len(header),
        {key: header.index(name) for key, name in wanted},
        {header.index(name): look for name, look in tells.items()},
    )


def _header(lines: Sequence[str], separator: str) -> list[str]:
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    return [cell.strip() for cell in next(reader, [])]


def found_of(columns: Sequence[str], optional: Collection[str]) -> list[tuple[str, str]]:
    """Return key and name of the columns that are there of those that need not be.

    Args:
        columns: All of a table.
        optional: Names in small letters, which are the keys, too.
    """
    return [(name.lower(), name) for name in dict.fromkeys(columns) if name.lower() in optional]


def check_columns(path: Path, found: Sequence[str], wanted: Sequence[tuple[str, str]]) -> None:
    """Refuse a table that has not each wanted column once.

    Args:
        path: The table.
        found: The names of its columns.
        wanted: Of each wanted column the key of the configuration that names it, and its name.

    Raises:
        ConfigError: A column is missing, or there several times.
    """
    for key, name in wanted:
        count = list(found).count(name)
        if count > 1:
            raise ConfigError(f"{path} has {count} columns {name!r} for {key}:; keep one of them")
        if not count:
            raise ConfigError(
                f"{path} has no column {name!r} for {key}:; its columns are {', '.join(found)}: "
                f"name another with {key}:"
            )


def _quoted(lines: Sequence[str], first: int, layout: _Layout) -> Rows:
    """Return the rows as RFC 4180 has them.

    Raises:
        _StrayQuoteError: A quote does not enclose a whole cell, or a cell that it opens swallows
            whole rows; names the line.
    """
    pick = itemgetter(*layout.wanted.values())
    rows, begin = Rows(tuple(layout.wanted), [], [], []), first
    # Blanks around a cell do not count, so a quote after one encloses a cell, too.
    reader = csv.reader(
        islice(lines, first, None),
        delimiter=layout.separator,
        skipinitialspace=True,
        strict=True,
    )
    try:
        for cells in reader:
            end = first + reader.line_num
            if end - begin > 1 and any(_is_row(line, layout) for line in lines[begin + 1 : end]):
                raise _StrayQuoteError(begin + 1)
            _add(rows, cells, begin + 1, layout, pick)
            begin = end
    except csv.Error as exc:
        raise _StrayQuoteError(begin + 1) from exc
    return rows


def _unquoted(path: Path, lines: Sequence[str], first: int, layout: _Layout, stray: str) -> Rows:
    """Return the rows with double quotes as characters like others.

    Raises:
        ConfigError: Some row has another number of cells then, or a wanted cell holds a quote.
    """
    pick = itemgetter(*layout.wanted.values())
    rows = Rows(tuple(layout.wanted), [], [], [])
    for number, line in enumerate(islice(lines, first, None), first + 1):
        if line.strip("\r\n"):
            _add(rows, line.rstrip("\r\n").split(layout.separator), number, layout, pick)
    if rows.malformed or any('"' in cell for row in rows.cells for cell in row):
        raise ConfigError(
            f"{path}, line {stray}: has a double quote that is never closed, or not at the end of "
            "its cell, so that cells and rows run together; close, double or remove it"
        )
    return rows


def _add(rows: Rows, cells: list[str], line: int, layout: _Layout, pick: _Pick) -> None:
    """Add a row, or its line to those that are malformed; blank lines count as neither."""
    if len(cells) == layout.n_cells or (
        len(cells) > layout.n_cells and not any(cells[layout.n_cells :])
    ):
        rows.cells.append(pick(cells))
        rows.lines.append(line)
    elif cells and any(cell.strip() for cell in cells):
        rows.malformed.append(line)


def _is_row(line: str, layout: _Layout) -> bool:
    """Return whether a line is a whole row, by its cells that tell so."""
    cells = line.rstrip("\r\n").split(layout.separator)
    return len(cells) == layout.n_cells and all(
        look.match(cells[i]) for i, look in layout.tells.items()
    )
