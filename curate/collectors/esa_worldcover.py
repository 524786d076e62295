"""ESA WorldCover 2020, with its codes 10, 20 … 100 made 0 to 10."""

from __future__ import annotations

from typing import Any

import ee

from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import Collector, Facts, Place, Seen, of_pixels
from mmearth.curate.collectors.static import ask_versions, ids

MAP = "ESA/WorldCover/v100/2020"
CODES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
"""The product's codes in the order of ours (ESA WorldCover Product User Manual v1.0, table 2)."""
_NODATA = 11


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    return ask_versions(MAP)


def _draw(place: Place, date: str, facts: Facts) -> Any:
    codes = ee.Image(MAP).select("Map").remap(list(CODES), list(range(len(CODES))))
    return codes.unmask(_NODATA, False).toUint8()


def _read(seen: Seen) -> Observation:
    return of_pixels(seen, "2020", ids(seen.facts))


COLLECTOR = Collector(_ask, _draw, _read)
