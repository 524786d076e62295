"""Slope of an elevation, on the elevation's own grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform

from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.header import PixelGrid
from mmearth.curate.sources.files.index import Product
from mmearth.curate.sources.files.raster import native_grid, read_bands, tile_grid, warp
from mmearth.curate.sources.files.values import converted


def slope_on_tile(products: Sequence[Product], tile: Tile, resampling: str) -> NDArray[np.float64]:
    """Return the slope in degrees on a tile's grid, (row, column); NaN where there is none.

    It is taken on the grid of the first product that reaches the tile, as the Earth Engine source
    takes it on the map's; those beside it are brought to that grid first, so that the slope runs
    across their seam.

    Raises:
        DataError: A file is damaged.
    """
    for product in products:
        [reading] = product.readings
        grid = native_grid(product.rasters[reading.raster], product.entry, tile)
        if grid is not None:
            break
    else:
        return np.full((tile.grid.pixels, tile.grid.pixels), np.nan)
    elevation = np.full((grid.height, grid.width), np.nan)
    for product in products:
        [reading] = product.readings
        path = product.rasters[reading.raster]
        [raw] = read_bands(path, product.entry, [reading], tile, "bilinear", grid)
        values = converted(raw, product.entry, reading)
        elevation = np.where(np.isnan(elevation), values, elevation)
    found = slope_deg(elevation, _steps(grid, tile))
    # The slope lacks the rim, whose pixels have no neighbour on one side.
    inner = grid.transform @ Affine.translation(1, 1)
    return warp(found, inner, grid.crs, tile_grid(tile), resampling)


def slope_deg(elevation: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slope in degrees of elevation in metres, a pixel less on each side.

    NaN where one of the nine pixels has no elevation.

    Args:
        elevation: (row, column).
        steps: Metres east and north of a step of a column, and of a row: [[ce, cn], [re, rn]].

    Source:
        Horn 1981, Hill shading and the reflectance map, doi:10.1109/PROC.1981.11918.
    """
    z = elevation
    right = z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]
    left = z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2]
    below = z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:]
    above = z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:]
    by_column, by_row = (right - left) / 8.0, (below - above) / 8.0
    inverse = np.linalg.inv(steps)
    east = inverse[0, 0] * by_column + inverse[0, 1] * by_row
    north = inverse[1, 0] * by_column + inverse[1, 1] * by_row
    result = np.degrees(np.arctan(np.hypot(east, north)))
    return np.asarray(np.where(np.isnan(z[1:-1, 1:-1]), np.nan, result))


def _steps(grid: PixelGrid, tile: Tile) -> NDArray[np.float64]:
    """Return metres on the ground of a step of a column and of a row, at the tile's centre."""
    column, row = grid.width / 2.0, grid.height / 2.0
    at = [(column + 0.5, row), (column - 0.5, row), (column, row + 0.5), (column, row - 0.5)]
    x, y = zip(*(grid.transform @ point for point in at), strict=True)
    east, north = transform(grid.crs, CRS.from_epsg(tile.epsg), x, y)
    return np.array(
        [[east[0] - east[1], north[0] - north[1]], [east[2] - east[3], north[2] - north[3]]]
    )
