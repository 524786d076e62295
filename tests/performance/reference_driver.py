"""How the published collector asks Earth Engine for one tile: 43 requests, one after the other.

What each asks follows counts made on its public code: 16 for Sentinel-2, 17 for Sentinel-1, one
for each of ASTER, canopy, WorldCover, ERA5 and ecoregion, two for Dynamic World, one for the band
names, one for the download address and one for the download. Here the last two are a small value
and the pixels, as the loopback service makes no addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ee

from mmearth.catalog.tile import Tile
from mmearth.curate.collectors import (
    aster_gdem,
    climate,
    dynamic_world,
    esa_worldcover,
    eth_gch,
    regions,
    sentinel1,
    sentinel2,
)
from mmearth.curate.collectors.collector import Place
from mmearth.curate.recipes import RECIPES
from mmearth.curate.seasons import season

QUIRKS = RECIPES["mmearth-bench-2026"]
N_REQUESTS = 43


def visit(tile: Tile) -> int:
    """Ask all there is to ask about one tile; return how many requests it took."""
    place = Place(tile, season(tile.lat, QUIRKS), None, QUIRKS)
    found = sentinel2.scenes(place)
    seen, clear = found.seen, found.clear
    scene = ee.Image(clear.first())
    n = 0
    for question in _questions(place, seen, clear, scene):
        question.getInfo()
        n += 1
    grid = {
        "dimensions": {"width": 128, "height": 128},
        "affineTransform": {
            **{"scaleX": 10, "shearX": 0, "translateX": tile.left},
            **{"shearY": 0, "scaleY": -10, "translateY": tile.top},
        },
        "crsCode": f"EPSG:{tile.epsg}",
    }
    bands = scene.select([f"B{i}" for i in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12)])
    request = {"expression": bands.unmask(65535, False), "fileFormat": "NPY", "grid": grid}
    ee.data.computePixels(request)
    return n + 1


def _questions(place: Place, seen: Any, clear: Any, scene: Any) -> Iterator[Any]:
    date = scene.date()
    yield from (seen.size(), clear.size(), clear.limit(5).size(), seen.limit(5).size())
    for band in ("B4", "MSK_CLDPRB", "SCL"):
        yield scene.select(band).projection().nominalScale()
    yield from (scene.get("system:index"), date.format("YYYY-MM-dd"))
    yield from (scene.select("B4").projection().crs(), place.point.coordinates())
    yield from (scene.get(name) for name in ("MSK_CLDPRB", "probability", "SCL"))
    yield from (scene.bandNames(), place.mean(scene.select("B4").mask()))
    orbits = sentinel1.COLLECTOR.ask(place, None, ee.Date(date.format("YYYY-MM-dd")))
    for i in range(17):
        yield ee.List(orbits["asc" if i % 2 else "desc"]).size().add(i)
    yield ee.Image(aster_gdem.MAP).bandNames()
    yield ee.Image(eth_gch.HEIGHT).bandNames()
    yield (
        ee.ImageCollection(dynamic_world.SCENES)
        .filterBounds(place.region)
        .filterDate("2020-06-01", "2020-07-01")
        .size()
    )
    yield ee.Image(esa_worldcover.MAP).bandNames()
    yield dynamic_world.COLLECTOR.ask(place, None, ee.Date("2020-06-01"))["indices"]
    month = ee.ImageCollection(climate.MONTHS).filterDate("2020-06-01", "2020-07-01").mean()
    yield place.mean(month.select("temperature_2m"))
    yield (
        ee.FeatureCollection(regions.POLYGONS).filterBounds(place.point).aggregate_array("ECO_NAME")
    )
    yield scene.bandNames().size()
    yield scene.bandNames().length()
