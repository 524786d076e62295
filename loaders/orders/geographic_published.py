"""Geographic batches as MMEarth-Bench makes them: a partition of plain degrees."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mmearth.loaders.orders.batches import Batches, Degrees, check_places

_PADDING = 0.05  # of the data's extent, on each side
Box = tuple[float, float, float, float]
"""West, south, east, north."""


def partition(lon: Degrees, lat: Degrees, batch_size: int) -> Batches:
    """Compose batches of `batch_size` to 2 · batch_size - 1 samples, the same in every run.

    A box is cut across its longer side, not that of its points, in the middle between the two
    points that part the halves; the left half is a multiple of the batch size. Neither the
    antimeridian nor the width of a degree is heeded: that is how it was published.

    Args:
        lon: Of the samples' centres, degrees, (n,).
        lat: The same.
        batch_size: 8 as published.

    Raises:
        ConfigError: A place is not on the Earth.

    Source:
        MMEarth-Bench, TTT-MMR-Geo (arXiv 2602.06285).
    """
    check_places(lon, lat)
    found: list[NDArray[np.int64]] = []
    waiting = [(np.arange(len(lon)), _extent(lon, lat))] if len(lon) else []
    while waiting:
        rows, box = waiting.pop()
        n = len(rows)
        if n < 2 * batch_size:
            found.append(rows)
            continue
        west, south, east, north = box
        across = east - west > north - south
        values = (lon if across else lat)[rows]
        ordered = np.argsort(values, kind="stable")
        n_left = math.ceil(n / batch_size) // 2 * batch_size
        n_left = min(max(n_left, batch_size), n - batch_size)
        at = float(values[ordered[n_left - 1]] + values[ordered[n_left]]) / 2
        left, right = rows[ordered[:n_left]], rows[ordered[n_left:]]
        if across:
            boxes = (west, south, at, north), (at, south, east, north)
        else:
            boxes = (west, south, east, at), (west, at, east, north)
        waiting += [(right, boxes[1]), (left, boxes[0])]  # the left one comes first
    bounds = np.cumsum([0, *map(len, found)], dtype=np.int64)
    return Batches(np.concatenate([*found, np.empty(0, np.int64)]), bounds)


def _extent(lon: Degrees, lat: Degrees) -> Box:
    west, east, south, north = lon.min(), lon.max(), lat.min(), lat.max()
    wide, high = _PADDING * (east - west), _PADDING * (north - south)
    return float(west - wide), float(south - high), float(east + wide), float(north + high)
