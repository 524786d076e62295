"""Of what month a raster's bands are, where the file says so."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cftime

from mmearth.curate.sources.files.axes import read_variable

_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL = re.compile(
    r"(jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)"
    r"(uary|ruary|ch|il|ust|ember|tember|ober)?",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?<!\d)((?:18|19|20|21)\d\d)-?(\d\d)(?:-?\d\d)?(?!\d)")
_SHIFT = {
    None: datetime.timedelta(),
    "start": datetime.timedelta(hours=14),
    "end": datetime.timedelta(hours=-14),
}
"""To a moment of the month itself: midnight somewhere on Earth is up to 14 hours off UTC's."""
_MIDDLE = 15  # day of a month that is counted as a whole
Stamps = Literal["start", "end"]
"""What of a month its moment is."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month, of a year or of none."""

    year: int | None
    """None for a month of a climatology."""
    month: int
    """1 to 12."""


def of_times(dataset: Any) -> bool:
    """Return whether the bands of an open raster are moments in time, by its own axis."""
    if dataset.driver == "GRIB":
        return len({dataset.tags(i).get("GRIB_VALID_TIME") for i in dataset.indexes}) > 1
    return dataset.driver == "netCDF" and bool(_time_axis(dataset.tags()))


def months_of(dataset: Any, stamps: Stamps | None = None) -> list[Month | None]:
    """Return the month of each band of an open raster, None where the file tells none.

    It is told by the time axis of a NetCDF file in any calendar, or of dates as numbers (20201101,
    202011), a dimension `month` from 1 to 12,
    GRIB's time of validity, or the bands' descriptions: `March`, `2020-03`, `tas_11`.

    Args:
        dataset: The raster.
        stamps: What of a month a moment is, where it lies within half a day of two.
    """
    if moments := _moments(dataset):
        return [None if moment is None else _month(moment, stamps) for moment in moments]
    return _of_netcdf(dataset) if dataset.driver == "netCDF" else _of_descriptions(dataset)


def is_ambiguous(dataset: Any) -> bool:
    """Return whether an open raster's moments may be its months' starts, or their ends.

    Each lies where one month becomes the next, and as they are read the months are no whole years
    while the other way they are: from 1 February to 1 January, the starts of February to January,
    or rather the ends of January to December.
    """
    moments = _moments(dataset)
    if not moments or len(moments) % 12 or None in moments:
        return False
    if any(_month(moment, "start") == _month(moment, "end") for moment in moments):
        return False
    first = min(moments)
    read = _month(first, None)
    [other] = {_month(first, "start"), _month(first, "end")} - {read}
    return read.month != 1 and other.month == 1


def _moments(dataset: Any) -> list[Any]:
    """Return the moment of each band, on the file's calendar; nothing where it has no such axis."""
    tags = dataset.tags()
    if dataset.driver == "GRIB":
        found = [_of_grib(dataset.tags(i)) for i in dataset.indexes]
    elif dataset.driver == "netCDF" and (time := _time_axis(tags)) is not None:
        group, slash, name = time.rpartition("/")
        unit, calendar = tags[f"{time}#units"], tags.get(f"{time}#calendar", "standard")
        numbers = [_number(dataset.tags(i).get(f"NETCDF_DIM_{name}")) for i in dataset.indexes]
        bounds = tags.get(f"{time}#bounds")
        if bounds is not None and len(_dimensions(tags)) == 1:
            numbers = _middles(dataset, group + slash + bounds, numbers)
        found = [_since(number, unit, calendar) for number in numbers]
    else:
        return []
    return found


def _month(moment: Any, stamps: Stamps | None) -> Month:
    shifted = moment + _SHIFT[stamps]
    return Month(shifted.year, shifted.month)


def _of_netcdf(dataset: Any) -> list[Month | None]:
    tags = dataset.tags()
    names = _dimensions(tags)
    values = [dataset.tags(i) for i in dataset.indexes] if names else []
    written = [name for name in names if name.lower() in ("time", "date", "valid_time")]
    if written:
        found = [_of_digits(band.get(f"NETCDF_DIM_{written[0]}")) for band in values]
        if any(found):
            return found
    months = _numbered([band.get(f"NETCDF_DIM_{names[0]}") for band in values]) if names else []
    if months and len(names) == 1:
        return list(months)
    return [None] * dataset.count


def _numbered(texts: Sequence[str | None]) -> list[Month]:
    """Return the months that twelve numbers from 1, or from 0, name; nothing of other numbers."""
    numbers = [_number(text) for text in texts]
    for first in (1, 0):
        if sorted(n for n in numbers if n is not None) == list(range(first, first + 12)):
            return [Month(None, int(n) - first + 1) for n in numbers if n is not None]
    return []


def _dimensions(tags: Mapping[str, str]) -> list[str]:
    """Return the dimensions of a NetCDF variable besides its two of space."""
    return re.findall(r"[^{},]+", tags.get("NETCDF_DIM_EXTRA", ""))


def _time_axis(tags: Mapping[str, str]) -> str | None:
    """Return the dimension that is moments in time, with the group that it lies in."""
    found = [
        key.removesuffix("#units")
        for name in _dimensions(tags)
        for key, text in tags.items()
        if key.rpartition("/")[2] == f"{name}#units" and " since " in text
    ]
    return max(found, key=len) if found else None  # the variable's own group before the root


def _middles(dataset: Any, bounds: str, moments: list[float | None]) -> list[float | None]:
    """Return the middles of a time axis's intervals: some models stamp a month with its end."""
    found = read_variable(dataset, bounds)
    if found is None or found.shape != (len(moments), 2):
        return moments
    middles = found.mean(axis=1)
    rising = moments[0] is None or moments[-1] is None or moments[0] <= moments[-1]
    # GDAL may lay rows that have no place on the Earth from the bottom up.
    return list(middles if (middles[0] <= middles[-1]) == rising else middles[::-1])


def _since(number: float | None, unit: str, calendar: str) -> Any:
    """Return the moment of a value of a CF time axis, on its calendar; None where it is none."""
    if number is None:
        return None
    try:
        if re.match(r"\s*months?\s", unit, re.IGNORECASE):
            # Of varying length: counted in whole months, as their writers mean it.
            start = cftime.num2date(0, re.sub(r"^\s*\S+", "days", unit), calendar)
            months = start.year * 12 + start.month - 1 + int(number // 1)
            return start.replace(year=months // 12, month=months % 12 + 1, day=_MIDDLE)
        return cftime.num2date(number, unit, calendar)
    except (ValueError, OverflowError):
        return None


def _of_grib(tags: dict[str, str]) -> datetime.datetime | None:
    seconds = re.match(r"\s*(-?\d+)", tags.get("GRIB_VALID_TIME", ""))
    if seconds is None:
        return None
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return epoch + datetime.timedelta(seconds=int(seconds[1]))


def _of_descriptions(dataset: Any) -> list[Month | None]:
    """Return the months that descriptions name, or number: `tas_11`, `tas_11_1981-2010`."""
    texts: Sequence[str | None] = dataset.descriptions
    found: list[Month | None] = [_of_text(text) for text in texts]
    groups = [re.findall(r"\d+", text or "") for text in texts]
    if not any(found) and len({len(digits) for digits in groups}) == 1:
        for column in reversed(list(zip(*groups, strict=True))):
            if months := _numbered(column):
                return list(months)
    return found


def _of_text(text: str | None) -> Month | None:
    """Return the month that a description names: `March`, `Mar`, `2020-03`, `202003`."""
    words = re.findall(r"[A-Za-z]+", text or "")
    named = [word for word in words if _FULL.fullmatch(word)]
    if len(named) == 1:
        return Month(None, _NAMES.index(named[0][:3].lower()) + 1)
    dated = _DATE.search(text or "")
    if dated is not None and 1 <= int(dated[2]) <= 12:
        return Month(int(dated[1]), int(dated[2]))
    return None


def _of_digits(text: str | None) -> Month | None:
    """Return the month of a date that is written as a number: 20201101, 202011."""
    found = re.match(r"(\d{4})(\d\d)(\d\d)?(\.\d*)?$", text or "")
    if found is None or not 1 <= int(found[2]) <= 12 or not 1800 <= int(found[1]) <= 2200:
        return None
    return Month(int(found[1]), int(found[2]))


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
