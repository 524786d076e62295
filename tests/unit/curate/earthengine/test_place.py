"""A share of a tile is the same on the band's own pixels, wherever the tile begins among them."""

from __future__ import annotations

import json

import ee
import numpy as np
import pytest

from mmearth.catalog.tile import Tile
from mmearth.curate.collectors.collector import Place
from mmearth.curate.recipes import RECIPES
from mmearth.curate.seasons import season
from mmearth.tests.earthengine.memory import Memory, raster
from mmearth.tests.earthengine.model import Image
from mmearth.tests.earthengine.offline import connected

_LATTICE = (20.0, 0.0, 499_980.0, 0.0, -20.0, 5_000_040.0)


def _place(left: int, top: int, recipe: str = "default") -> Place:
    quirks = RECIPES[recipe]
    return Place(Tile(32633, left, top), season(45.0, quirks), None, quirks)


@pytest.mark.parametrize("shift", [(0, 0), (10, 0), (10, -10)])
def test_the_share_is_that_of_the_tile_s_own_pixels(shift: tuple[int, int]) -> None:
    cloudy = np.random.default_rng(1).integers(0, 2, (90, 90), dtype=np.uint8)
    band = raster("clouds", cloudy, transform=_LATTICE)
    place = _place(500_200 + shift[0], 4_999_800 + shift[1])
    with connected(Memory({"x": Image((band,))})):
        own = place.mean(ee.Image("x"), 20).getInfo()
        fine = place.mean(ee.Image("x")).getInfo()
    assert own["clouds"] == pytest.approx(fine["clouds"], abs=1e-12)
    assert 0.4 < own["clouds"] < 0.6


def test_a_band_of_20_m_is_judged_at_20_m() -> None:
    place = _place(500_200, 4_999_800)
    with connected(Memory()):
        scaled = json.loads(place.mean(ee.Image(1), 20).serialize())
        circle = json.loads(_place(0, 0, "mmearth-bench-2026").mean(ee.Image(1), 20).serialize())
    assert "[20, 0, 0, 0, -20, 0]" in json.dumps(scaled)
    assert "crsTransform" not in json.dumps(circle)
