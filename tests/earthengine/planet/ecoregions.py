"""RESOLVE's ecoregions: exact around a place, in steps of a degree over the world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.ecoregions import BIOMES, ECOREGIONS
from mmearth.curate.sources.synthetic.planet import Places, visit
from mmearth.tests.earthengine.model import Feature
from mmearth.tests.earthengine.planet.ground import Ground, extent

TABLE = "RESOLVE/ECOREGIONS/2017"
_AROUND_DEG = 0.1
_WIDE_DEG = 1.0
"""What is asked for is a place up to this size, a region beyond."""
_NUMBERS = (6, 13, 9, 14, 12, 10, 4, 5, 8, 3, 2, 7, 1, 11)
"""RESOLVE's BIOME_NUM by class id."""
_ICE = {"ECO_NAME": "Rock and Ice", "ECO_ID": 0, "BIOME_NAME": "N/A", "BIOME_NUM": 11}
_ICE_CODE, _SEA_CODE = -1, -2


@dataclass(frozen=True, slots=True)
class Ecoregions:
    """The table."""

    ground: Ground
    """What is seen."""

    def query(self, bounds: BaseGeometry | None) -> Iterator[Feature]:
        """Yield the feature around a place, none at sea; over a region all that touch it."""
        if bounds is None:
            yield from _atlas(self.ground.seed)
            return
        west, south, east, north = extent(bounds)
        if east - west > _WIDE_DEG or north - south > _WIDE_DEG:
            for feature in _atlas(self.ground.seed):
                if feature.geometry is not None and feature.geometry.intersects(bounds):
                    yield feature
            return
        tile = self.ground.anchor(bounds)
        code = _SEA_CODE if tile is None else int(_codes(self.ground.place(tile))[0])
        if code != _SEA_CODE:
            yield Feature(bounds.envelope.buffer(_AROUND_DEG, join_style="mitre"), _record(code))


def _codes(places: Places) -> np.ndarray:
    """Return the ecoregion's class id at places, -1 on ice and -2 at sea."""
    bare = np.where(places.coast_km > 0, _ICE_CODE, _SEA_CODE)
    return np.where(places.biome < 0, bare, places.ecoregion)


def _record(code: int) -> dict[str, Any]:
    if code == _ICE_CODE:
        return dict(_ICE)
    region = ECOREGIONS[code]
    return {
        "ECO_NAME": region.name,
        "ECO_ID": region.eco_id,
        "BIOME_NAME": BIOMES[region.biome],
        "BIOME_NUM": _NUMBERS[region.biome],
    }


@lru_cache(maxsize=4)
def _atlas(seed: int) -> tuple[Feature, ...]:
    """Return all ecoregions of the planet, by the place in the middle of each square degree."""
    lon, lat = (
        axis.ravel() for axis in np.meshgrid(np.arange(-180.0, 180.0), np.arange(-90.0, 90.0))
    )
    codes = _codes(visit(lon + 0.5, lat + 0.5, seed))
    features = []
    for code in np.unique(codes[codes != _SEA_CODE]):
        here = codes == code
        cells = shapely.box(lon[here], lat[here], lon[here] + 1, lat[here] + 1)
        features.append(Feature(shapely.union_all(cells), _record(int(code))))
    return tuple(features)
