"""Integers between pixels: whatever the service makes of them, the same pixels come out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.limit import LocalLimit
from mmearth.curate.recipes import RECIPES
from mmearth.curate.source import Visit
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.source import EarthEngine
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.evaluate.surfaces import INTEGERS
from mmearth.tests.earthengine.memory import Memory, raster
from mmearth.tests.earthengine.model import Band, Image
from mmearth.tests.integration.ee_rules.asking import RECIPE_NAMES, Ask, seen
from mmearth.tests.integration.ee_rules.scenes import NORTH, Optical, World

ASTER = "projects/sat-io/open-datasets/ASTER/GDEM"
CANOPY = "users/nlang/ETH_GlobalCanopyHeight_2020_10m_v1"
DEVIATION = "users/nlang/ETH_GlobalCanopyHeightSD_2020_10m_v1"
STRIPES = np.tile(np.array([10, 11], dtype=np.uint8), (140, 70))
"""10, 11, 10, 11 … from west to east."""


def _between(name: str, dtype: str) -> Band:
    """Return stripes whose pixels are half a pixel east of the tile's."""
    place = (10.0, 0.0, NORTH.left - 55.0, 0.0, -10.0, NORTH.top + 50.0)
    return raster(name, STRIPES.astype(dtype), transform=place)


def _archive() -> Memory:
    about = World(optical=[Optical(1)]).archive()
    maps = {
        CANOPY: Image((_between("b1", "uint8"),)),
        DEVIATION: Image((_between("b1", "uint8"),)),
        ASTER: Image((_between("b1", "int16"),)),
    }
    scene = about.collections["COPERNICUS/S2_SR_HARMONIZED"].members[0]
    bands = tuple(_between("B5", "uint16") if band.name == "B5" else band for band in scene.bands)
    moved = replace(scene, bands=bands)
    images = {**about.images, **maps, scene.properties["system:id"]: moved}
    return Memory(images, about.collections, about.tables)


def _observe(ask: Ask, recipe: str, integers: str) -> dict[str, Any]:
    ask.server.evaluate = Evaluate(_archive(), integers=integers)
    access = Access("demo", ask.server.url, tries=1)
    source = EarthEngine(MMEARTH_BENCH, RECIPES[recipe], 15, access, LocalLimit(4, 1000.0))
    outcomes = source.observe(Visit(NORTH, ("sentinel2", "eth_gch", "aster_gdem"), None))
    return {name: seen(outcome).array for name, outcome in outcomes.items()}


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
@pytest.mark.parametrize("integers", INTEGERS)
def test_no_reading_changes_a_pixel(ask: Ask, recipe: str, integers: str) -> None:
    """Half-way between 10 and 11 is 10.5: of canopy and elevation; of reflectance, rounded."""
    found = _observe(ask, recipe, integers)
    assert (found["eth_gch"] == 10.5).all()
    assert (found["aster_gdem"][0] == 10.5).all()
    # Sentinel-2 delivers whole numbers: half-way is rounded up, as Java does.
    assert set(np.unique(found["sentinel2"][4])) == {11}
