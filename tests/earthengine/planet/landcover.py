"""Land cover: Dynamic World's many images a year, and WorldCover's one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.grid import PIXELS, RESOLUTION_M
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.synthetic.noise import grain
from mmearth.tests.earthengine.model import Band, Grid, Image, Pixels
from mmearth.tests.earthengine.planet.ground import Ground
from mmearth.tests.earthengine.planet.pixels import positions
from mmearth.tests.earthengine.planet.scene import Scene, acquired, scene_named
from mmearth.tests.earthengine.planet.sentinel2 import found
from mmearth.tests.earthengine.planet.times import DAY_MS, day_of, within

DYNAMIC_WORLD = "GOOGLE/DYNAMICWORLD/V1"
WORLD_COVER = "ESA/WorldCover/v100"
YEAR = "2020"
"""The year whose labels are the synthetic source's; others show other classes."""
_EVERY = 3
"""One Sentinel-2 visit in three has been classified: a square has 24 images a year."""
_GROUPS = 5
"""Of these groups of pixels an image masks one and shows nonsense in another, in turns: so at any
pixel of a year's images of a square three in five, at least, show the truth."""
_MASKED = 255
_WORLD_COVER_CODES = np.array((10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class DynamicWorld:
    """Labels whose mode over 2020 is the synthetic Dynamic World."""

    ground: Ground
    """What is seen."""

    def image(self, index: str) -> Image:
        """Return one image.

        Raises:
            KeyError: There is no such image.
        """
        scene = scene_named(index, self.ground.seed)
        if scene.number % _EVERY:
            raise KeyError(index)
        return self._image(scene)

    def query(
        self, bounds: BaseGeometry | None, times: Sequence[tuple[int, int]] | None
    ) -> Iterator[Image]:
        """Yield images by `system:index`; see `Collection.query`."""
        _, scenes = found(self.ground, bounds, times, _EVERY)
        for scene in scenes:
            yield self._image(scene)

    def _image(self, scene: Scene) -> Image:
        square = scene.square
        own = (10.0, 0.0, float(square.left), 0.0, -10.0, float(square.top))
        band = Band("label", "uint8", f"EPSG:{square.epsg}", own, partial(self._read, scene))
        properties = {
            "system:index": scene.index,
            "system:id": f"{DYNAMIC_WORLD}/{scene.index}",
            "system:version": scene.start_ms * 1000 + 172_800_000_000,
            "system:time_start": scene.start_ms,
            "system:time_end": scene.start_ms,
        }
        return Image((band,), properties, square.footprint)

    def _read(self, scene: Scene, grid: Grid) -> Pixels:
        turn = scene.number // _EVERY % _GROUPS
        here = acquired(scene).startswith(YEAR)
        layer = partial(_shown, self.ground.seed, turn, here)
        values, valid = self.ground.render(grid, layer, "uint8")
        x, y = positions(grid, f"EPSG:{scene.square.epsg}")
        return values, valid & scene.square.inside(x, y) & (values != _MASKED)


@lru_cache(maxsize=64)
def _masks(tile: Tile) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each pixel's group, and what it adds to its class where it shows nonsense."""
    bits = grain((tile.left // RESOLUTION_M, -tile.top // RESOLUTION_M), PIXELS, tile.epsg)
    group = (bits % np.uint64(_GROUPS)).astype(np.int64)
    return group, (1 + (bits >> np.uint64(20)) % np.uint64(8)).astype(np.int64)


@lru_cache(maxsize=128)
def _shown(seed: int, turn: int, here: bool, tile: Tile) -> NDArray[np.uint8]:
    array = Ground(seed).array(tile, "dynamic_world")
    if array is None:
        return np.full((PIXELS, PIXELS), _MASKED, dtype=np.uint8)
    truth = array[0].astype(np.int64)
    group, step = _masks(tile)
    shown = truth if here else (truth + 4) % 9
    shown = np.where(group == turn, (shown + step) % 9, shown)
    return np.where(group == (turn + 1) % _GROUPS, _MASKED, shown).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class WorldCover:
    """One image of the whole land, with WorldCover's own codes."""

    ground: Ground
    """What is seen."""

    def image(self, index: str) -> Image:
        """Return the image `2020`.

        Raises:
            KeyError: It is another.
        """
        if index != YEAR:
            raise KeyError(index)
        start = day_of("2020-01-01") * DAY_MS
        own = (1 / 12_000, 0.0, -180.0, 0.0, -1 / 12_000, 84.0)
        properties = {
            "system:index": YEAR,
            "system:id": f"{WORLD_COVER}/{YEAR}",
            "system:version": 1_634_700_000_000_000,
            "system:time_start": start,
            "system:time_end": day_of("2021-01-01") * DAY_MS,
        }
        return Image((Band("Map", "uint8", "EPSG:4326", own, self._read),), properties)

    def query(
        self, bounds: BaseGeometry | None, times: Sequence[tuple[int, int]] | None
    ) -> Iterator[Image]:
        """Yield the image, if its time is asked for."""
        image = self.image(YEAR)
        if within(image.properties["system:time_start"], times):
            yield image

    def _read(self, grid: Grid) -> Pixels:
        def layer(tile: Tile) -> NDArray[Any] | None:
            array = self.ground.array(tile, "esa_worldcover")
            return None if array is None else _WORLD_COVER_CODES[array[0]]

        return self.ground.render(grid, layer, "uint8")
