"""The synthetic Earth under any grid: which tile a grid shows, and what the tile holds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID, PIXELS, RESOLUTION_M
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.curate.sources.synthetic.planet import Places, visit
from mmearth.tests.earthengine.model import Grid, Pixels, ServiceError
from mmearth.tests.earthengine.planet.pixels import middle, positions, zone_of

ANY_DATE = "2020-07-01"
"""For what does not change with the date."""
_STATIC = ("sentinel1", "aster_gdem", "eth_gch", "dynamic_world", "esa_worldcover")
_NEAR_M = 100.0
"""A grid whose centre is this near to that of a known tile shows that tile."""
_CELL_DEG = 0.01
_RIM_PX = 10
_COUNTRY_DEG = 10.0
"""Scenes are not searched for in anything wider or higher."""
_METRES_A_DEGREE = 111_320.0

Layer = Callable[[Tile], NDArray[Any] | None]
"""Draws one band of a tile, (128, 128); None where there is nothing."""


class Ground:
    """The synthetic Earth of a seed, one 1.28 km tile at a time.

    The synthetic source looks at the planet at a tile's centre, so a grid shows one tile: itself
    where it is the grid of a tile, else the known tile around its centre, else the tile centred
    there. Pixels more than 100 m beyond that tile have no data.
    """

    def __init__(self, seed: int, tiles: Sequence[Tile] = ()) -> None:
        self.seed = seed
        self.tiles = tuple(tiles)
        self._all = frozenset(tiles)
        self._known: dict[tuple[int, int], list[Tile]] = defaultdict(list)
        for tile in self.tiles:
            self._known[_cell(tile.lon, tile.lat)].append(tile)

    def tile_at(self, lon: float, lat: float, epsg: int | None = None) -> Tile | None:
        """Return the tile around a place, of the zone `epsg` if given; None beyond UTM."""
        near = [tile for tile in self._around(lon, lat) if epsg in (None, tile.epsg)]
        nearest = min(near, key=lambda tile: _apart_m(tile, lon, lat), default=None)
        if nearest is not None and _apart_m(nearest, lon, lat) <= _NEAR_M:
            return nearest
        try:
            return Tile.at(lon, lat)
        except ConfigError:
            return None

    def tile_of(self, grid: Grid) -> Tile | None:
        """Return the tile that a grid shows; None beyond UTM."""
        named = self.named(grid)
        if named is not None:
            return named
        epsg = zone_of(grid.crs)
        if epsg is None:
            return self.tile_at(*middle(grid, "EPSG:4326"))
        x, y = middle(grid, grid.crs)
        column, row = math.floor(x / RESOLUTION_M + 0.5), math.floor(y / RESOLUTION_M + 0.5)
        half = DEFAULT_GRID.side_m // 2
        return Tile(epsg, column * RESOLUTION_M - half, row * RESOLUTION_M + half)

    def named(self, grid: Grid) -> Tile | None:
        """Return the tile whose grid it is, or the known tile around its centre, else None."""
        epsg = zone_of(grid.crs)
        left, top = grid.transform[2], grid.transform[5]
        own = (float(RESOLUTION_M), 0.0, left, 0.0, -float(RESOLUTION_M), top)
        whole = grid.transform == own and left % RESOLUTION_M == top % RESOLUTION_M == 0.0
        if epsg and whole and (grid.width, grid.height) == (PIXELS, PIXELS):
            return Tile(epsg, int(left), int(top))
        known = self.tile_at(*middle(grid, "EPSG:4326"), epsg) if self._all else None
        return known if known in self._all else None

    def anchor(self, bounds: BaseGeometry) -> Tile | None:
        """Return the tile at the middle of what is asked for; None beyond UTM."""
        return self.tile_at(*centre(bounds))

    def render(self, grid: Grid, layer: Layer, dtype: str) -> Pixels:
        """Draw a layer on a grid by nearest neighbour.

        The tile's outermost pixels go on for 100 m, so that its own can be interpolated; beyond
        that nothing is valid.
        """
        shape = (grid.height, grid.width)
        tile = self.tile_of(grid)
        array = None if tile is None else layer(tile)
        if tile is None or array is None:
            return np.zeros(shape, dtype=dtype), np.zeros(shape, dtype=np.bool_)
        x, y = positions(grid, f"EPSG:{tile.epsg}")
        column = np.floor((x - tile.left) / RESOLUTION_M).astype(np.int64)
        row = np.floor((tile.top - y) / RESOLUTION_M).astype(np.int64)
        last = PIXELS - 1
        inside = (np.abs(column - last / 2) <= last / 2 + _RIM_PX) & (
            np.abs(row - last / 2) <= last / 2 + _RIM_PX
        )
        values = array[np.clip(row, 0, last), np.clip(column, 0, last)].astype(dtype)
        return values, np.broadcast_to(inside, shape).copy()

    def array(self, tile: Tile, modality: str, date: str = ANY_DATE) -> NDArray[Any] | None:
        """Return what the synthetic source observes, (band, 128, 128); None where nothing."""
        if modality in _STATIC:
            outcome = _static(self.seed, tile)[modality]
        else:
            outcome = _dated(self.seed, tile, modality, date)
        return outcome.array if isinstance(outcome, Observation) else None

    def place(self, tile: Tile) -> Places:
        """Return the planet at the tile's centre, n = 1."""
        return _place(self.seed, tile)

    def _around(self, lon: float, lat: float) -> list[Tile]:
        column, row = _cell(lon, lat)
        reach = 1 + int(_NEAR_M / (_METRES_A_DEGREE * _CELL_DEG * _shrink(lat)))
        cells = [(column + i, row + j) for i in range(-reach, reach + 1) for j in (-1, 0, 1)]
        return [tile for cell in cells for tile in self._known.get(cell, ())]


def extent(bounds: BaseGeometry) -> tuple[float, float, float, float]:
    """Return west, south, east, north of a geometry; east is beyond 180 where it crosses that."""
    west, south, east, north = bounds.bounds
    if east - west > 180.0:
        lons = shapely.get_coordinates(bounds)[:, 0] % 360.0
        west, east = float(lons.min()), float(lons.max())
    return west, south, east, north


def centre(bounds: BaseGeometry) -> tuple[float, float]:
    """Return longitude and latitude of the middle of a geometry's box."""
    west, south, east, north = extent(bounds)
    return ((west + east) / 2 + 180.0) % 360.0 - 180.0, (south + north) / 2


def place_of(bounds: BaseGeometry | None) -> BaseGeometry:
    """Return the bounds of a search for scenes.

    Raises:
        ServiceError: There are none, or they are no place but a country.
    """
    if bounds is not None:
        west, south, east, north = extent(bounds)
        if east - west <= _COUNTRY_DEG and north - south <= _COUNTRY_DEG:
            return bounds
    raise ServiceError(400, "INVALID_ARGUMENT", "Too many scenes: filter by narrower bounds.")


def _cell(lon: float, lat: float) -> tuple[int, int]:
    return math.floor(lon / _CELL_DEG), math.floor(lat / _CELL_DEG)


def _shrink(lat: float) -> float:
    return max(math.cos(math.radians(lat)), 0.05)


def _apart_m(tile: Tile, lon: float, lat: float) -> float:
    east = (tile.lon - lon) * _shrink(lat)
    return math.hypot(east, tile.lat - lat) * _METRES_A_DEGREE


@lru_cache(maxsize=64)
def _static(seed: int, tile: Tile) -> dict[str, Outcome]:
    return Synthetic(seed).observe(Visit(tile, tuple(_STATIC), ANY_DATE))


@lru_cache(maxsize=256)
def _dated(seed: int, tile: Tile, modality: str, date: str) -> Outcome:
    return Synthetic(seed).observe(Visit(tile, (modality,), date))[modality]


@lru_cache(maxsize=1024)
def _place(seed: int, tile: Tile) -> Places:
    return visit(np.array([tile.lon]), np.array([tile.lat]), seed)
