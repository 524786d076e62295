"""Places of biomass straight from Earth Engine: GEDI footprints, balanced over ecoregions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import ee
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import lonlat_bounds, tiles_at
from mmearth.curate.collectors.biomass import footprints
from mmearth.curate.collectors.regions import ICE, POLYGONS
from mmearth.curate.overlap import OUTER_MARGIN_M
from mmearth.curate.source import Label
from mmearth.curate.sources.earthengine.absent import AbsentError
from mmearth.curate.sources.earthengine.granules import drop_granule, granule_index
from mmearth.curate.sources.earthengine.service import Service

LAST_LAT = 51.6
"""Degrees: the space station that carries GEDI goes no further north or south."""
_GRANULES = 16  # in one request: most shares are full after a few
_SPARE = 4  # candidates for each place that is wanted, as some overlap
_COARSE_M = 5000  # of areas that only decide shares


@dataclass(frozen=True, slots=True)
class Region:
    """One ecoregion, as far as GEDI sees it."""

    name: str
    """RESOLVE's ECO_NAME."""
    outline: shapely.Geometry
    """Its bounding box in EPSG:4326."""
    share: int
    """How many places it gives."""


def biomass_labels(service: Service, grid: Grid, count: int, seed: int) -> Iterator[Label]:
    """Yield places of biomass: footprints that pass the published filters, tiles apart.

    Args:
        service: Earth Engine.
        grid: Of the tiles.
        count: How many in all, about: the shares of biomes and ecoregions are rounded up.
        seed: The same seed chooses the same places.

    Raises:
        ConfigError: The service knows no footprint in any ecoregion.
        SourceError: See `Service.features`.

    Source:
        MMEarth-Bench §3: ceil(count / biomes) places a biome, dealt to its ecoregions by their
        area between 51.6° S and N, drawn at random and de-overlapped. The published way exported
        whole ecoregions by batch jobs; here granules are drawn, a few a request, until a share is
        full.
    """
    index = granule_index(service)
    found = 0
    for number, region in enumerate(_regions(service, count)):
        rng = np.random.default_rng([seed, number])
        granules = rng.permutation(list(index.touching(region.outline))).tolist()
        for label in _draw(service, grid, region, granules, seed):
            found += 1
            yield label
    if not found:
        raise ConfigError("Earth Engine has no good GEDI footprint in any ecoregion")


def _regions(service: Service, count: int) -> list[Region]:
    """Return the ecoregions that GEDI sees, by name, each with its share."""
    rows = sorted(
        (row["properties"]["ECO_NAME"], row["properties"]["BIOME_NAME"], row)
        for row in service.features(service.made(_outlines))
        if row["properties"]["area"] > 0
    )
    area: dict[str, float] = {}
    for _, biome, row in rows:
        area[biome] = area.get(biome, 0.0) + row["properties"]["area"]
    each = math.ceil(count / max(len(area), 1))
    regions = []
    for name, biome, row in rows:
        # Not what the last bit has lifted above a whole number.
        share = math.ceil(round(each * row["properties"]["area"] / area[biome], 9))
        regions.append(Region(name, shape(row["geometry"]), share))
    return regions


def _outlines() -> Any:
    band = ee.Geometry.Rectangle([-180, -LAST_LAT, 180, LAST_LAT], geodesic=False)
    seen = ee.FeatureCollection(POLYGONS).filter(ee.Filter.neq("BIOME_NAME", ICE))

    def crop(feature: Any) -> Any:
        inside = feature.geometry().intersection(band, _COARSE_M)
        coarse = ee.Feature(inside.bounds(_COARSE_M))
        named = coarse.copyProperties(feature, ["ECO_NAME", "BIOME_NAME"])
        return named.set("area", inside.area(_COARSE_M))

    return seen.filterBounds(band).map(crop)


def _draw(
    service: Service, grid: Grid, region: Region, granules: list[str], seed: int
) -> Iterator[Label]:
    """Yield up to a region's share of labels whose tiles do not overlap."""
    kept: list[shapely.Geometry] = []
    for begin in range(0, len(granules), _GRANULES):
        if len(kept) >= region.share:
            return
        rows = _rows(service, region, granules[begin : begin + _GRANULES], seed)
        places = [row["geometry"]["coordinates"] for row in rows]
        for row, place, box in zip(rows, places, _boxes(places, grid), strict=True):
            if len(kept) < region.share and not shapely.intersects(kept, box).any():
                kept.append(box)
                shot = str(row["properties"]["shot_number"])
                yield Label(place[0], place[1], label_id=shot)


def _rows(service: Service, region: Region, granules: list[str], seed: int) -> list[dict[str, Any]]:
    """Return the candidates of some granules, of those that are there."""
    while True:
        try:
            return list(
                service.features(service.made(partial(_candidates, region, granules, seed)))
            )
        except AbsentError as exc:
            if exc.asset not in granules:
                raise
            drop_granule(service, exc.asset)
            granules = [granule for granule in granules if granule != exc.asset]


def _boxes(places: list[list[float]], grid: Grid) -> NDArray[np.object_]:
    """Return the outer boxes of the tiles at places, in degrees."""
    lonlat = np.array(places, dtype=np.float64).reshape(-1, 2)
    bounds = lonlat_bounds(tiles_at(lonlat[:, 0], lonlat[:, 1], grid), OUTER_MARGIN_M)
    return np.asarray(shapely.box(*bounds.T))


def _candidates(region: Region, granules: list[str], seed: int) -> Any:
    """Return footprints of some granules in a region, in random order."""
    polygons = ee.FeatureCollection(POLYGONS).filter(ee.Filter.eq("ECO_NAME", region.name))
    found = footprints(granules, polygons.geometry())
    # By the shot: the order of one table's footprints does not depend on which others are there.
    mixed = (
        found.randomColumn("order", seed, "uniform", ["shot_number"])
        .sort("order")
        .limit(_SPARE * region.share)
    )
    return mixed.select(["shot_number"])
