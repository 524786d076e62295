"""Images of the whole land without a date: elevation with its slope, and canopy height."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.grid import PIXELS
from mmearth.catalog.tile import Tile
from mmearth.tests.earthengine.model import Band, Grid, Image, Pixels
from mmearth.tests.earthengine.planet.ground import Ground

ASTER = "projects/sat-io/open-datasets/ASTER/GDEM"
CANOPY = "users/nlang/ETH_GlobalCanopyHeight_2020_10m_v1"
CANOPY_SD = "users/nlang/ETH_GlobalCanopyHeightSD_2020_10m_v1"
_NO_ELEVATION, _NO_CANOPY = -9999.0, 255.0
_ARC_SECOND = 1 / 3_600


@dataclass(frozen=True, slots=True)
class Relief:
    """The three images."""

    ground: Ground
    """What is seen."""

    def elevation(self) -> Image:
        """Return metres in `b1`, -9999 where nothing was measured; its slope can be derived."""
        own = (_ARC_SECOND, 0.0, -180.0, 0.0, -_ARC_SECOND, 83.0)
        slope = Band("slope", "float32", "EPSG:4326", own, self._slope)
        band = Band("b1", "float32", "EPSG:4326", own, self._elevation, derived={"slope": slope})
        return Image((band,), _properties(ASTER, 1_577_000_000_000_000))

    def canopy(self) -> Image:
        """Return the canopy's height in metres in `b1`; masked where it has none."""
        return self._canopy_image(CANOPY, 0)

    def canopy_sd(self) -> Image:
        """Return the standard deviation of the canopy's height in `b1`."""
        return self._canopy_image(CANOPY_SD, 1)

    def _canopy_image(self, asset: str, number: int) -> Image:
        own = (1 / 12_000, 0.0, -180.0, 0.0, -1 / 12_000, 84.0)
        band = Band("b1", "float32", "EPSG:4326", own, partial(self._canopy, number))
        return Image((band,), _properties(asset, 1_650_000_000_000_000))

    def _elevation(self, grid: Grid) -> Pixels:
        return self.ground.render(grid, partial(self._layer, "aster_gdem", 0), "float32")

    def _slope(self, grid: Grid) -> Pixels:
        values, valid = self.ground.render(grid, partial(self._layer, "aster_gdem", 1), "float32")
        return values, valid & (values != np.float32(_NO_ELEVATION))

    def _canopy(self, number: int, grid: Grid) -> Pixels:
        values, valid = self.ground.render(grid, partial(self._layer, "eth_gch", number), "float32")
        return values, valid & (values != np.float32(_NO_CANOPY))

    def _layer(self, modality: str, number: int, tile: Tile) -> NDArray[Any] | None:
        array = self.ground.array(tile, modality)
        if array is None and modality == "aster_gdem":
            return np.full((PIXELS, PIXELS), _NO_ELEVATION, dtype=np.float32)
        return None if array is None else np.asarray(array[number])


def _properties(asset: str, version: int) -> dict[str, Any]:
    return {
        "system:index": asset.rsplit("/", 1)[-1],
        "system:id": asset,
        "system:version": version,
    }
