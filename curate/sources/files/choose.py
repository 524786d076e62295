"""Which of a modality's products make its observation at a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import DataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.seasons import days_off
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.dates import acquired
from mmearth.curate.sources.files.index import Product
from mmearth.curate.sources.files.observe import read

_SAME = {"anchor": 10, "month": 7, "year": 4}
"""Timing → how much of a date must be the anchor date's; any other takes the nearest."""
_ENOUGH = 0.9
"""Share of a tile's pixels from which on a nearer date is worth more than the rest of them."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the products of one date of one entry have at a tile."""

    entry: Rasters
    """Their part of the configuration."""
    date: str | None
    """When they were acquired, `YYYY-MM-DD`."""
    products: tuple[Product, ...]
    """Those that give at least one pixel."""
    values: NDArray[np.float64]
    """See `observe.read`."""

    @property
    def coverage(self) -> float:
        """Share of the pixels where any band has a value."""
        return float(np.mean(~np.isnan(self.values).all(axis=0)))


def choose(layer: Layer, products: Sequence[Product], tile: Tile, date: str | None) -> Found | None:
    """Return what the products have at a tile.

    Of a layer of the user's own that shows a year, a month or the anchor date itself, only files of
    that time, and undated ones, count. Entries of one product are one collection, whose parts
    differ in offset or unit: of all their dates the nearest to the anchor date that covers nine
    tenths of the tile is taken; where none covers so much, the one that covers most. Where dates
    are as near, where there are none, and without an anchor date, the first entry with any data is
    taken. Another product's entries are looked at only where the one before has nothing. Files of
    one entry and date are laid together, since they are cuts of one image or map.

    Args:
        layer: A modality, or a pixel-level target.
        products: Those near the tile, in the order of the configuration.
        tile: Where.
        date: The anchor date, or intervals; see `Source.observe`.

    Returns:
        None where no product has a value.

    Raises:
        ConfigError: An entry names a band, a unit or a date that cannot be.
        DataError: A file is damaged, and nothing else has a value.
    """
    damage: DataError | None = None
    month = date[:7] if date is not None else None
    if (only := only_of(layer, date)) is not None:
        products = [found for found in products if (acquired(found) or only).startswith(only)]
    for _, group in groupby(products, key=_collection):
        best: Found | None = None
        for when, same in _by_date(list(group), date):
            first = best is None or best.coverage == 0.0 or same[0].entry is best.entry
            if not first and (date is None or when is None):
                break
            try:
                values, shown = read(layer, same, tile, month)
            except DataError as exc:
                damage = damage or exc
                continue
            found = Found(same[0].entry, when, tuple(shown), values)
            if best is None or found.coverage > best.coverage:
                best = found
            if best.coverage >= _ENOUGH:
                break
        if best is not None and best.coverage > 0.0:
            return best
    if damage is not None:
        raise damage
    return None


def only_of(layer: Layer, date: str | None) -> str | None:
    """Return the time that a layer's dated files must be of; None where the nearest counts.

    Args:
        layer: Of the published ones the nearest always counts.
        date: The anchor date.
    """
    is_bound = layer.timing in _SAME and layer.name not in MMEARTH_BENCH.layers
    return of_timing(layer, date) if is_bound else None


def of_timing(layer: Layer, date: str | None) -> str | None:
    """Return a date as a layer's timing tells it: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`."""
    return date if date is None else date[: _SAME.get(layer.timing, 10)]


def _collection(product: Product) -> tuple[str, str | None, bool]:
    entry = product.entry
    return entry.product, entry.stand_in, entry.date is None


def _by_date(products: list[Product], anchor: str | None) -> list[tuple[str | None, list[Product]]]:
    """Return products by date and entry, that nearest to the anchor first; undated ones last."""
    entries: dict[int, int] = {}
    dates: dict[tuple[str | None, int], list[Product]] = {}
    for product in products:
        position = entries.setdefault(id(product.entry), len(entries))
        dates.setdefault((acquired(product), position), []).append(product)
    ordered = sorted(dates.items(), key=lambda item: _distance(item[0][0], item[0][1], anchor))
    return [(date, same) for (date, _), same in ordered]


def _distance(date: str | None, position: int, anchor: str | None) -> tuple[int, int, str, int]:
    """Return what dates are ordered by."""
    if date is None or anchor is None:
        return position, 0, date or "", 0
    return 0, days_off(date, anchor), date, position
