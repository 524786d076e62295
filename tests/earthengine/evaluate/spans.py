"""Filters of place and time, which an archive can look up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from mmearth.tests.earthengine.evaluate.dates import as_date, moment
from mmearth.tests.earthengine.evaluate.filters import (
    GEOMETRY_FIELDS,
    Filter,
    operands,
    prop,
)
from mmearth.tests.earthengine.evaluate.geometry import lonlat, region_of
from mmearth.tests.earthengine.evaluate.nouns import DateRange, Lambda, Picture, Region, refuse


def _spatial(test: Callable[[BaseGeometry, BaseGeometry], bool], touches: bool) -> Lambda:
    """Return the filter of a question about two geometries, asked in EPSG:4326."""

    def make(
        left_field: str | None, right_value: Any, right_field: str | None, left_value: Any, _: Any
    ) -> Filter:
        find = operands(left_field, right_value, right_field, left_value)

        def passes(left: Any, right: Any) -> bool:
            # An image without a footprint is everywhere; a feature without a geometry nowhere.
            a, b = (region_of(side) for side in find(left, right))
            if a is None or b is None:
                return touches and isinstance(left, Picture)
            return bool(test(lonlat(a), lonlat(b)))

        known = region_of(right_value if right_value is not None else left_value)
        stored = (left_field or right_field) in GEOMETRY_FIELDS
        bounds = lonlat(known) if touches and stored and known is not None else None
        return Filter(passes, bounds)

    return make


def _date_range_contains(
    left_field: str | None, right_value: Any, right_field: str | None, left_value: Any
) -> Filter:
    find = operands(left_field, right_value, right_field, left_value)

    def passes(left: Any, right: Any) -> bool:
        around, value = find(left, right)
        if not isinstance(around, DateRange) or value is None:
            return False
        return around.start <= as_date(value).millis < around.end

    stored = right_field == "system:time_start" and isinstance(left_value, DateRange)
    return Filter(passes, None, ((left_value.start, left_value.end),) if stored else None)


_FIELDS: dict[str, Callable[[Any], int]] = {
    "year": lambda t: int(t.year),
    "month": lambda t: int(t.month),
    "day_of_year": lambda t: int(t.timetuple().tm_yday),
    "day_of_month": lambda t: int(t.day),
    "day_of_week": lambda t: int(t.isoweekday()),
    "hour": lambda t: int(t.hour),
    "minute": lambda t: int(t.minute),
}


def _calendar(start: int, end: int | None, field: str = "day_of_year") -> Filter:
    """Pass where a field of the timestamp lies between two values, both included."""
    if field not in _FIELDS:
        raise refuse(f"Filter.calendarRange: Unrecognized field '{field}'.")
    last = start if end is None else end

    def passes(left: Any, _: Any) -> bool:
        stamp = prop(left, "system:time_start")
        if stamp is None:
            return False
        value = _FIELDS[field](moment(as_date(stamp)))
        return start <= value <= last if start <= last else value >= start or value <= last

    return Filter(passes)


def _has_geometry() -> Filter:
    return Filter(lambda left, _: isinstance(prop(left, ".geo"), Region))


FUNCTIONS: dict[str, Lambda] = {
    "Filter.calendarRange": _calendar,
    "Filter.contains": _spatial(shapely.contains, touches=True),
    "Filter.dateRangeContains": _date_range_contains,
    "Filter.dayOfYear": _calendar,
    "Filter.disjoint": _spatial(shapely.disjoint, touches=False),
    "Filter.hasGeometry": _has_geometry,
    "Filter.intersects": _spatial(shapely.intersects, touches=True),
}
