"""Of what month a raster's bands are, where the file says so."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any

import cftime

_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL = re.compile(
    r"(jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)"
    r"(uary|ruary|ch|il|ust|ember|tember|ober)?",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?<!\d)(\d{4})-(\d\d)(?:-\d\d)?(?!\d)")


@dataclass(frozen=True, slots=True)
class Month:
    """A month, of a year or of none."""

    year: int | None
    """None for a month of a climatology."""
    month: int
    """1 to 12."""
    of_axis: bool = True
    """Told by an axis of the file, not by a band's description."""


def months_of(dataset: Any) -> list[Month | None]:
    """Return the month of each band of an open raster, None where the file tells none.

    It is told by the time axis of a NetCDF file in any calendar, a dimension `month` from 1 to 12,
    GRIB's time of validity, or a band's description: `March`, `2020-03`.
    """
    if dataset.driver == "netCDF":
        found = _of_netcdf(dataset)
    elif dataset.driver == "GRIB":
        found = [_of_grib(dataset.tags(i)) for i in dataset.indexes]
    else:
        found = [_of_text(text) for text in dataset.descriptions]
    return found


def _of_netcdf(dataset: Any) -> list[Month | None]:
    tags = dataset.tags()
    names = re.findall(r"[^{},]+", tags.get("NETCDF_DIM_EXTRA", ""))
    times = [name for name in names if " since " in tags.get(f"{name}#units", "")]
    values = [dataset.tags(i) for i in dataset.indexes] if names else []
    if times:
        unit = tags[f"{times[0]}#units"]
        calendar = tags.get(f"{times[0]}#calendar", "standard")
        return [_since(band.get(f"NETCDF_DIM_{times[0]}"), unit, calendar) for band in values]
    numbered = [name for name in names if name.lower() in ("month", "months")]
    if numbered:
        numbers = [_whole(band.get(f"NETCDF_DIM_{numbered[0]}")) for band in values]
        if all(number is not None and 1 <= number <= 12 for number in numbers):
            return [Month(None, number) for number in numbers if number is not None]
    return [None] * dataset.count


def _since(value: str | None, unit: str, calendar: str) -> Month | None:
    """Return the month of a value of a CF time axis."""
    try:
        number = float(value or "")
        if re.match(r"\s*months?\s", unit, re.IGNORECASE):
            # Of varying length: counted in whole months, as their writers mean it.
            start = cftime.num2date(0, re.sub(r"^\s*\S+", "days", unit), calendar)
            months = start.year * 12 + start.month - 1 + int(number // 1)
            return Month(months // 12, months % 12 + 1)
        found = cftime.num2date(number, unit, calendar)
    except (ValueError, OverflowError):
        return None
    return Month(found.year, found.month)


def _of_grib(tags: dict[str, str]) -> Month | None:
    seconds = re.match(r"\s*(-?\d+)", tags.get("GRIB_VALID_TIME", ""))
    if seconds is None:
        return None
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    found = epoch + datetime.timedelta(seconds=int(seconds[1]))
    return Month(found.year, found.month)


def _of_text(text: str | None) -> Month | None:
    """Return the month that a description names: `March`, `Mar`, `2020-03`."""
    words = re.findall(r"[A-Za-z]+", text or "")
    named = [word for word in words if _FULL.fullmatch(word)]
    if len(named) == 1:
        return Month(None, _NAMES.index(named[0][:3].lower()) + 1, False)
    dated = _DATE.search(text or "")
    if dated is not None and 1 <= int(dated[2]) <= 12:
        return Month(int(dated[1]), int(dated[2]), False)
    return None


def _whole(text: str | None) -> int | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return int(number) if number == int(number) else None
