"""Dynamic World: the most frequent land-cover class of the anchor's calendar year."""

from __future__ import annotations

from typing import Any

import ee

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import (
    Collector,
    Facts,
    Place,
    Seen,
    ask_images,
    image_ids,
    of_pixels,
)

SCENES = "GOOGLE/DYNAMICWORLD/V1"
_NODATA = 9


def _year(place: Place, year: Any) -> Any:
    """Return the images of a calendar year over a place."""
    first, last = ee.Date.fromYMD(year, 1, 1), ee.Date.fromYMD(year, 12, 31)
    after = last if place.quirks.ends_excluded else last.advance(1, "day")
    return ee.ImageCollection(SCENES).filterDate(first, after).filterBounds(place.region)


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    return ask_images(_year(place, date.get("year")))


def _draw(place: Place, date: str, facts: Facts) -> Any:
    if not facts["indices"]:
        return None
    mode = _year(place, int(date[:4])).select("label").mode()
    return mode.unmask(_NODATA, False).toUint8()


def _read(seen: Seen) -> Observation:
    year = seen.date[:4]
    if not seen.facts["indices"]:
        raise NoDataError(f"no Dynamic World image of {year} touches the tile")
    return of_pixels(seen, year, image_ids(SCENES, seen.facts))


COLLECTOR = Collector(_ask, _draw, _read, ("ends_excluded",))
