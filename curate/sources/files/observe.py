"""One modality of one tile, from one product of the user's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.modality import TILE_PX, Band, Modality
from mmearth.catalog.task import Task
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import PIXEL_M, Tile
from mmearth.curate.sources.files.index import Product
from mmearth.curate.sources.files.raster import read_bands
from mmearth.curate.sources.files.values import to_classes, to_stored, to_unit


def pixels(name: str, product: Product, tile: Tile) -> NDArray[np.generic]:
    """Return a pixel-level modality or target on a tile's grid.

    Raises:
        ConfigError: The entry names a band or a unit that cannot be.
        DataError: The file is damaged or a value is outside its valid range.
    """
    if name in TASKS:
        return _target(TASKS[name], product, tile)
    modality, entry = MODALITIES[name], product.entry
    assert modality.nodata is not None and modality.resampling is not None
    wanted = _wanted(modality, product)
    margin = 1 if entry.derive_slope else 0
    size = TILE_PX + 2 * margin
    values = np.full((len(modality.bands), size, size), np.nan)
    resampling = entry.resampling or modality.resampling
    for index, (raster, band) in wanted.items():
        path = product.rasters[raster]
        found = read_bands(path, entry, [band], tile, resampling, margin)[0]
        if modality.kind == "categorical":
            values[index] = to_classes(found, entry.classes) if entry.classes else found
        else:
            values[index] = to_unit(found, entry, _file_unit(name, modality.bands[index]))
    if entry.derive_slope:
        values = np.stack([values[0, 1:-1, 1:-1], slope_deg(values[0])])
    return to_stored(values, modality.dtype, modality.nodata, list(modality.bands), entry.clamp)


def climate(name: str, product: Product, tile: Tile, month: int) -> NDArray[np.generic]:
    """Return precipitation or temperature as means over a tile, (band,).

    Of a climatology (`months`) the month of the anchor date, the month before it and the whole
    year are taken; it tells mean temperatures only, so maxima and minima stay no-data.

    Raises:
        ConfigError: The entry names a band or a unit that cannot be.
        DataError: The file is damaged or a value is outside its valid range.
    """
    modality, entry = MODALITIES[name], product.entry
    assert modality.nodata is not None
    path = product.rasters[""]
    names = [band.name for band in modality.bands]
    values = np.full(len(names), np.nan)
    unit = modality.bands[0].unit
    if entry.months:
        months = _means(read_bands(path, entry, list(range(1, 13)), tile, "nearest"))
        months = to_unit(months, entry, unit)
        year = months.sum() if name == "precipitation" else months.mean()
        kind = "" if name == "precipitation" else "_mean"
        values[names.index(f"last_month{kind}")] = months[(month - 2) % 12]
        values[names.index(f"month{kind}")] = months[month - 1]
        values[names.index(f"year{kind}")] = year
    else:
        for index, (_, band) in _wanted(modality, product).items():
            found = _means(read_bands(path, entry, [band], tile, "nearest"))
            values[index] = to_unit(found, entry, unit)[0]
    return to_stored(values, modality.dtype, modality.nodata, list(modality.bands), entry.clamp)


def slope_deg(elevation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slope in degrees of elevation in metres, a pixel less on each side.

    NaN where one of the nine pixels has no elevation.

    Source:
        Horn 1981, Hill shading and the reflectance map, doi:10.1109/PROC.1981.11918.
    """
    z = elevation
    east = z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]
    west = z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2]
    south = z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:]
    north = z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:]
    run = 8.0 * PIXEL_M
    result = np.degrees(np.arctan(np.hypot((east - west) / run, (south - north) / run)))
    return np.asarray(np.where(np.isnan(z[1:-1, 1:-1]), np.nan, result))


def _file_unit(name: str, band: Band) -> str:
    """Return the unit a file must be in: Sentinel-2 is stored as reflectance × 10000."""
    return "DN" if name == "sentinel2" else band.unit


def _wanted(modality: Modality, product: Product) -> dict[int, tuple[str, int | str]]:
    """Return position of our band → (which raster, which band of it)."""
    entry, names = product.entry, [band.name for band in modality.bands]
    if entry.files is not None:
        pairs = {band: (band, 1) for band in entry.files}
    elif entry.bands is not None:
        pairs = {band: ("", theirs) for band, theirs in entry.bands.items()}  # type: ignore[misc]
    else:
        usable = names[:1] if entry.derive_slope else names
        pairs = {band: ("", number) for number, band in enumerate(usable, start=1)}
    unknown = [band for band in pairs if band not in names]
    if unknown:
        raise ConfigError(
            f"{entry.path}: {modality.name} has no band {unknown[0]!r}; "
            f"its bands are {', '.join(names)}"
        )
    return {names.index(band): where for band, where in pairs.items()}


def _target(task: Task, product: Product, tile: Tile) -> NDArray[np.generic]:
    entry = product.entry
    band = next(iter(entry.bands.values())) if entry.bands else 1
    values = read_bands(product.rasters[""], entry, [band], tile, entry.resampling or "nearest")
    values = to_unit(values, entry, task.unit)
    assert task.nodata is not None
    output = Band(task.outputs[0], task.unit, task.valid)
    stored: NDArray[np.generic] = to_stored(values, task.dtype, task.nodata, [output], entry.clamp)[
        0
    ]
    return stored


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each band's mean over the pixels that have a value; NaN where none has."""
    known = ~np.isnan(values)
    count = known.sum(axis=(1, 2))
    total = np.where(known, values, 0.0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
