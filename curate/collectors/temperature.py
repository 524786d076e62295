"""Temperature of ERA5-Land: maximum, mean and minimum of last month, month and year, in kelvin."""

from __future__ import annotations

from typing import Any

from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.climate import ask_months, read_values
from mmearth.curate.collectors.collector import Collector, Place, Seen

_MEAN, _LOW, _HIGH = "temperature_2m", "temperature_2m_min", "temperature_2m_max"
_ORDER = [
    (period, band) for period in ("last_month", "month", "year") for band in (_HIGH, _MEAN, _LOW)
]


def _year(months: Any) -> Any:
    """Return the mean of the means, the least of the minima and the greatest of the maxima."""
    extremes = months.select([_LOW]).min().addBands(months.select([_HIGH]).max())
    return months.select([_MEAN]).mean().addBands(extremes)


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    return ask_months(place, date, [_MEAN, _LOW, _HIGH], _year)


def _read(seen: Seen) -> Observation:
    return read_values(seen, "temperature", _ORDER)


COLLECTOR = Collector(_ask, None, _read, ("january_looks_ahead",))
