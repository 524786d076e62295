"""Reading a raster onto a tile's grid: only the window that is needed, no-data kept apart."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from mmearth.catalog.errors import ConfigError, DataError
from mmearth.catalog.modality import TILE_PX
from mmearth.catalog.tile import PIXEL_M, Tile
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.index import dataset_name

_MARGIN_PX = 3
"""Source pixels read beyond the tile: bilinear looks one pixel further."""
_METHODS = {"nearest": Resampling.nearest, "bilinear": Resampling.bilinear}


def read_bands(
    path: Path,
    entry: Rasters,
    bands: list[int | str],
    tile: Tile,
    resampling: str,
    margin_px: int = 0,
) -> NDArray[np.float64]:
    """Return bands of a raster on a tile's grid, the file's own scale and offset applied.

    Args:
        path: The raster.
        entry: Its no-data, CRS and variable, where the file does not declare them.
        bands: Numbers from 1, or descriptions.
        tile: Where.
        resampling: `nearest` or `bilinear`; no-data takes no part in it.
        margin_px: Pixels added on each side of the tile.

    Returns:
        (band, 128 + 2·margin, 128 + 2·margin); NaN where the raster has nothing.

    Raises:
        ConfigError: The raster has no such band.
        DataError: The raster's pixels cannot be read.
    """
    try:
        with rasterio.open(dataset_name(path, entry.variable)) as dataset:
            numbers = [_number(dataset, band, path) for band in bands]
            return _onto_grid(dataset, entry, numbers, tile, resampling, margin_px)
    except RasterioError as exc:
        raise DataError(
            f"{path} cannot be read ({' '.join(str(exc).split())}); it is damaged: replace it"
        ) from exc


def _onto_grid(
    dataset: rasterio.DatasetReader,
    entry: Rasters,
    numbers: list[int],
    tile: Tile,
    resampling: str,
    margin_px: int,
) -> NDArray[np.float64]:
    size = TILE_PX + 2 * margin_px
    left, top = tile.left - margin_px * PIXEL_M, tile.top + margin_px * PIXEL_M
    grid = Affine(PIXEL_M, 0.0, left, 0.0, -PIXEL_M, top)
    result = np.full((len(numbers), size, size), np.nan)
    crs = dataset.crs or CRS.from_user_input(entry.crs)
    extent = (left, top - size * PIXEL_M, left + size * PIXEL_M, top)
    for turn in (0.0, 360.0, -360.0) if crs.is_geographic else (0.0,):
        window = _window(dataset, crs, tile, extent, turn)
        if window is None:
            continue
        # Files from 0° to 360° are read one turn to the east, and laid back to -180° to 180°.
        transform = Affine.translation(-turn, 0.0) @ dataset.window_transform(window)
        part = np.full_like(result, np.nan)
        reproject(
            _values(dataset, entry, numbers, window),
            part,
            src_transform=transform,
            src_crs=crs,
            src_nodata=np.nan,
            dst_transform=grid,
            dst_crs=CRS.from_epsg(tile.epsg),
            dst_nodata=np.nan,
            resampling=_METHODS[resampling],
            tolerance=0.0,  # each pixel's place is computed, none interpolated
        )
        result = np.where(np.isnan(result), part, result)
    return result


def _window(
    dataset: rasterio.DatasetReader,
    crs: CRS,
    tile: Tile,
    extent: tuple[float, float, float, float],
    turn: float,
) -> Window | None:
    """Return the part of a raster under a tile, or None where they do not meet."""
    west, south, east, north = transform_bounds(CRS.from_epsg(tile.epsg), crs, *extent)
    if crs.is_geographic and east < west:
        east += 360.0
    # By the corners, since rows may run north, and both axes may be turned.
    inverse = ~dataset.transform
    corners = [inverse @ (x + turn, y) for x in (west, east) for y in (south, north)]
    columns, rows = zip(*corners, strict=True)
    spans = (max(columns) - min(columns), max(rows) - min(rows))
    # Where the file is finer than the tile, bilinear weighs all pixels under one of ours.
    margin = _MARGIN_PX + math.ceil(max(spans) * PIXEL_M / (extent[2] - extent[0]))
    column, row = (max(0, math.floor(min(at)) - margin) for at in (columns, rows))
    width = min(dataset.width, math.ceil(max(columns)) + margin) - column
    height = min(dataset.height, math.ceil(max(rows)) + margin) - row
    return Window(column, row, width, height) if width > 0 and height > 0 else None


def _values(
    dataset: rasterio.DatasetReader, entry: Rasters, numbers: list[int], window: Window
) -> NDArray[np.float64]:
    """Return the window's values with the file's own scale and offset; NaN for no data.

    No data is what the file says by its no-data value, its mask or its alpha band.
    """
    raw = dataset.read(numbers, window=window, masked=True)
    values: NDArray[np.float64] = raw.data.astype(np.float64)
    values[np.ma.getmaskarray(raw)] = np.nan
    for i, number in enumerate(numbers):
        if dataset.nodatavals[number - 1] is None and entry.nodata is not None:
            values[i][raw.data[i] == entry.nodata] = np.nan
        values[i] = values[i] * dataset.scales[number - 1] + dataset.offsets[number - 1]
    return values


def _number(dataset: rasterio.DatasetReader, band: int | str, path: Path) -> int:
    if isinstance(band, int) and 1 <= band <= dataset.count:
        return band
    if band in dataset.descriptions:
        return int(dataset.descriptions.index(band)) + 1
    names = [name for name in dataset.descriptions if name] or "without names"
    raise ConfigError(f"{path} has no band {band!r}; it has {dataset.count} bands, {names}")
