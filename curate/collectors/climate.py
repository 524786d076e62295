"""What the two collectors of climate share: ERA5-Land of a month, the one before, and a year."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ee
import numpy as np

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import Place, Seen, ask_images, image_ids

MONTHS = "ECMWF/ERA5_LAND/MONTHLY_AGGR"


def ask_months(
    place: Place, date: Any, bands: Sequence[str], year: Callable[[Any], Any]
) -> dict[str, Any]:
    """Return the part of the scalar expression with the means over the tile.

    Args:
        place: Where.
        date: The anchor date, as an expression.
        bands: What is taken of the months.
        year: Makes one image, of the same bands, from the twelve months that end with the anchor's.
    """
    months = ee.ImageCollection(MONTHS).select(list(bands))
    this = ee.Date.fromYMD(date.get("year"), date.get("month"), 1)
    last = this.advance(-1, "month")
    if place.quirks.january_looks_ahead:
        before = ee.Number(date.get("month")).add(10).mod(12).add(1)
        last = ee.Date.fromYMD(date.get("year"), before, 1)
    twelve = months.filterDate(this.advance(-11, "month"), this.advance(1, "month"))
    return {
        "last_month": _means(place, _of_month(months, last), _first),
        "month": _means(place, _of_month(months, this), _first),
        "year": _means(place, twelve, year),
        "year_images": ee.Dictionary(ask_images(twelve)),
        "last_images": ee.Dictionary(ask_images(_of_month(months, last))),
    }


def _of_month(months: Any, first: Any) -> Any:
    return months.filterDate(first, first.advance(1, "month"))


def _first(months: Any) -> Any:
    return ee.Image(months.first())


def _means(place: Place, months: Any, one: Callable[[Any], Any]) -> Any:
    """Return a list of the means of one image of some months; it is empty where there are none.

    An image that was made of none has no bands, and the service refuses to reduce it: "Need 1 bands
    for Reducer.mean, image has 0" (r-spatial/rgee#153).
    """
    return months.limit(1).toList(1).map(lambda _: place.mean(one(months)))


def read_values(seen: Seen, name: str, order: Sequence[tuple[str, str]]) -> Observation:
    """Return an observation of (period, band) values in order.

    Raises:
        NoDataError: The service has none there: the sea, or months not yet published.
    """
    year, last = seen.facts["year_images"], seen.facts["last_images"]
    if len(set(year["indices"])) < 12 or not last["indices"] or not seen.facts["month"]:
        raise NoDataError(f"ERA5-Land has no twelve months that end with {seen.date[:7]}")
    values = [seen.facts[period][0].get(band) for period, band in order]
    if any(value is None for value in values):
        raise NoDataError("ERA5-Land has no values here: the tile lies at sea")
    ids = tuple(sorted({*image_ids(MONTHS, year), *image_ids(MONTHS, last)}))
    return Observation(seen.layer, np.array(values, dtype=np.float64), seen.date[:7], "", ids)
