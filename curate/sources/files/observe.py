"""One modality of one tile, from the user's products: read, laid together, stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, DataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.baseline import offset_of_date
from mmearth.curate.sources.files.config import class_codes
from mmearth.curate.sources.files.dates import acquired
from mmearth.curate.sources.files.doubts import refuse_doubtful
from mmearth.curate.sources.files.index import Product
from mmearth.curate.sources.files.raster import read_files
from mmearth.curate.sources.files.reading import Reading
from mmearth.curate.sources.files.slope import slope_on_tile
from mmearth.curate.sources.files.values import (
    as_digital_numbers,
    converted,
    to_classes,
    to_stored,
)

_N_MONTHS = 12


def read(
    layer: Layer, products: Sequence[Product], tile: Tile, when: str | None
) -> tuple[NDArray[np.float64], list[Product]]:
    """Return products of one entry laid together on a tile's grid, and those of them that show.

    Where two have a value the earlier one's stands.

    Args:
        layer: The modality or target.
        products: Of one entry and one date, one at least.
        tile: Where.
        when: `YYYY-MM` of the anchor date, for amounts that files give as rates.

    Returns:
        (band, row, column) in the bands' units; NaN where no product has anything. Of a
        climatology the bands are months.

    Raises:
        ConfigError: The entry names a date that is not there.
        DataError: A file is damaged, or holds what the modality cannot hold.
    """
    shown: list[Product] = []
    result: NDArray[np.float64] | None = None
    for product in products:
        values = _read_one(layer, product, tile, when, products)
        result = np.full_like(values, np.nan) if result is None else result
        new = np.isnan(result) & ~np.isnan(values)
        if new.any():
            result[new] = values[new]
            shown.append(product)
        if not np.isnan(result).any():
            break
    assert result is not None  # products is not empty
    entry = products[0].entry
    if entry.derive_slope and shown:
        result[1] = slope_on_tile(products, tile, _resampling(layer, products[0]))
    return result, shown


def stored(
    layer: Layer, products: Sequence[Product], values: NDArray[np.float64], month: int
) -> NDArray[np.generic]:
    """Return what `read` gave as the layer's array; of a tile, the mean or the commonest class.

    Args:
        layer: The modality or target.
        products: What the values came from, of one entry.
        values: (band, row, column), see `read`.
        month: Of the anchor date, 1 to 12; of a climatology that month, the one before and the
            whole year are taken. It tells mean temperatures only: maxima and minima stay no-data.

    Raises:
        DataError: A value is outside its band's valid range, or cannot be what the band holds.
    """
    entry, readings = products[0].entry, products[0].readings
    if not layer.is_pixel:
        values = _commonest(values) if layer.classes else _means(values)
    if entry.months:
        values = _climatology(layer, values, month)
    refuse_doubtful(layer, values, entry, readings)
    if layer.name == "sentinel2":  # it comes as digital numbers
        return to_stored(values, layer, entry.clamp)
    try:
        return to_stored(_unscaled(layer, values), layer, entry.clamp)
    except DataError as exc:
        first = layer.bands[0]
        if (first.scale, first.offset) == (1.0, 0.0):
            raise
        raise DataError(
            f"{exc}; for a file of numbers as they are stored write scale: {first.scale:g} and "
            f"offset: {first.offset:g}"
        ) from exc


def _read_one(
    layer: Layer, product: Product, tile: Tile, when: str | None, beside: Sequence[Product]
) -> NDArray[np.float64]:
    """Return one product's bands in our units, (band, row, column), or its twelve months.

    What it has at its edges is interpolated across them, into products that are read alike.
    """
    entry, resampling, size = product.entry, _resampling(layer, product), tile.grid.pixels
    found = np.full((len(product.readings), size, size), np.nan)
    at: dict[str, list[int]] = {}
    for i, reading in enumerate(product.readings):
        at.setdefault(reading.raster, []).append(i)
    alike = [p for p in beside if (p.entry, p.readings) == (product.entry, product.readings)]
    alike = [product, *(p for p in alike if p is not product)]
    files = [
        ([p.rasters[raster] for p in alike], [product.readings[i] for i in at[raster]])
        for raster in at
    ]
    for where, values in zip(at.values(), read_files(files, entry, tile, resampling), strict=True):
        found[where] = values
    if layer.classes:
        codes = class_codes(layer, entry)
        assert codes is not None  # the configuration refuses products whose codes are not known
        return _of_ours(layer, product, to_classes(layer, found, codes, product.name))
    dated = acquired(product) if entry.date is not None else None
    when = dated[:7] if dated is not None else when
    for i, reading in enumerate(product.readings):
        found[i] = converted(found[i], entry, reading, when)
    if entry.scale == "auto":
        found = as_digital_numbers(found, product.readings)
    for i, reading in enumerate(product.readings):
        found[i] += _baseline(product, reading, dated)
    if entry.months:
        return found
    return _of_ours(layer, product, found)


def _of_ours(layer: Layer, product: Product, found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return all bands of a layer, of which a product has some; NaN for the others."""
    values = np.full((len(layer.bands), *found.shape[1:]), np.nan)
    values[layer.index(tuple(reading.ours for reading in product.readings))] = found
    return values


def _baseline(product: Product, reading: Reading, dated: str | None) -> float:
    if reading.baseline is not None:
        return reading.baseline
    if dated is None:
        raise ConfigError(
            f"{product.name} tells no processing baseline; offset: auto needs date: then"
        )
    return offset_of_date(dated)


def _resampling(layer: Layer, product: Product) -> str:
    return product.entry.resampling or layer.resampling or "nearest"


def _unscaled(layer: Layer, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers in the bands' units as they are stored."""
    shape = (-1, *(1,) * (values.ndim - 1))
    offset = np.reshape([band.offset for band in layer.bands], shape)
    return np.asarray((values - offset) / np.reshape([b.scale for b in layer.bands], shape))


def _climatology(layer: Layer, months: NDArray[np.float64], month: int) -> NDArray[np.float64]:
    """Return precipitation's or temperature's bands of twelve monthly values, (band,)."""
    names = layer.band_names
    values = np.full(len(names), np.nan)
    total = layer.name == "precipitation"
    kind = "" if total else "_mean"
    values[names.index(f"last_month{kind}")] = months[(month - 2) % _N_MONTHS]
    values[names.index(f"month{kind}")] = months[month - 1]
    values[names.index(f"year{kind}")] = months.sum() if total else months.mean()
    return values


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each band's mean over the pixels that have a value; NaN where none has."""
    known = ~np.isnan(values)
    count = known.sum(axis=(1, 2))
    total = np.where(known, values, 0.0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _commonest(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each band's most frequent code, the least of several; NaN where there is none."""
    found = np.full(len(codes), np.nan)
    for i, band in enumerate(codes):
        each, count = np.unique(band[~np.isnan(band)], return_counts=True)
        if each.size:
            found[i] = each[np.argmax(count)]
    return found
