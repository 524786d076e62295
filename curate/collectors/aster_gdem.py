"""ASTER GDEM: elevation and slope."""

from __future__ import annotations

from typing import Any

import ee

from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import Collector, Facts, Place, Seen, of_pixels
from mmearth.curate.collectors.static import ask_versions, ids

MAP = "projects/sat-io/open-datasets/ASTER/GDEM"
_NODATA = -9999.0


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    return ask_versions(MAP)


def _draw(place: Place, date: str, facts: Facts) -> Any:
    raw = ee.Image(MAP).select("b1").toFloat()
    elevation = raw.updateMask(raw.neq(_NODATA))
    # The slope is taken on the map's own 30 m grid, then both are brought to the tile's.
    both = elevation.addBands(ee.Terrain.slope(elevation))
    return both.resample("bilinear").unmask(_NODATA, False)


def _read(seen: Seen) -> Observation:
    return of_pixels(seen, None, ids(seen.facts))


COLLECTOR = Collector(_ask, _draw, _read)
