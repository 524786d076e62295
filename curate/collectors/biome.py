"""RESOLVE's biome at the tile's centre."""

from __future__ import annotations

from typing import Any

from mmearth.catalog.ecoregions import biome_id
from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import Collector, Place, Seen
from mmearth.curate.collectors.regions import ask_names, read_class


def _ask(place: Place, image: Any, date: Any) -> dict[str, Any]:
    return ask_names(place)


def _read(seen: Seen) -> Observation:
    return read_class(seen, "biome", biome_id)


COLLECTOR = Collector(_ask, None, _read)
