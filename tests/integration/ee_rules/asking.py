"""One question to a loopback Earth Engine about a hand-made world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.curate.declared import LayerConfig, own_layer
from mmearth.curate.limit import LocalLimit
from mmearth.curate.recipes import RECIPES, Quirks
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.config import check_layer
from mmearth.curate.sources.earthengine.source import EarthEngine
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.server import Server
from mmearth.tests.integration.ee_rules.scenes import World

DEFAULT, PUBLISHED = "default", "mmearth-bench-2026"
RECIPE_NAMES = (DEFAULT, PUBLISHED)


@dataclass(frozen=True, slots=True)
class Ask:
    """Observes worlds through one service."""

    server: Server
    """It runs already."""

    def __call__(
        self,
        world: World,
        wanted: Sequence[str],
        recipe: str | Quirks = DEFAULT,
        date: str | None = None,
        days: int = 15,
        own: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, Outcome]:
        """Return what `EarthEngine.observe` says of the world's tile.

        `own` declares further layers as a configuration does. A day without `sentinel2` among what
        is wanted is that of a later visit: the anchor date.
        """
        is_later = date is not None and "/" not in date and "sentinel2" not in wanted
        self.server.evaluate = Evaluate(world.archive())
        access = Access("demo", self.server.url, tries=1)
        quirks = recipe if isinstance(recipe, Quirks) else RECIPES[recipe]
        declared = {name: LayerConfig.model_validate(each) for name, each in (own or {}).items()}
        layers = {name: own_layer(name, each) for name, each in declared.items()}
        online = {name: each.earthengine for name, each in declared.items() if each.earthengine}
        for name, config in online.items():
            check_layer(layers[name], config)
        known = Catalogue(world.tile.grid, {**MMEARTH_BENCH.layers, **layers}, MMEARTH_BENCH.tasks)
        source = EarthEngine(known, quirks, days, access, LocalLimit(4, 1000.0), online)
        return source.observe(Visit(world.tile, wanted, *((None, date) if is_later else (date,))))


def seen(outcome: Outcome) -> Observation:
    """Return an observation; anything else fails the test with its reason."""
    assert isinstance(outcome, Observation), outcome
    return outcome


def drawn(outcome: Outcome) -> float:
    """Return the only value of an observation: the number of the scene that was drawn."""
    found = np.unique(seen(outcome).array)
    assert len(found) == 1, found
    return float(found[0])
