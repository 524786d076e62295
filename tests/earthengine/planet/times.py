"""Days and milliseconds since 1970."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

DAY_MS = 86_400_000
_EPOCH = datetime.date(1970, 1, 1)


def day_of(date: str) -> int:
    """Return the days from 1970 to `YYYY-MM-DD` or `YYYYMMDD`."""
    return (datetime.date.fromisoformat(date) - _EPOCH).days


def date_of(day: int) -> str:
    """Return `YYYY-MM-DD` of a day."""
    return (_EPOCH + datetime.timedelta(days=day)).isoformat()


def stamp(ms: int) -> str:
    """Return a time as `20200614T101031`."""
    moment = datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC)
    return moment.strftime("%Y%m%dT%H%M%S")


def visits(
    times: Sequence[tuple[int, int]] | None, life: range, period: int, phase: int
) -> Iterator[int]:
    """Yield the days a satellite comes by, every `period` days, in some of the times asked for.

    Args:
        times: Half-open intervals in milliseconds; None for its whole life.
        life: The days it flew.
        period: Days between two visits.
        phase: The day of one of them.
    """
    spans = [(life.start, life.stop)]
    if times is not None:
        # A scene of the evening before may begin within the interval.
        spans = [(start // DAY_MS - 1, -(-end // DAY_MS)) for start, end in times]
    days: set[int] = set()
    for start, end in spans:
        first, last = max(start, life.start), min(end, life.stop)
        days.update(range(first + (phase - first) % period, last, period))
    yield from sorted(days)


def within(ms: int, times: Sequence[tuple[int, int]] | None) -> bool:
    """Say whether a moment is in one of the half-open intervals."""
    return times is None or any(start <= ms < end for start, end in times)
