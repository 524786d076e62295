"""Sentinel-2 surface reflectance: the scene that fixes the tile's date, and its twelve bands."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ee

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import (
    CIRCLE_M,
    MARGIN_M,
    Collector,
    Facts,
    Place,
    Seen,
    image_id,
    of_pixels,
)

SCENES = "COPERNICUS/S2_SR_HARMONIZED"
CLOUDS = "COPERNICUS/S2_CLOUD_PROBABILITY"
LIMIT = 0.1
"""Share of cloudy, and of absent, pixels from which a scene is refused (MMEarth-Bench §3)."""
CLOUDY = 10
"""Per cent of cloud probability from which a pixel is cloudy (MMEarth-Bench §3)."""
_BANDS = [band.name for band in MMEARTH_BENCH.layers["sentinel2"].bands]
_NODATA = 65535
# Larger than any other part of a scene's rank: days, or a quality between 0 and 1.
_OTHER_ZONE = 1e6


@dataclass(frozen=True, slots=True)
class Scenes:
    """Collections of scenes that cover a place in its season, as expressions."""

    seen: Any
    """All of them."""
    masked: Any
    """Those with the band MSK_CLDPRB."""
    judged: Any
    """Those of `masked` with a partner in CLOUDS: others cannot be judged, as published."""
    clear: Any
    """Those of `judged` that pass every test, best first."""

    @property
    def counts(self) -> Any:
        """How many there are of each but the last, as an expression of a dictionary."""
        parts = {"seen": self.seen, "masked": self.masked, "judged": self.judged}
        return ee.Dictionary({name: part.size() for name, part in parts.items()})


def scenes(place: Place) -> Scenes:
    """Return the scenes that cover a place in its season.

    The published tests in their order: the scene's footprint, cloud probability of Sen2Cor, of
    s2cloudless, and absent pixels. Each later test is made only of what passed the earlier.

    Some products lack the band MSK_CLDPRB (google/earthengine-catalog, S2_SR: "missing in some
    products"; one such scene failed a year's composite in leftfield-geospatial/geedim#16), and
    some have no s2cloudless (Servir-Mekong/hydra-floods#47).
    """
    seen = place.in_season(ee.ImageCollection(SCENES))
    if place.quirks.clouds_on_circle:
        circle = place.point.buffer(CIRCLE_M)
        seen = seen.filterBounds(circle).filter(
            ee.Filter.contains(".geo", place.point.buffer(CIRCLE_M + MARGIN_M))
        )
    else:
        seen = seen.filterBounds(place.region).filter(ee.Filter.contains(".geo", place.covered))
    masked = seen.filter(ee.Filter.listContains("system:band_names", "MSK_CLDPRB"))
    clear = masked.map(lambda image: _judge(place, image, image, "MSK_CLDPRB", 20))
    clear = clear.filter(ee.Filter.lt("MSK_CLDPRB", LIMIT))
    others = place.in_season(ee.ImageCollection(CLOUDS)).filterBounds(place.region)
    same = ee.Filter.equals(leftField="system:index", rightField="system:index")
    clear = ee.ImageCollection(ee.Join.saveFirst("clouds").apply(clear, others, same))
    clear = clear.map(
        lambda image: _judge(place, image, ee.Image(image.get("clouds")), "probability", 10)
    )
    clear = clear.filter(ee.Filter.lt("probability", LIMIT))
    clear = clear.map(lambda image: _absent(place, image)).filter(ee.Filter.lt("SCL", LIMIT))
    clear = clear.map(lambda image: _rank(place, image)).sort("rank")
    judged = ee.Join.simple().apply(masked, others, same)
    return Scenes(seen, masked, judged, clear)


def no_scene(counts: Mapping[str, int]) -> str:
    """Return the reason of a place without a clear scene, from `Scenes.counts`."""
    seen, masked, judged = counts["seen"], counts["masked"], counts["judged"]
    reason = f"none of the {seen} Sentinel-2 scenes that cover the tile in its season is clear"
    lacking = [
        f"{n} without {what}"
        for n, what in (
            (seen - masked, "the band MSK_CLDPRB"),
            (masked - judged, "a partner in s2cloudless"),
        )
        if n
    ]
    return f"{reason}; not judged: {' and '.join(lacking)}" if lacking else reason


def _judge(place: Place, image: Any, clouds: Any, band: str, scale_m: int) -> Any:
    """Set the share of cloudy pixels; it stays unset where no pixel is valid."""
    cloudy = ee.Image(clouds).select(band).gte(CLOUDY)
    return image.set(band, place.mean(cloudy, scale_m).get(band))


def _absent(place: Place, image: Any) -> Any:
    absent = image.select("SCL").unmask(0).eq(0)
    return image.set("SCL", place.mean(absent, 20).get("SCL"))


def _rank(place: Place, image: Any) -> Any:
    """Set what the best scene has least of: days from the asked date, then what spoils it."""
    spoilt = ee.Number(image.get("SCL"))
    if not place.quirks.least_no_data:
        spoilt = spoilt.add(image.get("MSK_CLDPRB")).add(image.get("probability"))
    rank = spoilt
    if place.near is not None:
        midnight = ee.Date(image.date().format("YYYY-MM-dd"))
        rank = rank.add(midnight.difference(ee.Date(place.near), "day").abs().multiply(10))
    if not place.quirks.any_zone:
        # The index ends in the MGRS square, T32TQM, whose first digits are the zone.
        zone = ee.String(image.get("system:index")).slice(-5, -3)
        other = ee.Number(zone.compareTo(f"{place.tile.epsg % 100:02d}")).abs()
        rank = rank.add(other.multiply(_OTHER_ZONE))
    return image.set("rank", rank)


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    return {
        "index": image.get("system:index"),
        "version": image.get("system:version"),
        "time": image.get("system:time_start"),
        "cloudy": image.get("MSK_CLDPRB"),
        "cloudy_s2cloudless": image.get("probability"),
        "absent": image.get("SCL"),
    }


def day(facts: Facts) -> str:
    """Return the UTC day of a scene, `YYYY-MM-DD`."""
    seconds = facts["time"] / 1000
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def _draw(place: Place, date: str, facts: Facts) -> Any:
    image = ee.Image(f"{SCENES}/{facts['index']}").select(_BANDS)
    return image.toFloat().resample("bilinear").round().unmask(_NODATA, False).toUint16()


def _read(seen: Seen) -> Observation:
    return of_pixels(seen, seen.date, (image_id(SCENES, seen.facts),))


_QUIRKS = ("clouds_on_circle", "ends_excluded", "least_no_data", "any_zone")
COLLECTOR = Collector(_ask, _draw, _read, _QUIRKS)
