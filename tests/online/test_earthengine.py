"""The collectors against the true Earth Engine, for whoever has an account.

EARTHENGINE_PROJECT=my-project python -m pytest -m online tests/online
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.limit import LocalLimit
from mmearth.curate.recipes import RECIPES
from mmearth.curate.sources.earthengine.access import access_of_environment
from mmearth.curate.sources.earthengine.source import EarthEngine

pytestmark = pytest.mark.online

# Farmland near Verona; savanna in Zambia: north and south, inside and outside Africa.
_TILES = {"north": Tile.at(10.9, 45.3), "south": Tile.at(26.5, -14.6)}


def _source(recipe: str) -> EarthEngine:
    if "EARTHENGINE_PROJECT" not in os.environ:
        pytest.skip("set EARTHENGINE_PROJECT")
    access = access_of_environment()
    limit = LocalLimit(access.in_flight, access.per_second)
    return EarthEngine(RECIPES[recipe], 15, access, limit)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("where", _TILES)
def test_every_modality_of_a_real_tile(recipe: str, where: str) -> None:
    tile = _TILES[where]
    outcomes = _source(recipe).observe(tile, tuple(MODALITIES), None)
    for name, outcome in outcomes.items():
        assert isinstance(outcome, Observation), f"{name}: {outcome}"
        outcome.check()
        assert outcome.valid_fraction > 0.5, name
    date = str(outcomes["sentinel2"].acquired)
    assert date.startswith("2020-")
    assert all(outcomes[name].source_ids for name in MODALITIES)


def test_the_same_request_gives_the_same_bytes() -> None:
    source, tile = _source("default"), _TILES["north"]
    first, second = (source.observe(tile, ("sentinel2", "sentinel1"), None) for _ in range(2))
    for name in first:
        assert first[name].expression == second[name].expression
        np.testing.assert_array_equal(first[name].array, second[name].array)


def test_biomass_of_the_amazon() -> None:
    outcomes = _source("default").observe(Tile.at(-57.8, -5.5), ("sentinel2", "biomass"), None)
    assert all(isinstance(outcome, Observation) for outcome in outcomes.values()), outcomes
