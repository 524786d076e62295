"""The anchor date of a sample where no Sentinel-2 image fixes it, and the intervals it comes from.

A label, or `date:` of the configuration, asks for a day or for intervals; without either the
published season is asked for. One rule makes a day of all of them: the middle day of the longest
interval. So the month and the weather of a sample are of the time that its images would be of.
"""

from __future__ import annotations

import datetime

from mmearth.catalog.errors import ConfigError

YEAR = 2020
"""The published year (MMEarth-Bench §3)."""
Interval = tuple[datetime.date, datetime.date]
"""First and last day, both included."""
# First and last days of the published seasons (MMEarth-Bench §3, date windows).
_NORTH = (((5, 1), (9, 30)),)
_SOUTH = (((1, 1), (3, 31)), ((11, 1), (12, 31)))


def intervals(when: str) -> tuple[Interval, ...]:
    """Return the intervals that a date or intervals mean, in their order.

    Args:
        when: `YYYY-MM-DD`, or intervals `YYYY-MM-DD/YYYY-MM-DD` separated by commas.

    Raises:
        ConfigError: It is neither, or an interval ends before it begins.
    """
    if "/" not in when:
        return ((_day(when), _day(when)),)
    ends = [part.partition("/") for part in when.split(",")]
    found = tuple((_day(first), _day(last)) for first, _, last in ends)
    if any(first > last for first, last in found):
        raise ConfigError(f"found the dates {when!r}; expected none to end before it begins")
    return found


def normalised(when: str) -> str:
    """Return a date or intervals as they are written here: `YYYY-MM-DD`, ends joined by `/`.

    Raises:
        ConfigError: See `intervals`.
    """
    ends = ([first.isoformat(), last.isoformat()] for first, last in intervals(when))
    return ",".join("/".join(pair if "/" in when else pair[:1]) for pair in ends)


def leaf_season(lat: float, year: int = YEAR) -> tuple[Interval, ...]:
    """Return when plants are in leaf: May to September, south of the equator November to March.

    Args:
        lat: Degrees north; the equator counts as north.
        year: Of all intervals.
    """
    return tuple(
        (datetime.date(year, *first), datetime.date(year, *last))
        for first, last in (_NORTH if lat >= 0 else _SOUTH)
    )


def anchor_date(when: str | None, lat: float) -> str:
    """Return the day that stands for what was asked for, `YYYY-MM-DD`.

    It is the middle day of the longest interval, of equally long ones of the first; of an even
    number of days the earlier of the two in the middle. A day stands for itself. Where nothing was
    asked for it is that of the leaf season: 16 July 2020, south of the equator 15 February 2020.

    Args:
        when: As `intervals` takes it; None where neither label nor configuration has a date.
        lat: Of the tile's centre, degrees north.

    Raises:
        ConfigError: See `intervals`.
    """
    found = leaf_season(lat) if when is None else intervals(when)
    first, last = max(found, key=lambda interval: interval[1] - interval[0])
    return (first + (last - first) // 2).isoformat()


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(
            f"found the date {text!r}; expected YYYY-MM-DD or YYYY-MM-DD/YYYY-MM-DD"
        ) from exc
