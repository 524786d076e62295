"""Ranges of one file that are asked for together: neighbours merged, none too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LARGEST = 8 << 20
"""Bytes beyond which ranges are not merged: several requests at once are faster than one."""


@dataclass(frozen=True, slots=True)
class Span:
    """One request."""

    begin: int
    """Its first byte."""
    end: int
    """The byte after its last."""
    members: tuple[int, ...]
    """Positions of the ranges that it covers."""


def merged(ranges: Sequence[tuple[int, int]], gap: int, largest: int = LARGEST) -> list[Span]:
    """Return the requests that cover all ranges, in the file's order.

    Args:
        ranges: Begin and end (excluded) of each, in any order.
        gap: Ranges with so many bytes between them, or fewer, are asked for together.
        largest: Bytes that a merged request may have; a single range may have more.
    """
    spans: list[Span] = []
    for position in sorted(range(len(ranges)), key=ranges.__getitem__):
        begin, end = ranges[position]
        last = spans[-1] if spans else None
        if (
            last is None
            or begin - last.end > gap
            or (end > last.end and end - last.begin > largest)
        ):
            spans.append(Span(begin, end, (position,)))
        else:
            spans[-1] = Span(last.begin, max(last.end, end), (*last.members, position))
    return spans
