"""Sentinel-2 and its cloud probability, as two collections joined by `system:index`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.tests.earthengine.model import Band, Grid, Image, Pixels
from mmearth.tests.earthengine.planet.ground import Ground, place_of
from mmearth.tests.earthengine.planet.pixels import Double, positions
from mmearth.tests.earthengine.planet.scene import Scene, acquired, scene_named, scenes_of
from mmearth.tests.earthengine.planet.sky import luck
from mmearth.tests.earthengine.planet.squares import squares_over

REFLECTANCE = "COPERNICUS/S2_SR_HARMONIZED"
PROBABILITY = "COPERNICUS/S2_CLOUD_PROBABILITY"
_NODATA = 65535
_UNSCREENED = 0.04
"""Share of scenes that the cloud probability lacks."""


@dataclass(frozen=True, slots=True)
class Sentinel2:
    """Surface reflectance with the cloud mask and the scene classification."""

    ground: Ground
    """What is seen."""

    def image(self, index: str) -> Image:
        """Return one scene.

        Raises:
            KeyError: There is no such scene.
        """
        return self._image(scene_named(index, self.ground.seed), None)

    def query(
        self, bounds: BaseGeometry | None, times: Sequence[tuple[int, int]] | None
    ) -> Iterator[Image]:
        """Yield scenes by `system:index`; see `Collection.query`."""
        anchor, scenes = found(self.ground, bounds, times)
        hidden = anchor is not None and always_cloudy(self.ground, anchor)
        for scene in scenes:
            yield self._image(scene, hidden)

    def _image(self, scene: Scene, hidden: bool | None) -> Image:
        bands = [
            Band(band.name, "uint16", *_own(scene, int(band.native_m or 10)), read)
            for number, band in enumerate(MMEARTH_BENCH.layers["sentinel2"].bands)
            for read in (partial(self._reflectance, scene, number),)
        ]
        own = _own(scene, 20)
        screen = partial(_cloud_mask, self.ground, scene, hidden)
        if not scene.sky.bandless:
            bands.append(Band("MSK_CLDPRB", "uint8", *own, screen))
        bands.append(Band("SCL", "uint8", *own, partial(_classes, self.ground, scene, hidden)))
        cloudy = 100.0 if hidden else scene.sky.cloudy_percentage
        extra = {
            "CLOUDY_PIXEL_PERCENTAGE": cloudy,
            "MGRS_TILE": scene.square.code,
            "SENSING_ORBIT_DIRECTION": "DESCENDING",
            "SPACECRAFT_NAME": "Sentinel-2A" if scene.number % 2 else "Sentinel-2B",
        }
        return Image(tuple(bands), _properties(scene, REFLECTANCE) | extra, scene.footprint)

    def _reflectance(self, scene: Scene, number: int, grid: Grid) -> Pixels:
        date = acquired(scene)

        def layer(tile: Tile) -> NDArray[Any] | None:
            array = self.ground.array(tile, "sentinel2", date)
            return None if array is None else np.asarray(array[number])

        values, valid = self.ground.render(grid, layer, "uint16")
        return values, valid & (values != _NODATA) & scene.seen(grid)


@dataclass(frozen=True, slots=True)
class CloudProbability:
    """Another judgement of most scenes' clouds."""

    ground: Ground
    """What is seen."""

    def image(self, index: str) -> Image:
        """Return one scene's probability.

        Raises:
            KeyError: There is no such scene, or none of it.
        """
        scene = scene_named(index, self.ground.seed)
        if not _screened(scene):
            raise KeyError(index)
        return self._image(scene, None)

    def query(
        self, bounds: BaseGeometry | None, times: Sequence[tuple[int, int]] | None
    ) -> Iterator[Image]:
        """Yield scenes by `system:index`; see `Collection.query`."""
        anchor, scenes = found(self.ground, bounds, times)
        hidden = anchor is not None and always_cloudy(self.ground, anchor)
        for scene in scenes:
            if _screened(scene):
                yield self._image(scene, hidden)

    def _image(self, scene: Scene, hidden: bool | None) -> Image:
        read = partial(_cloud_probability, self.ground, scene, hidden)
        band = Band("probability", "uint8", *_own(scene, 10), read)
        return Image((band,), _properties(scene, PROBABILITY), scene.footprint)


def found(
    ground: Ground,
    bounds: BaseGeometry | None,
    times: Sequence[tuple[int, int]] | None,
    every: int = 1,
) -> tuple[Tile | None, list[Scene]]:
    """Return the tile in the middle of the bounds and the scenes that touch them, by index.

    Args:
        ground: For its seed and its tiles.
        bounds: In EPSG:4326.
        times: Half-open intervals in milliseconds.
        every: Only every n-th scene of a square, of these the whole square.

    Raises:
        ServiceError: There are no bounds, or too wide ones.
    """
    bounds = place_of(bounds)
    anchor = ground.anchor(bounds)
    if anchor is None:
        return None, []
    spans = None if times is None else list(times)
    scenes = [
        scene
        for square in squares_over(bounds, anchor)
        for scene in scenes_of(square, spans, ground.seed, every)
        if every > 1 or scene.footprint.intersects(bounds)
    ]
    return anchor, sorted(scenes, key=lambda scene: scene.index)


def always_cloudy(ground: Ground, tile: Tile) -> bool:
    """Say whether the synthetic source has no clear scene of the tile, ever."""
    return ground.array(tile, "sentinel2") is None


def _own(scene: Scene, pixel_m: int) -> tuple[str, tuple[float, float, float, float, float, float]]:
    square = scene.square
    size = float(pixel_m)
    return f"EPSG:{square.epsg}", (size, 0.0, float(square.left), 0.0, -size, float(square.top))


def _properties(scene: Scene, collection: str) -> dict[str, Any]:
    return {
        "system:index": scene.index,
        "system:id": f"{collection}/{scene.index}",
        "system:version": scene.start_ms * 1000 + 86_400_000_000,
        "system:time_start": scene.start_ms,
        "system:time_end": scene.start_ms,
    }


def _screened(scene: Scene) -> bool:
    return luck(scene.key)[13] >= _UNSCREENED


def _snapped(scene: Scene, grid: Grid, pixel_m: int) -> tuple[Double, Double]:
    """Return the centres of the scene's own pixels that lie under the grid's."""
    x, y = positions(grid, f"EPSG:{scene.square.epsg}")
    left, top = scene.square.left, scene.square.top
    x = left + (np.floor((x - left) / pixel_m) + 0.5) * pixel_m
    y = top - (np.floor((top - y) / pixel_m) + 0.5) * pixel_m
    return x, y


def _hidden(ground: Ground, hidden: bool | None, grid: Grid) -> bool:
    """Say whether cloud covers the whole grid, because the source sees nothing else there."""
    if hidden is not None:
        return hidden
    tile = ground.named(grid)
    return tile is not None and always_cloudy(ground, tile)


def _cloud_mask(ground: Ground, scene: Scene, hidden: bool | None, grid: Grid) -> Pixels:
    if scene.sky.unscreened:
        shape = (grid.height, grid.width)
        return np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.bool_)
    if _hidden(ground, hidden, grid):
        return _overcast(grid), scene.seen(grid)
    return scene.sky.cloud_mask(*_snapped(scene, grid, 20)), scene.seen(grid)


def _cloud_probability(ground: Ground, scene: Scene, hidden: bool | None, grid: Grid) -> Pixels:
    if _hidden(ground, hidden, grid):
        return _overcast(grid), scene.seen(grid)
    return scene.sky.cloud_probability(*_snapped(scene, grid, 10)), scene.seen(grid)


def _classes(ground: Ground, scene: Scene, hidden: bool | None, grid: Grid) -> Pixels:
    """Return the scene classification: 0 no data, 4 land, 8 and 9 cloud; masked off the square."""
    if _hidden(ground, hidden, grid):
        cloud = _overcast(grid)
    else:
        cloud = scene.sky.cloud_mask(*_snapped(scene, grid, 20))
    classes = np.select([~scene.seen(grid), cloud >= 50, cloud >= 10], [0, 9, 8], 4)
    x, y = positions(grid, f"EPSG:{scene.square.epsg}")
    return classes.astype(np.uint8), scene.inside(x, y)


def _overcast(grid: Grid) -> NDArray[np.uint8]:
    return np.full((grid.height, grid.width), 100, dtype=np.uint8)
