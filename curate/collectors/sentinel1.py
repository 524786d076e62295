"""Sentinel-1 backscatter: the nearest ascending and the nearest descending scene."""

from __future__ import annotations

from typing import Any

import ee

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import (
    Collector,
    Facts,
    Place,
    Seen,
    image_id,
    of_pixels,
)

SCENES = "COPERNICUS/S1_GRD"
_ORBITS = {"asc": "ASCENDING", "desc": "DESCENDING"}
_NODATA = -9999.0


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    near = (
        place.in_season(ee.ImageCollection(SCENES))
        .filterBounds(place.region)
        .filter(ee.Filter.eq("instrumentMode", "IW"))
        .filter(ee.Filter.contains(".geo", place.covered))
        .map(lambda scene: scene.set("days", scene.date().difference(date, "day").abs()))
    )
    return {orbit: _nearest(near, name) for orbit, name in _ORBITS.items()}


def _nearest(near: Any, orbit: str) -> Any:
    """Return a list of the nearest scene of an orbit; it is empty where there is none."""
    found = near.filter(ee.Filter.eq("orbitProperties_pass", orbit)).sort("days").limit(1)
    return found.toList(1).map(_describe)


def _describe(scene: Any) -> Any:
    image = ee.Image(scene)
    return ee.Dictionary(
        {
            "index": image.get("system:index"),
            "version": image.get("system:version"),
            "time": image.get("system:time_start"),
            "bands": image.bandNames(),
        }
    )


def _draw(place: Place, date: str, facts: Facts) -> Any:
    if not any(facts[orbit] for orbit in _ORBITS):
        return None
    bands = [
        _band(facts, *band.name.split("_")) for band in MMEARTH_BENCH.layers["sentinel1"].bands
    ]
    return ee.Image.cat(bands)


def _band(facts: Facts, orbit: str, polarisation: str) -> Any:
    """Return one band in decibels; all of it is no-data where no such band was acquired."""
    for scene in facts[orbit]:
        if polarisation in scene["bands"]:
            image = ee.Image(f"{SCENES}/{scene['index']}").select(polarisation).toFloat()
            return image.resample("bilinear").unmask(_NODATA, False)
    return ee.Image.constant(_NODATA).toFloat()


def _read(seen: Seen) -> Observation:
    scenes = [scene for orbit in _ORBITS for scene in seen.facts[orbit]]
    if not scenes:
        raise NoDataError("no Sentinel-1 scene of either orbit covers the tile in its season")
    ids = tuple(sorted(image_id(SCENES, scene) for scene in scenes))
    return of_pixels(seen, seen.date, ids)


COLLECTOR = Collector(_ask, _draw, _read)
