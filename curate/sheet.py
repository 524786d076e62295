"""A contact sheet: panels of colours or text in a grid, with notes and legends, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mmearth.catalog.errors import ConfigError, storage_errors
from mmearth.catalog.layer import ClassCode
from mmearth.curate.lettering import cut, drawable, font_for, lines

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".pdf": "PDF"}
"""Suffix of a sheet's file → what it is written as."""
EMPTY = (226, 228, 230)
"""Colour of no data, and of panels of text."""
LINES = 15
"""Of text that a panel has room for."""
_SIDE = 256
_PAD = 14
_HEAD = 26
_FOOT = 78
_COLUMNS = 5
_INK, _PALE, _PAPER = (24, 28, 34), (110, 118, 128), (250, 250, 248)

Rgb = NDArray[np.uint8]
"""Colours, (row, col, 3)."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of the sheet."""

    title: str
    """Above it."""
    picture: Rgb | list[str]
    """Colours, or lines of text: what stands after a tab is set to the right."""
    notes: tuple[str, ...] = ()
    """Lines below it."""
    legend: tuple[ClassCode, ...] = ()
    """Classes to explain below it."""


def missing(title: str, reason: str) -> Panel:
    """Return the panel of what is not there."""
    return Panel(title, ["missing", "", *wrap(reason)])


def texts(title: str, blocks: Sequence[list[str]]) -> list[Panel]:
    """Return blocks of lines, an empty line between them, on as few panels as hold them."""
    pages: list[list[str]] = []
    for block in blocks:
        if pages and len(pages[-1]) + 1 + len(block) <= LINES:
            pages[-1] += ["", *block]
        else:
            pages.append(list(block))
    return [Panel(title, page) for page in pages]


def wrap(text: str, width: int = 36) -> list[str]:
    """Return a text as lines that a panel is wide enough for."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def colour(entry: ClassCode) -> tuple[int, int, int]:
    """Return the colour of a class: red, green, blue."""
    return int(entry.color[1:3], 16), int(entry.color[3:5], 16), int(entry.color[5:7], 16)


def compose(panels: Sequence[Panel], title: str) -> Image.Image:
    """Return panels as one picture under a title."""
    n_columns = max(2, min(_COLUMNS, len(panels)))
    n_rows = -(-len(panels) // n_columns)
    cell_w, cell_h = _SIDE + _PAD, _HEAD + _SIDE + _FOOT
    sheet = Image.new("RGB", (n_columns * cell_w + _PAD, n_rows * cell_h + 56), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _head(draw, (_PAD, 14), title, sheet.width - 2 * _PAD, 20, 16, 13, 10)
    for i, panel in enumerate(panels):
        left, top = _PAD + i % n_columns * cell_w, 50 + i // n_columns * cell_h
        _head(draw, (left, top + 4), panel.title, _SIDE + _PAD // 2, 14, 12, 10)
        _draw_panel(sheet, draw, panel, left, top + _HEAD)
    return sheet


def save(sheet: Image.Image, path: Path) -> None:
    """Write a sheet; its directory is made when it is not there.

    Raises:
        ConfigError: The suffix is none of FORMATS.
        StorageError: The file cannot be written.
    """
    check_format(path)
    with storage_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, format=FORMATS[path.suffix.lower()], quality=92)


def check_format(path: Path) -> None:
    """Refuse a file whose suffix is none of FORMATS, before anything is drawn.

    Raises:
        ConfigError: It is.
    """
    if path.suffix.lower() not in FORMATS:
        found = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise ConfigError(f"{path} has {found}; expected one of {', '.join(FORMATS)}")


def _head(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, *sizes: int
) -> None:
    """Draw a title in the largest font that has room for it."""
    text = drawable(text)
    font = font_for(draw, text, width, *sizes)
    draw.text(place, cut(draw, text, font, width), _INK, font)


def _draw_panel(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, left: int, top: int
) -> None:
    small = ImageFont.load_default(12)
    if isinstance(panel.picture, list):
        draw.rectangle((left, top, left + _SIDE - 1, top + _SIDE - 1), EMPTY)
        for i, line in enumerate(_shortened(panel.picture, LINES)):
            label, _, value = drawable(line).partition("\t")
            value = cut(draw, value, small, _SIDE - 20)
            room = _SIDE - 20 - draw.textlength(f"  {value}" if value else "", small)
            draw.text((left + 10, top + 8 + 16 * i), cut(draw, label, small, room), _INK, small)
            draw.text((left + _SIDE - 10, top + 8 + 16 * i), value, _INK, small, anchor="ra")
    else:
        picture = Image.fromarray(panel.picture).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
        sheet.paste(picture, (left, top))
    notes = [line for note in panel.notes for line in lines(draw, drawable(note), small, _SIDE)]
    for i, note in enumerate(notes[: _FOOT // 15]):
        draw.text((left, top + _SIDE + 4 + 15 * i), note, _PALE, small)
    x, y = left, top + _SIDE + 4
    for entry in panel.legend:  # the most frequent first, as many as there is room for
        name = cut(draw, drawable(entry.name), small, _SIDE - 16)
        width = 28 + draw.textlength(name, small)
        if x > left and x + width > left + _SIDE + _PAD:
            x, y = left, y + 17
        if y > top + _SIDE + _FOOT - 17:
            return
        draw.rectangle((x, y + 2, x + 11, y + 12), colour(entry), _PALE)
        draw.text((x + 16, y), name, _PALE, small)
        x += int(width)


def _shortened(lines: list[str], most: int) -> list[str]:
    n_more = len(lines) - most + 1
    return lines if n_more < 2 else [*lines[: most - 1], f"… and {n_more} lines more"]
