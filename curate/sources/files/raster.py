"""Reading a raster onto a grid: only the window that is needed, no-data kept apart."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from mmearth.catalog.errors import DataError
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.header import (
    RASTER_ERRORS,
    PixelGrid,
    crs_of,
    dataset_name,
    in_degrees,
)
from mmearth.curate.sources.files.reading import Reading

_MARGIN_PX = 3
"""Source pixels read beyond the tile: bilinear looks one pixel further."""
_SAME_PX = 1e-9
"""Grids that are so close have the same pixels."""
_ONE_MAP_PX = 1e-3
"""Files whose grids are so close are cuts of one map: their corners are rounded each by itself."""
_MOST_PX = 1 << 24
"""Pixels under a tile, beyond which a CRS has torn it apart, as Web Mercator does at 180°."""
Part = tuple[CRS, Affine, NDArray[np.float64]]
"""Where pixels lie, and their values, (band, row, column)."""
_METHODS = {"nearest": Resampling.nearest, "bilinear": Resampling.bilinear}


def tile_grid(tile: Tile) -> PixelGrid:
    """Return a tile's own grid."""
    size = tile.grid.pixels
    return PixelGrid(CRS.from_epsg(tile.epsg), Affine(*tile.transform), size, size)


def read_bands(
    path: Path,
    entry: Rasters,
    bands: Sequence[Reading],
    tile: Tile,
    resampling: str,
    grid: PixelGrid | None = None,
) -> NDArray[np.float64]:
    """Return bands of a raster on a tile's grid, the file's own scale and offset applied.

    Args:
        path: The raster.
        entry: Its CRS, where the file's own shall not count, and its variable.
        bands: Which, and what is no data in them.
        tile: Where.
        resampling: `nearest` or `bilinear`; no-data takes no part in it.
        grid: Another grid over the tile, in place of the tile's own.

    Returns:
        (band, row, column); NaN where the raster has nothing.

    Raises:
        DataError: The raster's pixels cannot be read.
    """
    [found] = read_files([([path], bands)], entry, tile, resampling, grid)
    return found


def read_files(
    files: Sequence[tuple[Sequence[Path], Sequence[Reading]]],
    entry: Rasters,
    tile: Tile,
    resampling: str,
    grid: PixelGrid | None = None,
) -> list[NDArray[np.float64]]:
    """Return bands of several rasters, each as `read_bands`; those of one grid go there together.

    Args:
        files: Rasters, each with its bands. Behind each stand others that are read in the same way:
            where they go on beyond its edge, pixels at the edge are interpolated across it.
        entry: As of `read_bands`, as are the others.
        tile: See there.
        resampling: See there.
        grid: See there.

    Raises:
        DataError: The pixels of one of them cannot be read.
    """
    onto = grid or tile_grid(tile)
    found = [np.full((len(bands), onto.height, onto.width), np.nan) for _, bands in files]
    alike: dict[tuple[object, ...], list[tuple[int, Part, Part]]] = {}
    for i, (paths, bands) in enumerate(files):
        for part in _parts_of(paths[0], entry, bands, tile):
            smooth = resampling != "nearest" and bool(np.isnan(part[2]).any())
            whole = _continued(part, paths, entry, bands, tile) if smooth else part
            key = part[1], part[0].to_wkt(), part[2].shape[1:]
            alike.setdefault(key, []).append((i, part, whole))
    for some in alike.values():
        every = _warped([part for _, part, _ in some], onto, resampling)
        if any(whole is not part for _, part, whole in some):
            across = _warped([whole for _, _, whole in some], onto, resampling)
            every = np.where(np.isnan(every), np.nan, across)
        ends = np.cumsum([len(values) for _, (_, _, values), _ in some])
        for (i, _, _), band in zip(some, np.split(every, ends[:-1]), strict=True):
            found[i] = np.where(np.isnan(found[i]), band, found[i])
    return found


def _warped(parts: Sequence[Part], onto: PixelGrid, resampling: str) -> NDArray[np.float64]:
    """Return all bands of parts of one grid on another grid."""
    crs, transform, _ = parts[0]
    return warp(np.concatenate([v for _, _, v in parts]), transform, crs, onto, resampling)


def _parts_of(path: Path, entry: Rasters, bands: Sequence[Reading], tile: Tile) -> list[Part]:
    """Return the parts of a raster under a tile, NaN where the tile reaches beyond the raster.

    GDAL tells by the size of a part how many of its pixels lie under one of the tile's, so that a
    part that ends with its raster would be weighed otherwise than one that goes on.
    """
    parts = []
    try:
        with _open(dataset_name(path, entry.variable)) as dataset:
            whole = _grid_of(dataset, entry)
            for turn in _turns(whole.crs):
                window = _window(whole, tile, turn)
                if window is not None:
                    column, row, width, height = _extent_px(whole, tile, turn)
                    if width * height > _MOST_PX:
                        column, row, width, height = window.flatten()
                    values = np.full((len(bands), height, width), np.nan)
                    _lay(_values(dataset, bands, window), values, *_offset(window, column, row))
                    # Files from 0° to 360° are read one turn to the east, and laid back.
                    at = whole.transform @ Affine.translation(column, row)
                    parts.append((whole.crs, Affine.translation(-turn, 0.0) @ at, values))
    except RASTER_ERRORS as exc:
        raise _damaged(path, exc) from exc
    return parts


def _offset(window: Window, column: int, row: int) -> tuple[int, int]:
    """Return where a grid that begins at a column and row begins in a window, in its pixels."""
    return column - window.col_off, row - window.row_off


def _continued(
    part: Part, paths: Sequence[Path], entry: Rasters, bands: Sequence[Reading], tile: Tile
) -> Part:
    """Return a part of a raster with what rasters of its grid have where it has nothing.

    Its own raster is among them: one round the globe goes on at its other end.
    """
    crs, transform, values = part
    grid = PixelGrid(crs, transform, *values.shape[1:])
    for path in paths:
        for other_crs, at, others in _parts_of(path, entry, bands, tile):
            shift = _shift(at, other_crs, grid, _ONE_MAP_PX)
            if shift is not None:
                onto = np.full_like(values, np.nan)
                _lay(others, onto, *shift)
                values = np.where(np.isnan(values), onto, values)
    return crs, transform, values


def native_grid(path: Path, entry: Rasters, tile: Tile) -> PixelGrid | None:
    """Return a raster's own grid over a tile, continued beyond the raster; None if they are apart.

    Raises:
        DataError: The raster cannot be opened.
    """
    try:
        with _open(dataset_name(path, entry.variable)) as dataset:
            whole = _grid_of(dataset, entry)
            for turn in _turns(whole.crs):
                if _window(whole, tile, turn) is not None:
                    column, row, width, height = _extent_px(whole, tile, turn)
                    corner = whole.transform @ Affine.translation(column, row)
                    moved = Affine.translation(-turn, 0.0) @ corner
                    return PixelGrid(whole.crs, moved, height, width)
    except RASTER_ERRORS as exc:
        raise _damaged(path, exc) from exc
    return None


def windows(whole: PixelGrid, tile: Tile) -> list[Window]:
    """Return the parts of a raster that are read for a tile: none where they are apart.

    Args:
        whole: The raster's pixels.
        tile: Where.
    """
    found = [_window(whole, tile, turn) for turn in _turns(whole.crs)]
    return [window for window in found if window is not None]


@contextmanager
def kept_open() -> Iterator[None]:
    """Keep what this thread opens open until the block ends: many tiles of one scene are read."""
    _opened.datasets = {}
    try:
        yield
    finally:
        datasets, _opened.datasets = _opened.datasets, None
        for dataset in datasets.values():
            dataset.close()


_opened = threading.local()


@contextmanager
def _open(name: str) -> Iterator[rasterio.DatasetReader]:
    datasets = getattr(_opened, "datasets", None)
    if datasets is None:
        with rasterio.open(name) as dataset:
            yield dataset
        return
    if name not in datasets:
        datasets[name] = rasterio.open(name)
    yield datasets[name]


def warp(
    values: NDArray[np.float64], transform: Affine, crs: CRS, onto: PixelGrid, resampling: str
) -> NDArray[np.float64]:
    """Return (…, row, column) values on another grid; NaN takes no part, band by band."""
    result = np.full((*values.shape[:-2], onto.height, onto.width), np.nan)
    shift = _shift(transform, crs, onto)
    if shift is not None:
        _lay(values, result, *shift)
        return result
    bands, onto_bands = (
        values.reshape(-1, *values.shape[-2:]),
        result.reshape(-1, onto.height, onto.width),
    )
    absent = np.isnan(bands)
    # GDAL takes a pixel for absent where it is in all bands of one call.
    together = [slice(None)] if np.all(absent == absent[:1]) else range(len(bands))
    for some in together:
        reproject(
            bands[some],
            onto_bands[some],
            src_transform=transform,
            src_crs=crs,
            src_nodata=np.nan,
            dst_transform=onto.transform,
            dst_crs=onto.crs,
            dst_nodata=np.nan,
            resampling=_METHODS[resampling],
            tolerance=0.0,  # each pixel's place is computed, none interpolated
        )
    return result


def _shift(
    transform: Affine, crs: CRS, onto: PixelGrid, within_px: float = _SAME_PX
) -> tuple[int, int] | None:
    """Return the column and row of a grid's first pixel where it is another's pixel; else None."""
    a, b, column, d, e, row = (~transform @ onto.transform)[:6]
    steps = abs(a - 1.0), abs(b), abs(d), abs(e - 1.0)
    between = abs(column - round(column)), abs(row - round(row))
    if max(steps) * max(onto.width, onto.height) > within_px or max(between) > within_px:
        return None
    return (round(column), round(row)) if crs == onto.crs else None


def _lay(values: NDArray[np.float64], result: NDArray[np.float64], column: int, row: int) -> None:
    """Copy pixels to where they are on another grid of the same ones."""
    (height, width), (down, across) = values.shape[-2:], result.shape[-2:]
    top, bottom = max(row, 0), min(row + down, height)
    left, right = max(column, 0), min(column + across, width)
    if top < bottom and left < right:
        there = np.s_[..., top - row : bottom - row, left - column : right - column]
        result[there] = values[..., top:bottom, left:right]


def _damaged(path: Path, exc: BaseException) -> DataError:
    # rasterio's own says at times no more than that GDAL's tells why.
    reason = " ".join(str(exc.__cause__ or exc).split())
    return DataError(f"{path} cannot be read ({reason}); it is damaged: replace it")


def _grid_of(dataset: rasterio.DatasetReader, entry: Rasters) -> PixelGrid:
    return PixelGrid(crs_of(dataset, entry), dataset.transform, dataset.height, dataset.width)


def _turns(crs: CRS) -> tuple[float, ...]:
    return (0.0, 360.0, -360.0) if in_degrees(crs) else (0.0,)


@lru_cache(maxsize=4096)  # the bands of a scene share two or three grids
def _extent_px(whole: PixelGrid, tile: Tile, turn: float) -> tuple[int, int, int, int]:
    """Return first column, first row, columns and rows of a raster's pixels that a tile needs."""
    crs = CRS.from_epsg(tile.epsg)
    west, south, east, north = transform_bounds(crs, whole.crs, *tile.bounds)
    if in_degrees(whole.crs) and east < west:
        east += 360.0
    # By the corners, since rows may run north, and both axes may be turned.
    inverse = ~whole.transform
    corners = [inverse @ (x + turn, y) for x in (west, east) for y in (south, north)]
    columns, rows = zip(*corners, strict=True)
    spans = (max(columns) - min(columns), max(rows) - min(rows))
    # Where the file is finer than the tile, bilinear weighs all pixels under one of ours.
    margin = _MARGIN_PX + math.ceil(max(spans) / tile.grid.pixels)
    column, row = (math.floor(min(at)) - margin for at in (columns, rows))
    last, bottom = (math.ceil(max(at)) + margin for at in (columns, rows))
    return column, row, last - column, bottom - row


def _window(whole: PixelGrid, tile: Tile, turn: float) -> Window | None:
    """Return the part of a raster under a tile, or None where they do not meet."""
    column, row, width, height = _extent_px(whole, tile, turn)
    last, bottom = min(whole.width, column + width), min(whole.height, row + height)
    column, row = max(0, column), max(0, row)
    width, height = last - column, bottom - row
    return Window(column, row, width, height) if width > 0 and height > 0 else None


def _values(
    dataset: rasterio.DatasetReader, bands: Sequence[Reading], window: Window
) -> NDArray[np.float64]:
    """Return the window's values with the file's own scale and offset; NaN for no data.

    No data is what the file says by its mask, its alpha band or any of its no-data values, what
    the entry says, and what is not finite.
    """
    raw = dataset.read([band.number for band in bands], window=window, masked=True)
    values: NDArray[np.float64] = raw.data.astype(np.float64)
    values[np.ma.getmaskarray(raw) | ~np.isfinite(values)] = np.nan
    # GDAL takes an alpha band for a mask only where it is of whole numbers.
    for i, kind in enumerate(dataset.colorinterp, start=1):
        if kind == ColorInterp.alpha:
            values[:, dataset.read(i, window=window) == 0] = np.nan
    for i, band in enumerate(bands):
        for nodata in band.nodata:
            # In the band's own type: its no-data value may be rounded to it.
            with np.errstate(over="ignore", invalid="ignore"):
                values[i][raw.data[i] == np.asarray(nodata).astype(raw.dtype)] = np.nan
        values[i] = values[i] * band.scale + band.offset
    return values
