"""When a tile may be looked at: the published seasons, an asked date, or asked intervals."""

from __future__ import annotations

import datetime

from mmearth.catalog.errors import ConfigError
from mmearth.curate.recipes import Quirks

Interval = tuple[str, str]
"""First day and the day after the last, `YYYY-MM-DD` each."""

YEAR = 2020
"""The published year (MMEarth-Bench §3)."""
# First and last days of the published seasons (MMEarth-Bench §3, date windows).
_NORTH = (((5, 1), (9, 30)),)
_SOUTH = (((1, 1), (3, 31)), ((11, 1), (12, 31)))


def season(lat: float, quirks: Quirks, year: int = YEAR) -> tuple[Interval, ...]:
    """Return when plants are in leaf at a latitude: the intervals of the anchor date.

    Args:
        lat: Degrees north; the equator counts as north.
        quirks: With `ends_excluded` the last day of each interval is left out.
        year: Of all intervals.
    """
    return tuple(
        _interval(datetime.date(year, *first), datetime.date(year, *last), quirks.ends_excluded)
        for first, last in (_NORTH if lat >= 0 else _SOUTH)
    )


def around(date: str, days: int) -> tuple[Interval, ...]:
    """Return the intervals of a label's date.

    Args:
        date: `YYYY-MM-DD`, or intervals `YYYY-MM-DD/YYYY-MM-DD` separated by commas, both ends
            included.
        days: How far from a single date a scene may be.

    Raises:
        ConfigError: It is neither, ends before it begins, or lies at an end of the calendar.
    """
    try:
        if "/" not in date:
            day, reach = _day(date), datetime.timedelta(days)
            return (_interval(day - reach, day + reach, False),)
        ends = [part.partition("/") for part in date.split(",")]
        found = tuple(_interval(_day(first), _day(last), False) for first, _, last in ends)
    except OverflowError as exc:
        raise ConfigError(f"found the date {date!r}; expected one of the years 2 to 9998") from exc
    if any(first >= after for first, after in found):
        raise ConfigError(f"found the dates {date!r}; expected none to end before it begins")
    return found


def days_off(date: str, when: str) -> int:
    """Return how many days a date is from what was asked for; 0 inside an interval.

    Args:
        date: `YYYY-MM-DD`.
        when: As `around` takes it.

    Raises:
        ConfigError: One of them is no date.
    """
    day, best = _day(date), None
    for first, after in around(when, 0):
        last = _day(after) - datetime.timedelta(1)
        off = max((_day(first) - day).days, (day - last).days, 0)
        best = off if best is None else min(best, off)
    assert best is not None  # there is one interval at least
    return best


def days_of(when: str) -> list[str]:
    """Return every day of what was asked for, in order, each once.

    Raises:
        ConfigError: It is no date and no interval.
    """
    days = set()
    for first, after in around(when, 0):
        begin, end = _day(first).toordinal(), _day(after).toordinal()
        days |= {datetime.date.fromordinal(day).isoformat() for day in range(begin, end)}
    return sorted(days)


def _interval(first: datetime.date, last: datetime.date, last_excluded: bool) -> Interval:
    after = last if last_excluded else last + datetime.timedelta(1)
    return first.isoformat(), after.isoformat()


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(
            f"found the date {text!r}; expected YYYY-MM-DD or YYYY-MM-DD/YYYY-MM-DD"
        ) from exc
