"""Options and printing that several commands share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print the same facts as JSON.")
workers = click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="How many processes or threads work side by side; all cores unless given.",
)
directory = click.argument("directory", type=click.Path(file_okay=False))


def echo_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def echo_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a header, columns aligned; numbers to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        for i in range(len(header))
    ]
    for line in [list(header), ["-" * width for width in widths], *cells]:
        parts = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        )
        click.echo("  ".join(parts).rstrip())


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
