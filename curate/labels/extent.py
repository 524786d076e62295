"""Places side by side over the extent of a label raster, or over labelled polygons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import EARTH_RADIUS_KM, Tiles, centres, lonlat_bounds
from mmearth.catalog.utm import UTM_NORTH, UTM_SOUTH, from_lonlat, utm_epsg
from mmearth.curate.overlap import OUTER_MARGIN_M
from mmearth.curate.source import Label

_MOST = 5_000_000  # places of a lattice: more are a mistake in spacing_m
# Tiles are kept apart by their boxes in degrees, from which UTM turns by up to 3 degrees at the
# edges of a zone: the tangent of a little more.
_TURN = 0.055
_STEPS = 64  # points along each side of a large box, whose outline is curved in UTM
_DEGREE_M = math.pi * EARTH_RADIUS_KM * 1000.0 / 180.0
Box = tuple[float, float, float, float]


def labels_over(
    boxes: Sequence[Box],
    grid: Grid,
    spacing_m: float | None,
    limit: int | None,
    polygons: shapely.STRtree | None = None,
) -> list[Label]:
    """Return places on a lattice of each UTM zone, from west to east and north to south.

    They are the same, whatever the order of boxes, and into how many parts an area is cut.

    Args:
        boxes: West, south, east, north in degrees; a place lies in one of them, or with polygons
            near to it.
        grid: Of the tiles.
        spacing_m: Distance of neighbouring centres; None for the least that keeps tiles apart.
        limit: At most so many, every n-th.
        polygons: Of which a tile must touch one, in degrees; None for any.

    Raises:
        ConfigError: No place is left, or there are far too many.
    """
    least = grid.side_m * (1 + _TURN) + 2 * OUTER_MARGIN_M + grid.resolution_m
    step = math.ceil((spacing_m or least) / grid.resolution_m) * grid.resolution_m
    if step < least:
        raise ConfigError(
            f"spacing_m: {spacing_m:g} would let tiles overlap, of which the plan keeps few; "
            f"expected {math.ceil(least)} or more, or leave it out"
        )
    # A polygon may lie between the centres of the tiles that show it.
    near = 0.0 if polygons is None else grid.side_m
    found = [tiles for box in boxes for tiles in _lattices(_grown(box, near), grid, step)]
    tiles = _unique(found, grid)
    if polygons is not None and len(tiles):
        west, south, east, north = lonlat_bounds(tiles).T
        touched = [
            polygons.query(shapely.box(west + turn, south, east + turn, north), "intersects")[0]
            for turn in (-360.0, 0.0)
        ]
        tiles = tiles[np.unique(np.concatenate(touched))]
    if not len(tiles):
        raise ConfigError("no tile fits into the extent; give points: or grid: with it")
    every = 1 if limit is None else -(-len(tiles) // limit)
    lons, lats = centres(tiles[::every])
    return [Label(lon, lat) for lon, lat in zip(lons.tolist(), lats.tolist(), strict=True)]


def _grown(box: Box, by_m: float) -> Box:
    """Return a box with so much more on every side, at least."""
    west, south, east, north = box
    high = by_m / _DEGREE_M
    widest = min(max(abs(south), abs(north)) + high, UTM_NORTH)
    wide = high / math.cos(math.radians(widest))
    return west - wide, south - high, min(east + wide, west - wide + 360.0), north + high


def _lattices(box: Box, grid: Grid, step: int) -> list[Tiles]:
    """Return the tiles of each zone whose centres lie in a box and in the zone."""
    west, south, east, north = box
    south, north = max(south, UTM_SOUTH), min(north, UTM_NORTH)
    if not (west < east and south < north):
        return []
    found, n = [], 0
    for epsg, (xs, ys) in _zones((west, south, east, north)).items():
        first, last = math.floor(xs.min() / step), math.ceil(xs.max() / step)
        bottom, top = math.floor(ys.min() / step), math.ceil(ys.max() / step)
        n += (last - first + 1) * (top - bottom + 1)
        if n > _MOST:
            raise ConfigError(f"tiles {step} m apart are far too many; give spacing_m: or grid:")
        columns, rows = np.meshgrid(
            np.arange(first, last + 1, dtype=np.int64),
            np.arange(top, bottom - 1, -1, dtype=np.int64),
        )
        half = grid.side_m // 2
        left, upper = columns.ravel() * step - half, rows.ravel() * step + half
        tiles = Tiles(np.full(left.size, epsg, dtype=np.int64), left, upper, grid)
        lons, lats = centres(tiles)
        inside = np.flatnonzero((lats >= south) & (lats <= north) & _within(lons, west, east))
        own = utm_epsg(lons[inside], lats[inside]) == epsg
        found.append(tiles[inside[own]])
    return found


def _zones(box: Box) -> dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return zone → eastings and northings of points around its part of a box, in metres."""
    west, south, east, north = box
    lons = np.linspace(west, east, max(_points(east - west), math.ceil(east - west)))
    lon, lat = np.meshgrid(lons, np.linspace(south, north, _points(north - south)))
    zones, found = utm_epsg(lon, lat), {}
    for epsg in np.unique(zones).tolist():
        # Far from its zone UTM has no answer: the next points beyond the zone are enough.
        mask = np.pad(zones == epsg, 1)
        mask = mask[:-2] | mask[1:-1] | mask[2:]
        mask = mask[:, :-2] | mask[:, 1:-1] | mask[:, 2:]
        xs, ys = from_lonlat(epsg).transform(lon[mask], lat[mask])
        found[epsg] = np.asarray(xs), np.asarray(ys)
    return found


def _points(degrees: float) -> int:
    """Return how many points trace a side: between neighbours it is straight to some metres."""
    return min(_STEPS, math.ceil(10 * degrees) + 1)


def _within(lon: NDArray[np.float64], west: float, east: float) -> NDArray[np.bool_]:
    return np.asarray((lon - west) % 360.0 <= east - west)


def _unique(parts: list[Tiles], grid: Grid) -> Tiles:
    """Return each tile once, by zone, then from north to south and west to east."""
    none = np.empty(0, dtype=np.int64)
    parts = [Tiles(none, none, none, grid), *parts]
    whole = Tiles(
        np.concatenate([part.epsg for part in parts]),
        np.concatenate([part.left for part in parts]),
        np.concatenate([part.top for part in parts]),
        grid,
    )
    _, first = np.unique(whole.number, return_index=True)
    whole = whole[first]
    return whole[np.lexsort((whole.left, -whole.top, whole.epsg))]
