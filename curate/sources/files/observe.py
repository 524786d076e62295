"""One modality of one tile, from the user's products: read, laid together, stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.modality import TILE_PX, Band
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import PIXEL_M, Tile
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.index import Product
from mmearth.curate.sources.files.raster import read_bands
from mmearth.curate.sources.files.values import to_classes, to_stored, to_unit

_N_MONTHS = 12


def read(
    name: str, products: Sequence[Product], tile: Tile
) -> tuple[NDArray[np.float64], list[Product]]:
    """Return products of one entry laid together on a tile's grid, and those of them that show.

    Where two have a value the earlier one's stands.

    Returns:
        (band, 128, 128) in the modality's units, with a pixel more on each side where a slope is
        to be derived; NaN where no product has anything. Of a climatology the bands are months.

    Raises:
        ConfigError: The entry names a band or a unit that cannot be.
        DataError: A file is damaged.
    """
    shown: list[Product] = []
    result: NDArray[np.float64] | None = None
    for product in products:
        values = _read_one(name, product, tile)
        result = np.full_like(values, np.nan) if result is None else result
        new = np.isnan(result) & ~np.isnan(values)
        if new.any():
            result[new] = values[new]
            shown.append(product)
        if not np.isnan(result).any():
            break
    assert result is not None  # products is not empty
    return result, shown


def stored(
    name: str, entry: Rasters, values: NDArray[np.float64], month: int
) -> NDArray[np.generic]:
    """Return what `read` gave as the modality's or target's array.

    Args:
        name: Of the modality or task.
        entry: What the values came from.
        values: (band, 128, 128), see `read`.
        month: Of the anchor date, 1 to 12; of a climatology that month, the one before and the
            whole year are taken. It tells mean temperatures only: maxima and minima stay no-data.

    Raises:
        DataError: A value is outside its band's valid range.
    """
    bands, dtype, nodata = _target_of(name)
    if name in MODALITIES and MODALITIES[name].level == "tile":
        means = _means(values)
        values = _climatology(name, means, month) if entry.months else means
    elif entry.derive_slope:
        values = np.stack([values[0, 1:-1, 1:-1], slope_deg(values[0])])
    array = to_stored(values, dtype, nodata, bands, entry.clamp)
    return array[0] if name in TASKS else array


def _read_one(name: str, product: Product, tile: Tile) -> NDArray[np.float64]:
    entry = product.entry
    modality = MODALITIES.get(name)
    bands, _, _ = _target_of(name)
    margin = 1 if entry.derive_slope else 0
    size = TILE_PX + 2 * margin
    own = modality.resampling if modality is not None else None
    resampling = entry.resampling or own or "nearest"
    if entry.months:
        numbers: list[int | str] = list(range(1, _N_MONTHS + 1))
        months = read_bands(product.rasters[""], entry, numbers, tile, resampling)
        return to_unit(months, entry, bands[0].unit, product.unit)
    values = np.full((len(bands), size, size), np.nan)
    for index, (raster, band) in _wanted(name, bands, product).items():
        found = read_bands(product.rasters[raster], entry, [band], tile, resampling, margin)[0]
        if modality is not None and modality.kind == "categorical":
            values[index] = to_classes(found, entry.classes) if entry.classes else found
        else:
            values[index] = to_unit(found, entry, _file_unit(name, bands[index]), product.unit)
    return values


def _target_of(name: str) -> tuple[list[Band], str, float]:
    """Return bands, stored type and no-data value of a modality or of a pixel-level target."""
    if name in TASKS:
        task = TASKS[name]
        assert task.nodata is not None
        return [Band(task.outputs[0], task.unit, task.valid)], task.dtype, task.nodata
    modality = MODALITIES[name]
    assert modality.nodata is not None
    return list(modality.bands), modality.dtype, modality.nodata


def _climatology(name: str, months: NDArray[np.float64], month: int) -> NDArray[np.float64]:
    """Return a modality's bands of twelve monthly values, (band,)."""
    names = [band.name for band in MODALITIES[name].bands]
    values = np.full(len(names), np.nan)
    total = name == "precipitation"
    kind = "" if total else "_mean"
    values[names.index(f"last_month{kind}")] = months[(month - 2) % _N_MONTHS]
    values[names.index(f"month{kind}")] = months[month - 1]
    values[names.index(f"year{kind}")] = months.sum() if total else months.mean()
    return values


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


def _wanted(name: str, bands: list[Band], product: Product) -> dict[int, tuple[str, int | str]]:
    """Return position of our band → (which raster, which band of it)."""
    entry, names = product.entry, [band.name for band in bands]
    pairs: dict[str, tuple[str, int | str]]
    if entry.files is not None:
        pairs = {band: (band, 1) for band in entry.files}
    elif entry.bands is not None:
        pairs = {band: ("", theirs) for band, theirs in entry.bands.items()}
    else:
        usable = names[:1] if entry.derive_slope else names
        pairs = {band: ("", number) for number, band in enumerate(usable, start=1)}
    unknown = [band for band in pairs if band not in names]
    if unknown:
        raise ConfigError(
            f"{entry.path}: {name} has no band {unknown[0]!r}; its bands are {', '.join(names)}"
        )
    return {names.index(band): where for band, where in pairs.items()}


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each band's mean over the pixels that have a value; NaN where none has."""
    known = ~np.isnan(values)
    count = known.sum(axis=(1, 2))
    total = np.where(known, values, 0.0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
