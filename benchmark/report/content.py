"""What a report is made of, before it is HTML or Markdown: sections of text, tables and figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

ABSENT = "–"
"""Stands in a cell that has nothing to say."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of ready text."""

    caption: str
    """What it shows, with the unit of its numbers."""
    header: tuple[str, ...]
    """One a column."""
    rows: tuple[tuple[str, ...], ...]
    """As long as the header."""
    n_labels: int = 1
    """So many columns from the left are text; the others are numbers and stand to the right."""
    folded: bool = False
    """Whether HTML shows it only when asked to: the numbers behind a figure."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing; what it shows must also be in a table, because Markdown shows only those."""

    caption: str
    """What it shows, how errors are drawn."""
    svg: str
    """A whole `<svg>` element."""


Block = str | Table | Figure
"""A paragraph of plain text, a table or a figure."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report under its own heading."""

    title: str
    """The heading."""
    blocks: tuple[Block, ...]
    """From top to bottom."""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    """The first heading."""
    lead: tuple[str, ...]
    """Paragraphs under it."""
    sections: tuple[Section, ...]
    """In order."""


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many decimals and a true minus sign; a dash for none."""
    if not math.isfinite(value):
        return ABSENT
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign, also where it is positive."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def spread(value: float, error: float, digits: int = 3) -> str:
    """Return `value ± error`; the value alone where there is no error."""
    text = number(value, digits)
    return f"{text} ± {number(error, digits)}" if math.isfinite(error) else text


def interval_text(low: float, high: float, digits: int = 3) -> str:
    """Return `low to high`; a dash where they are not defined."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ABSENT
    return f"{number(low, digits)} to {number(high, digits)}"
