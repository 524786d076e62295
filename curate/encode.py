"""The two modalities that no source has to fetch: where a tile is and which month it was."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile

# The last bits of sin and cos differ between mathematics libraries; nine decimals do not.
_DECIMALS = 9
_GEOLOCATION, _MONTH = (MMEARTH_BENCH.layers[name] for name in ("geolocation", "month"))


def geolocation(tile: Tile) -> Observation:
    """Return cos and sin of the centre's longitude, then of its latitude, (4,).

    Source:
        MMEarth-Bench §3, `geolocation_encoding`.
    """
    lon, lat = math.radians(tile.lon), math.radians(tile.lat)
    values = _array(math.cos(lon), math.sin(lon), math.cos(lat), math.sin(lat))
    return Observation(_GEOLOCATION, values, None, "tile", (tile.id,))


def month(date: str) -> Observation:
    """Return cos and sin of π·month/6 of the anchor date `YYYY-MM-DD`, (2,).

    Source:
        MMEarth-Bench §3, `month_encoding`.
    """
    angle = math.pi * int(date[5:7]) / 6.0
    return Observation(_MONTH, _array(math.cos(angle), math.sin(angle)), date, "date", (date,))


def _array(*values: float) -> NDArray[np.float64]:
    return np.array([round(value, _DECIMALS) for value in values])
