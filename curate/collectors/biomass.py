"""Above-ground biomass: GEDI L4A footprints, which also decide the tile's season."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ee

from mmearth.catalog.anchor import YEAR
from mmearth.catalog.errors import NoDataError
from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import Collector, Facts, Place, Seen, of_pixels

TABLES = "LARSE/GEDI/GEDI04_A_002"
"""The folder of GEDI L4A's tables, one a granule."""
INDEX = f"{TABLES}_INDEX"
CIRCLE_M = 650
"""Footprints this near to the centre decide the season (MMEarth-Bench §3)."""
MOST = 2000.0
"""Mg/ha; greater values are no measurement of a forest (MMEarth-Bench §3)."""
_NODATA = -9999.0
_KEEP = (
    ("degrade_flag", "equals", 0),
    ("l2_quality_flag", "equals", 1),
    ("l4_quality_flag", "equals", 1),
    ("leaf_off_flag", "equals", 0),
    ("region_class", "greater_than", 0),
    ("agbd", "not_greater_than", MOST),
)
"""The published quality filters (MMEarth-Bench §3), beside leaf_off_doy > leaf_on_doy."""


def good(granule: str) -> Any:
    """Return the footprints of a granule that pass the published filters."""
    kept = [_compare(name, operator, value) for name, operator, value in _KEEP]
    late = ee.Filter.greaterThan(leftField="leaf_off_doy", rightField="leaf_on_doy")
    return ee.FeatureCollection(granule).filter(ee.Filter.And(*kept, late))


def footprints(granules: Iterable[str], around: Any) -> Any:
    """Return the good footprints of some granules inside a geometry, one collection.

    One list of tables, as published: its depth is the same for one granule and for a thousand.
    """
    tables = [good(granule).filterBounds(around) for granule in granules]
    return ee.FeatureCollection(tables).flatten() if tables else ee.FeatureCollection([])


def _compare(name: str, operator: str, value: float) -> Any:
    if operator == "equals":
        return ee.Filter.eq(name, value)
    return ee.Filter.gt(name, value) if operator == "greater_than" else ee.Filter.lte(name, value)


def in_season(place: Place, collection: Any) -> Any:
    """Return the images that begin while one of the footprints had its leaves on.

    Source:
        MMEarth-Bench §3: one window for each (leaf_on_doy, leaf_off_doy) within 650 m, in 2020.
    """
    near = footprints(place.granules or (), place.point.buffer(CIRCLE_M)).distinct(
        ["leaf_on_doy", "leaf_off_doy"]
    )
    on, off = near.aggregate_array("leaf_on_doy"), near.aggregate_array("leaf_off_doy")
    first = ee.Date(f"{YEAR}-01-01")
    # A day of the year counts from 1; the published rule added it to 1 January, and left the
    # last day out.
    base, last = (0, -1) if place.quirks.leaf_days_late else (1, 0)

    def mark(image: Any) -> Any:
        day = image.date().difference(first, "day").floor().add(base)
        inside = on.zip(off).map(
            lambda pair: (
                ee.Number(ee.List(pair).get(0))
                .lte(day)
                .And(ee.Number(ee.List(pair).get(1)).add(last).gte(day))
            )
        )
        return image.set("in_leaf", inside.contains(1))

    of_year = collection.filterDate(first, first.advance(1, "year")).filterBounds(place.region)
    return of_year.map(mark).filter(ee.Filter.eq("in_leaf", True))


def _area(place: Place) -> Any:
    return place.point.buffer(CIRCLE_M) if place.quirks.labels_in_circle else place.region


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    inside = footprints(place.granules or (), _area(place))
    return {
        "count": inside.size(),
        "leaf_on": inside.distinct(["leaf_on_doy"]).aggregate_array("leaf_on_doy"),
    }


def _draw(place: Place, date: str, facts: Facts) -> Any:
    if not facts["count"]:
        return None
    blank = ee.Image.constant(_NODATA).toFloat()
    return blank.paint(footprints(place.granules or (), _area(place)), "agbd")


def _read(seen: Seen) -> Observation:
    if not seen.facts["count"]:
        raise NoDataError("no good GEDI footprint lies on the tile")
    ids = tuple(sorted(seen.place.granules or ()))
    return of_pixels(seen, str(YEAR), ids)


COLLECTOR = Collector(_ask, _draw, _read, ("leaf_days_late", "labels_in_circle"))
