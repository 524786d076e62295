"""The three kinds of chart of the report: lines over categories, dots in rows, stacked shares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmearth.benchmark.report import svg
from mmearth.benchmark.report.svg import Style

WIDTH = 960.0
"""Of every figure, in px."""
_GAP = 14.0
_ON_BAR = 'fill="#ffffff" font-weight="600"'


@dataclass(frozen=True, slots=True)
class Point:
    """A value with its error."""

    place: int
    """Position of its category or row, from 0."""
    value: float
    """NaN is not drawn."""
    low: float = math.nan
    """Lower end of its error; NaN draws none."""
    high: float = math.nan
    """Upper end."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes of a figure."""

    title: str
    """Above it."""
    axis: str
    """What its values are, with the unit."""
    places: tuple[str, ...]
    """Names of the categories or rows."""
    series: tuple[tuple[Style, tuple[Point, ...]], ...]
    """Drawn in this order."""
    zero: bool = False
    """Whether a line marks zero, and the axis holds it."""


def lines(panels: Sequence[Panel], caption: str, columns: int = 2, x_axis: str = "") -> str:
    """Return panels of values over categories, joined by lines; error bars are vertical.

    Args:
        panels: From left to right, then down.
        caption: For those who cannot see.
        columns: Panels beside one another.
        x_axis: What the categories are, with the unit.
    """
    parts, top = svg.legend(_styles(panels), WIDTH, 4)
    width, height = WIDTH / columns, 232.0
    for i, panel in enumerate(panels):
        left, y = (i % columns) * width, top + (i // columns) * height
        parts.extend(_line_panel(panel, left, y, width, height, x_axis))
    return svg.drawing(parts, WIDTH, top + math.ceil(len(panels) / columns) * height, caption)


def dots(panels: Sequence[Panel], caption: str, columns: int = 2) -> str:
    """Return panels of rows with dots and horizontal error bars, series a little apart."""
    parts, top = svg.legend(_styles(panels), WIDTH, 4)
    width = WIDTH / columns
    for begin in range(0, len(panels), columns):
        row = panels[begin : begin + columns]
        height = max(_dot_height(panel) for panel in row)
        for i, panel in enumerate(row):
            parts.extend(_dot_panel(panel, i * width, top, width))
        top += height
    return svg.drawing(parts, WIDTH, top, caption)


def shares(
    rows: Sequence[tuple[str, Sequence[float]]], styles: Sequence[Style], caption: str
) -> str:
    """Return stacked bars: by row its label and shares that add to 1, one a style."""
    parts, top = svg.legend(styles, WIDTH, 4)
    left = _room(label for label, _ in rows)
    width = WIDTH - left - 40
    for i, (label, parts_of_row) in enumerate(rows):
        y, x = top + i * 24 + 4, left
        parts.append(svg.text(left - 8, y + 13, label, "end"))
        for share, style in zip(parts_of_row, styles, strict=True):
            parts.append(svg.rectangle(x, y, share * width, 17, style.colour))
            if share * width > 40:
                words = f"{share * 100:.0f} %"
                parts.append(svg.text(x + share * width / 2, y + 13, words, "middle", 11, _ON_BAR))
            x += share * width
    bottom = top + len(rows) * 24 + 8
    for percent in (0, 25, 50, 75, 100):
        x = left + width * percent / 100
        parts.append(svg.text(x, bottom + 12, f"{percent} %", "middle", 11))
    parts.append(svg.text(left + width / 2, bottom + 30, "share of batches", "middle"))
    return svg.drawing(parts, WIDTH, bottom + 40, caption)


def _styles(panels: Sequence[Panel]) -> list[Style]:
    """Return the styles of the legend: those of which something is drawn."""
    drawn = (
        style
        for panel in panels
        for style, points in panel.series
        if any(math.isfinite(point.value) for point in points)
    )
    return list(dict.fromkeys(drawn))


def _values(panel: Panel) -> list[float]:
    points = [point for _, of_series in panel.series for point in of_series]
    extremes = [v for p in points for v in (p.value, p.low, p.high)]
    return [*extremes, 0.0] if panel.zero else extremes


def _room(labels: Iterable[str]) -> float:
    """Return the px that row labels need on the left."""
    return 22 + svg.LETTER * max((len(label) for label in labels), default=0)


def _line_panel(
    panel: Panel, left: float, top: float, width: float, height: float, x_axis: str
) -> list[str]:
    begin, end = left + 66, left + width - _GAP
    y = svg.scale_of(_values(panel), top + height - 52, top + 26)
    parts = [svg.text(begin, top + 15, panel.title, "start", 13, 'font-weight="600"')]
    for tick in y.ticks:
        colour = svg.FAINT if panel.zero and abs(tick) < 1e-12 else svg.GRID
        parts.append(svg.line(begin, y.at(tick), end, y.at(tick), colour))
        parts.append(svg.text(begin - 7, y.at(tick) + 4, y.label(tick), "end", 11))
    middle = (y.begin + y.end) / 2
    turn = f'transform="rotate(-90 {left + 14:.1f} {middle:.1f})"'
    parts.append(svg.text(left + 14, middle, panel.axis, "middle", 12, turn))
    step = (end - begin) / max(len(panel.places), 1)
    centres = [begin + (i + 0.5) * step for i in range(len(panel.places))]
    for x, place in zip(centres, panel.places, strict=True):
        parts.append(svg.text(x, y.begin + 17, place, "middle", 11))
    parts.append(svg.line(begin, y.begin, end, y.begin, svg.INK))
    parts.append(svg.text((begin + end) / 2, y.begin + 35, x_axis, "middle"))
    for i, (style, points) in enumerate(panel.series):
        # A few px apart, so that error bars of one category do not hide one another.
        shift = (i - (len(panel.series) - 1) / 2) * min(6.0, 0.35 * step / len(panel.series))
        drawn = [p for p in points if math.isfinite(p.value)]
        places = [(centres[p.place] + shift, y.at(p.value)) for p in drawn]
        if len(places) > 1:
            parts.append(svg.path(places, style))
        for (x, _), p in zip(places, drawn, strict=True):
            if math.isfinite(p.low) and math.isfinite(p.high):
                parts.append(svg.line(x, y.at(p.low), x, y.at(p.high), style.colour, 1.3))
            parts.append(svg.mark(x, y.at(p.value), style, 3.6))
    return parts


def _row_height(panel: Panel) -> float:
    return max(24.0, 12.0 * len(panel.series) + 8)


def _dot_height(panel: Panel) -> float:
    return 26 + _row_height(panel) * len(panel.places) + 58


def _dot_panel(panel: Panel, left: float, top: float, width: float) -> list[str]:
    begin, end = left + _room(panel.places), left + width - 2 * _GAP
    x = svg.scale_of(_values(panel), begin + 8, end)
    height, first = _row_height(panel), top + 26
    bottom = first + height * len(panel.places)
    parts = [svg.text(begin, top + 15, panel.title, "start", 13, 'font-weight="600"')]
    for tick in x.ticks:
        colour = svg.FAINT if panel.zero and abs(tick) < 1e-12 else svg.GRID
        parts.append(svg.line(x.at(tick), first, x.at(tick), bottom, colour))
        parts.append(svg.text(x.at(tick), bottom + 15, x.label(tick), "middle", 11))
    parts.append(svg.text((x.begin + x.end) / 2, bottom + 34, panel.axis, "middle"))
    for i, place in enumerate(panel.places):
        parts.append(svg.text(begin - 6, first + (i + 0.5) * height + 4, place, "end"))
        if i:
            parts.append(svg.line(begin, first + i * height, end, first + i * height, "#eeeeee"))
    for i, (style, points) in enumerate(panel.series):
        shift = (i - (len(panel.series) - 1) / 2) * 12.0
        for p in points:
            if not math.isfinite(p.value):
                continue
            y = first + (p.place + 0.5) * height + shift
            if math.isfinite(p.low) and math.isfinite(p.high):
                parts.append(svg.line(x.at(p.low), y, x.at(p.high), y, style.colour, 1.6))
            parts.append(svg.mark(x.at(p.value), y, style, 4))
    return parts
