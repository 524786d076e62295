"""Dates in UTC: construction, calendar arithmetic, fields, text."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from mmearth.tests.earthengine.evaluate.nouns import Date, DateRange, Lambda, refuse

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

UNIT_MS = {
    "second": 1000.0,
    "minute": 60_000.0,
    "hour": 3_600_000.0,
    "day": 86_400_000.0,
    "week": 604_800_000.0,
    "month": 2_629_746_000.0,
    "year": 31_556_952_000.0,
}
"""Average lengths. Source: the Gregorian year of 365.2425 days."""

_ISO = "yyyy-MM-dd'T'HH:mm:ss"
_PIECES = r"'(?P<text>[^']*)'|(?P<token>(?P<letter>[A-Za-z])(?P=letter)*)|."
_TOKENS = {
    "yyyy": lambda t: f"{t.year:04d}",
    "YYYY": lambda t: f"{t.year:04d}",
    "y": lambda t: str(t.year),
    "MM": lambda t: f"{t.month:02d}",
    "M": lambda t: str(t.month),
    "dd": lambda t: f"{t.day:02d}",
    "d": lambda t: str(t.day),
    "DDD": lambda t: f"{t.timetuple().tm_yday:03d}",
    "D": lambda t: str(t.timetuple().tm_yday),
    "HH": lambda t: f"{t.hour:02d}",
    "H": lambda t: str(t.hour),
    "mm": lambda t: f"{t.minute:02d}",
    "m": lambda t: str(t.minute),
    "ss": lambda t: f"{t.second:02d}",
    "s": lambda t: str(t.second),
    "SSS": lambda t: f"{t.microsecond // 1000:03d}",
}
"""Letters of Joda-Time patterns that are known here."""


def moment(date: Date) -> datetime:
    """Return a date as Python has it."""
    return _EPOCH + timedelta(milliseconds=date.millis)


def dated(instant: datetime) -> Date:
    """Return a date of the service's kind."""
    return Date(round((instant - _EPOCH) / timedelta(milliseconds=1)))


def as_date(value: Any) -> Date:
    """Return the date that a number of milliseconds, a text or a date stands for."""
    if isinstance(value, Date):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refuse(f"Date: Cannot convert '{value}' to a date.")
    if isinstance(value, int | float):
        return Date(int(value))
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError as error:
        raise refuse(f"Date: Bad date/time '{value}'.") from error
    return dated(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def _utc(zone: str | None) -> None:
    if zone not in (None, "UTC", "GMT", "Etc/UTC"):
        raise refuse(f"Time zone '{zone}' is not known here; only UTC is.")


def _date(value: Any, zone: str | None) -> Date:
    _utc(zone)
    return as_date(value)


def _from_ymd(year: int, month: int, day: int, zone: str | None) -> Date:
    _utc(zone)
    try:
        return dated(datetime(year, month, day, tzinfo=UTC))
    except ValueError as error:
        raise refuse(f"Date.fromYMD: {error}.") from error


def _unit(unit: str) -> str:
    name = unit.lower().removesuffix("s")
    if name not in UNIT_MS:
        raise refuse(f"Unrecognized date unit '{unit}'.")
    return name


def _months(date: Date, months: int) -> Date:
    """Return the same day of another month, or that month's last."""
    instant = moment(date)
    year, month = divmod(instant.year * 12 + instant.month - 1 + months, 12)
    day = min(instant.day, calendar.monthrange(year, month + 1)[1])
    return dated(instant.replace(year=year, month=month + 1, day=day))


def advance(date: Date, delta: float, unit: str, zone: str | None = None) -> Date:
    """Return a date some units later; months and years follow the calendar."""
    _utc(zone)
    name = _unit(unit)
    if name in ("month", "year"):
        if delta != int(delta):
            raise refuse(f"Date.advance: {delta} {unit} is not known here; only whole ones are.")
        return _months(date, int(delta) * (12 if name == "year" else 1))
    return Date(date.millis + round(delta * UNIT_MS[name]))


def _difference(date: Date, start: Date, unit: str) -> float:
    return (date.millis - start.millis) / UNIT_MS[_unit(unit)]


def _floor(date: Date, unit: str) -> Date:
    """Return the beginning of the unit that a date lies in; weeks begin on Monday."""
    instant = moment(date).replace(microsecond=0)
    name = _unit(unit)
    if name == "week":
        instant -= timedelta(days=instant.weekday())
        name = "day"
    order = ("year", "month", "day", "hour", "minute", "second")
    clear: dict[str, int] = {
        later: 1 if later in ("month", "day") else 0 for later in order[order.index(name) + 1 :]
    }
    return dated(instant.replace(**clear))  # type: ignore[arg-type]


def _get(date: Date, unit: str, zone: str | None) -> int:
    _utc(zone)
    name = _unit(unit)
    instant = moment(date)
    return instant.isocalendar().week if name == "week" else int(getattr(instant, name))


def _relative(date: Date, unit: str, within: str, zone: str | None) -> int:
    """Return how many whole units have passed of a larger one."""
    _utc(zone)
    instant, begun = moment(date), moment(_floor(date, within))
    if _unit(unit) == "month":
        return (instant.year - begun.year) * 12 + instant.month - begun.month
    return int((instant - begun) / timedelta(milliseconds=UNIT_MS[_unit(unit)]))


def range_of(date: Date, unit: str, zone: str | None = None) -> DateRange:
    """Return the unit around a date."""
    begun = _floor(date, unit)
    return DateRange(begun.millis, advance(begun, 1, unit, zone).millis)


def _fraction(date: Date, unit: str, zone: str | None) -> float:
    around = range_of(date, unit, zone)
    return (date.millis - around.start) / (around.end - around.start)


def _format(date: Date, pattern: str | None, zone: str | None) -> str:
    """Return text by a Joda-Time pattern; letters that are not known here are refused."""
    _utc(zone)
    written, instant = [], moment(date)
    for match in re.finditer(_PIECES, pattern or _ISO):
        token = match["token"]
        if token is None:
            written.append(match["text"] if match["text"] is not None else match[0])
        elif token in _TOKENS:
            written.append(_TOKENS[token](instant))
        else:
            raise refuse(f"Date.format: '{token}' is not known here.")
    return "".join(written)


def _range(start: Any, end: Any, zone: str | None) -> DateRange:
    """Return an interval; without an end it is one millisecond long."""
    _utc(zone)
    first = as_date(start).millis
    last = first + 1 if end is None else as_date(end).millis
    return DateRange(first, max(first, last))


def _range_contains(around: DateRange, other: Any) -> bool:
    if isinstance(other, DateRange):
        return around.start <= other.start and other.end <= around.end
    return around.start <= as_date(other).millis < around.end


FUNCTIONS: dict[str, Lambda] = {
    "Date": _date,
    "Date.advance": advance,
    "Date.difference": _difference,
    "Date.format": _format,
    "Date.fromYMD": _from_ymd,
    "Date.get": _get,
    "Date.getFraction": _fraction,
    "Date.getRange": range_of,
    "Date.getRelative": _relative,
    "Date.millis": lambda date: date.millis,
    "DateRange": _range,
    "DateRange.contains": _range_contains,
    "DateRange.end": lambda around: Date(around.end),
    "DateRange.start": lambda around: Date(around.start),
}
