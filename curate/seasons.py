"""When a tile may be looked at: the published seasons, an asked date, or asked intervals."""

from __future__ import annotations

import datetime

from mmearth.catalog.anchor import YEAR, intervals, leaf_season
from mmearth.catalog.errors import ConfigError
from mmearth.curate.recipes import Quirks

Interval = tuple[str, str]
"""First day and the day after the last, `YYYY-MM-DD` each."""


def season(lat: float, quirks: Quirks, year: int = YEAR) -> tuple[Interval, ...]:
    """Return when plants are in leaf at a latitude: the intervals of the anchor date.

    Args:
        lat: Degrees north; the equator counts as north.
        quirks: With `ends_excluded` the last day of each interval is left out.
        year: Of all intervals.
    """
    found = leaf_season(lat, year)
    return tuple(_interval(first, last, quirks.ends_excluded) for first, last in found)


def around(date: str, days: int) -> tuple[Interval, ...]:
    """Return the intervals of a label's date.

    Args:
        date: `YYYY-MM-DD`, or intervals `YYYY-MM-DD/YYYY-MM-DD` separated by commas, both ends
            included.
        days: How far from a single date a scene may be.

    Raises:
        ConfigError: It is neither, ends before it begins, or lies at an end of the calendar.
    """
    reach = datetime.timedelta(0 if "/" in date else days)
    try:
        found = intervals(date)
        return tuple(_interval(first - reach, last + reach, False) for first, last in found)
    except OverflowError as exc:
        raise ConfigError(f"found the date {date!r}; expected one of the years 2 to 9998") from exc


def days_off(date: str, when: str) -> int:
    """Return how many days a date is from what was asked for; 0 inside an interval.

    Args:
        date: `YYYY-MM-DD`.
        when: As `around` takes it.

    Raises:
        ConfigError: One of them is no date.
    """
    ((day, _),) = intervals(date)
    return min(max((first - day).days, (day - last).days, 0) for first, last in intervals(when))


def days_of(when: str) -> list[str]:
    """Return every day of what was asked for, in order, each once.

    Raises:
        ConfigError: It is no date and no interval.
    """
    days = set()
    for first, last in intervals(when):
        days |= set(range(first.toordinal(), last.toordinal() + 1))
    return [datetime.date.fromordinal(day).isoformat() for day in sorted(days)]


def _interval(first: datetime.date, last: datetime.date, last_excluded: bool) -> Interval:
    after = last if last_excluded else last + datetime.timedelta(1)
    return first.isoformat(), after.isoformat()
