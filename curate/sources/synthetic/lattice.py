"""The planet's own pixels, of 10 m on each zone's grid, and a tile's pixels among them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.grid import RESOLUTION_M
from mmearth.catalog.tile import Tile

Patch = tuple[tuple[int, int], int]
"""Column and row of the first pixel, rows run south; number of rows, and of columns."""


def patch(tile: Tile) -> Patch:
    """Return the planet's pixels that a tile needs: its own where it has pixels of 10 m."""
    column, row = tile.left // RESOLUTION_M, -tile.top // RESOLUTION_M
    right, bottom = tile.left + tile.grid.side_m, -tile.top + tile.grid.side_m
    columns, rows = (math.ceil(end / RESOLUTION_M) for end in (right, bottom))
    return (column, row), max(columns - column, rows - row)


def on_tile(array: NDArray[np.generic], tile: Tile) -> NDArray[np.generic]:
    """Return a patch, (…, row, column), on a tile's pixels: each has what lies under its centre."""
    if tile.grid.resolution_m == RESOLUTION_M:
        return array
    (column, row), _ = patch(tile)
    centres = (np.arange(tile.grid.pixels) + 0.5) * tile.grid.resolution_m
    columns = np.floor((tile.left + centres) / RESOLUTION_M).astype(np.int64) - column
    rows = np.floor((centres - tile.top) / RESOLUTION_M).astype(np.int64) - row
    return array[..., rows[:, np.newaxis], columns]
