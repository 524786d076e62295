"""Options and printing that several commands share."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click

from mmearth.catalog.errors import printable
from mmearth.catalog.talk import say

_LEAST = 30
"""Characters that a column of text keeps at least, when a table is cut to fit a terminal."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print the same facts as JSON.")
workers = click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="How many processes or threads work side by side; all cores unless given.",
)
executor = click.option(
    "--executor",
    type=click.Choice(["processes", "threads"]),
    help="What the workers are; what suits the work unless given.",
)
scheduler = click.option(
    "--scheduler", help="Address of a Dask scheduler, tcp://…, instead of --executor."
)
store = click.option(
    "--store",
    envvar="MMEARTH_STORE",
    type=click.Path(file_okay=False),
    help="Directory in which builds share what they collect; MMEARTH_STORE unless given.",
)
directory = click.argument("directory", type=click.Path(file_okay=False))


def echo_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def echo_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], whole: str | None = None
) -> None:
    """Print rows under a header, columns aligned; numbers to the right.

    Args:
        header: A name a column.
        rows: Of as many values.
        whole: What shows all, as it reads after "cut to fit the terminal". With it a table on a
            terminal is cut: long texts first, then columns on the right; never in a pipe or file.
    """
    cells = [[_text(value) for value in row] for row in rows]
    lines = [list(header), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        for i in range(len(header))
    ]
    fitted = widths
    if whole is not None and sys.stdout.isatty():
        fitted = _fit(widths, right, shutil.get_terminal_size().columns)
    for line in [lines[0], ["-" * width for width in fitted], *cells]:
        parts = (
            text.rjust(width) if to_right else _cut(text, width).ljust(width)
            for text, width, to_right in zip(line, fitted, right, strict=False)
        )
        click.echo("  ".join(parts).rstrip())
    if fitted != widths:
        lacking = len(widths) - len(fitted)
        columns = f", {lacking} columns left out" if lacking else ""
        say(f"cut to fit the terminal{columns}; {whole}")


def _fit(widths: list[int], right: list[bool], room: int) -> list[int]:
    """Return the widths of as many columns from the left as have room; numbers stay whole."""
    for n in range(len(widths), 1, -1):
        for most in range(min(max(widths), room), _LEAST - 1, -1):
            fitted = [
                width if number else min(width, most)
                for width, number in zip(widths[:n], right, strict=False)
            ]
            if sum(fitted) + 2 * (n - 1) <= room:
                return fitted
    return [min(widths[0], max(room, 1))]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(str(value))
