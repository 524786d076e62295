"""One modality of one tile, from the user's products: read, laid together, stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.classes import product_codes
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import PIXELS
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.baseline import offset_of_date
from mmearth.curate.sources.files.dates import acquired
from mmearth.curate.sources.files.doubts import refuse_doubtful
from mmearth.curate.sources.files.index import Product
from mmearth.curate.sources.files.raster import read_bands
from mmearth.curate.sources.files.reading import Reading, target_of
from mmearth.curate.sources.files.slope import slope_on_tile
from mmearth.curate.sources.files.values import (
    as_digital_numbers,
    converted,
    to_classes,
    to_stored,
)

_N_MONTHS = 12


def read(
    name: str, products: Sequence[Product], tile: Tile, when: str | None
) -> tuple[NDArray[np.float64], list[Product]]:
    """Return products of one entry laid together on a tile's grid, and those of them that show.

    Where two have a value the earlier one's stands.

    Args:
        name: Of the modality or task.
        products: Of one entry and one date, one at least.
        tile: Where.
        when: `YYYY-MM` of the anchor date, for amounts that files give as rates.

    Returns:
        (band, 128, 128) in the modality's units; NaN where no product has anything. Of a
        climatology the bands are months.

    Raises:
        ConfigError: The entry names a date that is not there.
        DataError: A file is damaged, or holds what the modality cannot hold.
    """
    shown: list[Product] = []
    result: NDArray[np.float64] | None = None
    for product in products:
        values = _read_one(name, product, tile, when)
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
        result[1] = slope_on_tile(products, tile, _resampling(name, products[0]))
    return result, shown


def stored(
    name: str, products: Sequence[Product], values: NDArray[np.float64], month: int
) -> NDArray[np.generic]:
    """Return what `read` gave as the modality's or target's array.

    Args:
        name: Of the modality or task.
        products: What the values came from, of one entry.
        values: (band, 128, 128), see `read`.
        month: Of the anchor date, 1 to 12; of a climatology that month, the one before and the
            whole year are taken. It tells mean temperatures only: maxima and minima stay no-data.

    Raises:
        DataError: A value is outside its band's valid range, or cannot be what the band holds.
    """
    entry, readings = products[0].entry, products[0].readings
    bands, dtype, nodata = target_of(name)
    if name in MMEARTH_BENCH.layers and MMEARTH_BENCH.layers[name].level == "tile":
        means = _means(values)
        values = _climatology(name, means, month) if entry.months else means
    refuse_doubtful(name, values, entry, readings)
    return to_stored(values, dtype, nodata, bands, entry.clamp)


def _read_one(name: str, product: Product, tile: Tile, when: str | None) -> NDArray[np.float64]:
    """Return one product's bands in our units, (band, 128, 128), or its twelve months."""
    entry, resampling = product.entry, _resampling(name, product)
    found = np.full((len(product.readings), PIXELS, PIXELS), np.nan)
    for raster, path in product.rasters.items():
        at = [i for i, reading in enumerate(product.readings) if reading.raster == raster]
        of_raster = [product.readings[i] for i in at]
        if at:
            found[at] = read_bands(path, entry, of_raster, tile, resampling)
    modality = MMEARTH_BENCH.layers.get(name)
    if modality is not None and modality.kind == "categorical":
        codes = entry.classes or product_codes(name, entry.product)
        assert codes is not None  # the configuration refuses products whose codes are not known
        return to_classes(name, found, codes, product.name)
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
    names = [band.name for band in target_of(name)[0]]
    values = np.full((len(names), PIXELS, PIXELS), np.nan)
    values[[names.index(reading.ours) for reading in product.readings]] = found
    return values


def _baseline(product: Product, reading: Reading, dated: str | None) -> float:
    if reading.baseline is not None:
        return reading.baseline
    if dated is None:
        raise ConfigError(
            f"{product.name} tells no processing baseline; offset: auto needs date: then"
        )
    return offset_of_date(dated)


def _resampling(name: str, product: Product) -> str:
    modality = MMEARTH_BENCH.layers.get(name)
    own = modality.resampling if modality is not None else None
    return product.entry.resampling or own or "nearest"


def _climatology(name: str, months: NDArray[np.float64], month: int) -> NDArray[np.float64]:
    """Return a modality's bands of twelve monthly values, (band,)."""
    names = [band.name for band in MMEARTH_BENCH.layers[name].bands]
    values = np.full(len(names), np.nan)
    total = name == "precipitation"
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
