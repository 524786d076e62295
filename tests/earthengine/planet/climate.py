"""ERA5-Land's months, whose aggregates are the synthetic source's climate.

The synthetic climate has the same twelve months every year, and so have these. Values are not
rounded; the synthetic source keeps six decimals of a metre and four of a kelvin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from shapely.geometry.base import BaseGeometry

from mmearth.tests.earthengine.model import Band, Grid, Image, Pixels
from mmearth.tests.earthengine.planet.ground import Ground
from mmearth.tests.earthengine.planet.times import DAY_MS, day_of, within

COLLECTION = "ECMWF/ERA5_LAND/MONTHLY_AGGR"
MONTHS = ("201812", *(f"{y}{m:02d}" for y in (2019, 2020) for m in range(1, 13)), "202101")
BANDS = ("temperature_2m", "temperature_2m_min", "temperature_2m_max", "total_precipitation_sum")
_KELVIN = 273.15
_OWN = (0.1, 0.0, -180.05, 0.0, -0.1, 90.05)


@dataclass(frozen=True, slots=True)
class Climate:
    """Monthly images of temperature in kelvin and precipitation in metres."""

    ground: Ground
    """What is seen."""

    def image(self, index: str) -> Image:
        """Return the image of a month, `202006`.

        Raises:
            KeyError: There is none.
        """
        if index not in MONTHS:
            raise KeyError(index)
        year, month = int(index[:4]), int(index[4:])
        after = f"{year + month // 12}-{month % 12 + 1:02d}-01"
        properties: dict[str, Any] = {
            "system:index": index,
            "system:id": f"{COLLECTION}/{index}",
            "system:version": 1_700_000_000_000_000 + int(index),
            "system:time_start": day_of(f"{index}01") * DAY_MS,
            "system:time_end": day_of(after) * DAY_MS,
            "year": year,
            "month": month,
        }
        bands = tuple(
            Band(name, "float64", "EPSG:4326", _OWN, partial(self._read, name, month))
            for name in BANDS
        )
        return Image(bands, properties)

    def query(
        self, bounds: BaseGeometry | None, times: Sequence[tuple[int, int]] | None
    ) -> Iterator[Image]:
        """Yield the months that begin in the times, in their order."""
        for index in MONTHS:
            image = self.image(index)
            if within(image.properties["system:time_start"], times):
                yield image

    def _read(self, name: str, month: int, grid: Grid) -> Pixels:
        shape = (grid.height, grid.width)
        tile = self.ground.tile_of(grid)
        if tile is None:
            return np.zeros(shape), np.zeros(shape, dtype=np.bool_)
        place = self.ground.place(tile)
        swing = 4.0 + 4.0 / (1.0 + float(place.rain_year_m[0]))
        mean = float(place.temperature_c[month - 1, 0]) + _KELVIN
        value = {
            "temperature_2m": mean,
            "temperature_2m_min": mean - swing,
            "temperature_2m_max": mean + swing,
            "total_precipitation_sum": float(place.rain_m[month - 1, 0]),
        }[name]
        return np.full(shape, value), np.ones(shape, dtype=np.bool_)
