"""Drawings as SVG text: marks, axes and legends on a grid of panels; the same bytes each time.

The colours are Okabe & Ito's (2008, https://jfly.uni-koeln.de/color/), which people with any common
colour blindness tell apart; shapes and dashes repeat what they say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of series, in their order; they repeat with another shape after the sixth."""
SHAPES = ("circle", "square", "diamond", "triangle")
"""Of marks."""
INK, FAINT, GRID = "#1a1a1a", "#555555", "#dddddd"
"""Text and axes, lesser text, lines of the grid."""
LETTER = 7.2
"""Mean width of a letter of the 12 px labels, in px."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a series is drawn and what the legend calls it."""

    label: str
    """In the legend."""
    colour: str
    """`#rrggbb`."""
    shape: str = "circle"
    """One of SHAPES."""
    hollow: bool = False
    """Whether its marks are outlines."""
    dash: str = ""
    """SVG's dash pattern of its lines; empty is solid."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis: values to px."""

    low: float
    """Value at `begin`."""
    high: float
    """Value at `end`."""
    begin: float
    """Px."""
    end: float
    """Px."""
    step: float
    """Between ticks, in values."""

    def at(self, value: float) -> float:
        """Return where a value lies, in px."""
        share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    @property
    def ticks(self) -> list[float]:
        """Values that carry a label, rising."""
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [i * self.step for i in range(first, last + 1)]

    def label(self, value: float) -> str:
        """Return a tick's text, with as many decimals as its step needs."""
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{value + 0.0:.{digits}f}".replace("-", "−") if abs(value) > 1e-12 else "0"


def scale_of(values: Iterable[float], begin: float, end: float, n_ticks: int = 5) -> Scale:
    """Return an axis that holds all finite values, its ends on round numbers."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-6):
        room = max(abs(low) * 0.1, 1e-3)
        low, high = low - room, high + room
    rough = (high - low) / n_ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return Scale(
        math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, begin, end, step
    )


def text(
    x: float, y: float, words: str, anchor: str = "start", size: int = 12, extra: str = ""
) -> str:
    """Return a line of text; `anchor` is `start`, `middle` or `end`, `extra` further attributes."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f"{' ' + extra if extra else ''}>{escape(words)}</text>"
    )


def line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: str = ""
) -> str:
    """Return a straight line; `width` in px, `dash` as SVG's pattern."""
    pattern = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"'
        f' stroke-width="{width:g}"{pattern}/>'
    )


def rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    """Return a filled rectangle."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
    )


def path(points: Sequence[tuple[float, float]], style: Style) -> str:
    """Return a line through points."""
    steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    pattern = f' stroke-dasharray="{style.dash}"' if style.dash else ""
    return (
        f'<polyline points="{steps}" fill="none" stroke="{style.colour}" stroke-width="1.6"'
        f"{pattern}/>"
    )


def mark(x: float, y: float, style: Style, size: float = 4.0) -> str:
    """Return a mark of a series; `size` is half its width, in px."""
    fill = "#ffffff" if style.hollow else style.colour
    paint = f'fill="{fill}" stroke="{style.colour}" stroke-width="1.5"'
    if style.shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" {paint}/>'
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
        "triangle": ((0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    }[style.shape]
    points = " ".join(f"{x + dx * size:.1f},{y + dy * size:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" {paint}/>'


def legend(styles: Sequence[Style], width: float, top: float) -> tuple[list[str], float]:
    """Return the marks of a legend that breaks lines at `width`, and the y below it, in px."""
    parts: list[str] = []
    x, y = 8.0, top + 12
    for style in styles:
        room = 34 + len(style.label) * LETTER + 16
        if x + room > width and x > 8:
            x, y = 8.0, y + 20
        parts.append(line(x, y - 4, x + 26, y - 4, style.colour, 1.6, style.dash))
        parts.append(mark(x + 13, y - 4, style))
        parts.append(text(x + 32, y, style.label))
        x += room
    return parts, y + 12


def drawing(parts: Iterable[str], width: float, height: float, caption: str) -> str:
    """Return a whole `<svg>` element; `caption` is read out to those who cannot see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(caption)}"'
        f' font-family="system-ui, \'Segoe UI\', Helvetica, Arial, sans-serif" fill="{INK}">'
        f"{''.join(parts)}</svg>"
    )
