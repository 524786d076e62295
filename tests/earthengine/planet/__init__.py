"""The synthetic planet behind the ids of Earth Engine's catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mmearth.catalog.tile import Tile
from mmearth.tests.earthengine.model import Collection, Image, Table
from mmearth.tests.earthengine.planet import (
    climate,
    ecoregions,
    gedi,
    landcover,
    relief,
    sentinel1,
    sentinel2,
)
from mmearth.tests.earthengine.planet.ground import Ground


class _Series(Collection, Protocol):
    """A collection whose images can be had by `system:index` too."""

    def image(self, index: str) -> Image:
        """Return one image; KeyError where there is none."""


class Planet:
    """All assets that the collectors ask for, see `model.Archive`.

    Where and when images exist is decided by hashes, so nothing is stored and any place answers.
    What a place looks like is what `Synthetic(seed)` observes there, to the last bit on the grid
    of a tile; any other grid shows the tile at its centre, and 100 m around it pixels end. Clouds,
    cloud probability and missing data are functions of world coordinates and can be drawn anywhere.

    What the synthetic source lacks at a tile (clear scenes, an orbit, the canopy) a collection
    lacks for bounds around that tile's centre.
    """

    def __init__(self, seed: int, tiles: Sequence[Tile] = ()) -> None:
        """Make a planet.

        Args:
            seed: Of the synthetic source.
            tiles: Places that will be asked for: a grid or bounds whose centre is within 100 m of
                a tile's shows that tile. GEDI's footprints lie on these tiles only.
        """
        self.ground = Ground(seed, tiles)
        self._series: dict[str, _Series] = {
            sentinel2.REFLECTANCE: sentinel2.Sentinel2(self.ground),
            sentinel2.PROBABILITY: sentinel2.CloudProbability(self.ground),
            sentinel1.COLLECTION: sentinel1.Sentinel1(self.ground),
            landcover.DYNAMIC_WORLD: landcover.DynamicWorld(self.ground),
            landcover.WORLD_COVER: landcover.WorldCover(self.ground),
            climate.COLLECTION: climate.Climate(self.ground),
        }
        still = relief.Relief(self.ground)
        self._images = {
            relief.ASTER: still.elevation,
            relief.CANOPY: still.canopy,
            relief.CANOPY_SD: still.canopy_sd,
        }

    def image(self, asset: str) -> Image:
        """Return an image by its id.

        Raises:
            KeyError: There is none.
        """
        if asset in self._images:
            return self._images[asset]()
        collection, _, index = asset.rpartition("/")
        return self._series[collection].image(index)

    def collection(self, asset: str) -> Collection:
        """Return a collection of images by its id.

        Raises:
            KeyError: There is none.
        """
        return self._series[asset]

    def table(self, asset: str) -> Table:
        """Return a table by its id.

        Raises:
            KeyError: There is none.
        """
        if asset == ecoregions.TABLE:
            return ecoregions.Ecoregions(self.ground)
        if asset == gedi.INDEX:
            return gedi.GranuleIndex(self.ground)
        for granule in (*gedi.GRANULES, *gedi.OTHER_YEARS):
            if asset == granule.table_id:
                return gedi.Footprints(self.ground, granule.name)
        raise KeyError(asset)

    def assets(self, folder: str) -> Sequence[str]:
        """Return the ids of what a folder holds.

        Raises:
            KeyError: It is none.
        """
        if f"{folder}/" != gedi.FOLDER:
            raise KeyError(folder)
        return sorted(granule.table_id for granule in (*gedi.GRANULES, *gedi.OTHER_YEARS))
