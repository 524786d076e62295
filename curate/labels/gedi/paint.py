"""Footprints onto a tile: the pixels they colour, and when their trees have leaves."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.curate.labels.gedi.footprints import Footprints

CIRCLE_M = 650.0
"""Footprints this near to the centre decide the season, and in the published data are the label.

Source:
    MMEarth-Bench, biomass: footprints within 650 m of the point.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Painting:
    """One tile's biomass."""

    array: NDArray[np.float32]
    """Mg/ha, (1, row, column): rows from north to south, columns from west to east; -9999 where no
    footprint is."""
    footprints: NDArray[np.int64]
    """Which footprints are to be seen in it."""


def paint(
    footprints: Footprints, layer: Layer, tile: Tile, circle_m: float | None = None
) -> Painting:
    """Colour the one pixel that each footprint's centre lies in.

    Where several lie in a pixel, the one with the greatest shot number is seen.

    Args:
        footprints: All there are.
        layer: What is painted.
        tile: The place.
        circle_m: Only those this near to the tile's centre, in metres of its UTM zone; None for the
            whole square.
    """
    indices = footprints.near(tile)
    x, y = _metres(footprints, indices, tile)
    size, pixel_m = tile.grid.pixels, tile.grid.resolution_m
    column = np.floor((x - tile.left) / pixel_m).astype(np.int64)
    row = np.floor((tile.top - y) / pixel_m).astype(np.int64)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    if circle_m is not None:
        inside &= _from_centre(x, y, tile) <= circle_m
    indices, pixel = indices[inside], (row * size + column)[inside]
    # near() sorts by shot number; np.unique keeps the first of equals, so it looks from the end.
    pixel, from_end = np.unique(pixel[::-1], return_index=True)
    seen = indices[::-1][from_end]
    array = np.full(size * size, layer.nodata, dtype=np.float32)
    array[pixel] = footprints.agbd[seen]
    return Painting(array.reshape(layer.shape), seen)


def seasons(footprints: Footprints, tile: Tile, days_late: bool = False) -> tuple[str, ...]:
    """Return when the trees within 650 m of a tile's centre have leaves, sorted.

    Args:
        footprints: All there are; those without a season count for nothing.
        tile: The place.
        days_late: Day d of the year is taken for 1 January + d days and the last day is left out,
            as in the published data, instead of the day itself with both ends.

    Returns:
        Intervals `YYYY-MM-DD/YYYY-MM-DD`, both ends included, of the year in which the footprint
        was measured; none where no season is known.
    """
    indices = footprints.near(tile)
    x, y = _metres(footprints, indices, tile)
    indices = indices[_from_centre(x, y, tile) <= CIRCLE_M]
    indices = indices[footprints.leaf_on[indices] > 0]
    years = footprints.day[indices].astype("datetime64[D]").astype("datetime64[Y]").astype(int)
    pairs = set(
        zip(
            (years + 1970).tolist(),
            footprints.leaf_on[indices].tolist(),
            footprints.leaf_off[indices].tolist(),
            strict=True,
        )
    )
    # Days of the year count from 1. The published rule adds them to 1 January as they are; its last
    # day is excluded, which comes to the same last day.
    first_from = 0 if days_late else -1
    return tuple(
        f"{_day(year, leaf_on + first_from)}/{_day(year, leaf_off - 1)}"
        for year, leaf_on, leaf_off in sorted(pairs)
    )


def dates(footprints: Footprints, indices: NDArray[np.int64]) -> str:
    """Return when footprints were measured: a day, or the interval from the first to the last."""
    days = footprints.day[indices]
    first, last = (_day(1970, int(day)) for day in (days.min(), days.max()))
    return first if first == last else f"{first}/{last}"


def _day(year: int, days: int) -> str:
    """Return the date some days after 1 January of a year."""
    return (datetime.date(year, 1, 1) + datetime.timedelta(days)).isoformat()


def _metres(
    footprints: Footprints, indices: NDArray[np.int64], tile: Tile
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of footprints in the tile's UTM zone, (footprint,) each."""
    x, y = _to_utm(tile.epsg).transform(footprints.lon[indices], footprints.lat[indices])
    return np.asarray(x), np.asarray(y)


def _from_centre(x: NDArray[np.float64], y: NDArray[np.float64], tile: Tile) -> NDArray[np.float64]:
    half = tile.grid.side_m / 2
    return np.hypot(x - (tile.left + half), y - (tile.top - half))


@cache
def _to_utm(epsg: int) -> Transformer:
    return Transformer.from_crs(4326, epsg, always_xy=True)
