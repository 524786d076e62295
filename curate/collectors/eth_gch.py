"""Canopy height of ETH Zürich and its uncertainty, 2020."""

from __future__ import annotations

from typing import Any

import ee

from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import Collector, Facts, Place, Seen, of_pixels
from mmearth.curate.collectors.static import ask_versions, ids

HEIGHT = "users/nlang/ETH_GlobalCanopyHeight_2020_10m_v1"
DEVIATION = "users/nlang/ETH_GlobalCanopyHeightSD_2020_10m_v1"
_NODATA = 255


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    return ask_versions(HEIGHT, DEVIATION)


def _draw(place: Place, date: str, facts: Facts) -> Any:
    both = ee.Image(HEIGHT).addBands(ee.Image(DEVIATION)).toFloat()
    return both.resample("bilinear").unmask(_NODATA, False)


def _read(seen: Seen) -> Observation:
    return of_pixels(seen, "2020", ids(seen.facts))


COLLECTOR = Collector(_ask, _draw, _read)
