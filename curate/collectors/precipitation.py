"""Precipitation of ERA5-Land: last month, month and year, in metres."""

from __future__ import annotations

from typing import Any

from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.climate import ask_months, read_values
from mmearth.curate.collectors.collector import Collector, Place, Seen

_BAND = "total_precipitation_sum"
_ORDER = [("last_month", _BAND), ("month", _BAND), ("year", _BAND)]


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    return ask_months(place, date, [_BAND], lambda months: months.sum())


def _read(seen: Seen) -> Observation:
    return read_values(seen, "precipitation", _ORDER)


COLLECTOR = Collector(_ask, None, _read, ("january_looks_ahead",))
