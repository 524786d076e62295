"""What the collectors of biome and ecoregion share: RESOLVE's polygon at the tile's centre."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ee
import numpy as np

from mmearth.catalog.errors import ConfigError, NoDataError, SourceError
from mmearth.catalog.sample import Observation
from mmearth.curate.collectors.collector import Place, Seen

POLYGONS = "RESOLVE/ECOREGIONS/2017"
ICE = "N/A"  # RESOLVE's BIOME_NAME of "Rock and Ice", which is no ecoregion


def ask_names(place: Place) -> dict[str, Any]:
    """Return the part of the scalar expression with the names at the tile's centre.

    Source:
        ee_data.py of github.com/lgordon99/mmearth-bench at 8d74644, with the names of the published
        files; earlier versions took the first polygon that touches a circle of 640 m.
    """
    here = ee.FeatureCollection(POLYGONS).filterBounds(place.point).limit(1)
    return {
        "biome": here.aggregate_array("BIOME_NAME"),
        "ecoregion": here.aggregate_array("ECO_NAME"),
        "id": here.aggregate_array("ECO_ID"),
    }


def read_class(seen: Seen, name: str, code: Callable[[str], int]) -> Observation:
    """Return a class by its name.

    Raises:
        NoDataError: No polygon holds the centre, or it is rock and ice.
        SourceError: The service names a class that RESOLVE 2017 does not have.
    """
    if not seen.facts["biome"] or seen.facts["biome"][0] == ICE:
        raise NoDataError(f"no {name}: the tile's centre is at sea or on ice")
    try:
        value = code(seen.facts[name][0])
    except ConfigError as exc:
        raise SourceError(f"{POLYGONS} names {seen.facts[name][0]!r}: {exc}") from exc
    source_ids = (f"{POLYGONS}#{seen.facts['id'][0]:.0f}",)
    return Observation(seen.layer, np.array([value], dtype=np.int16), None, "", source_ids)
