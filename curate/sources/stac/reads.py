"""Items that were picked for visits, read: all blocks first, then scene by scene, opened once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmearth.catalog.errors import MMEarthError, NoDataError, RefusedError, StorageError
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.remote.threads import read_at_once
from mmearth.curate.source import Outcome
from mmearth.curate.sources.files.choose import of_timing
from mmearth.curate.sources.files.index import Product
from mmearth.curate.sources.files.observe import read, stored
from mmearth.curate.sources.stac.assets import Assets, asset_urls
from mmearth.curate.sources.stac.choose import Candidate
from mmearth.curate.sources.stac.config import CollectionEntry
from mmearth.curate.sources.stac.item import source_ids

Parts = Sequence[tuple[CollectionEntry, Candidate]]
"""What is laid together: entries of other bands, each with its items."""


@dataclass(frozen=True, slots=True)
class Pick:
    """What is read of one layer for one tile."""

    tile: Tile
    """Where."""
    parts: Parts
    """Of what."""
    day: str
    """The anchor date."""


def read_all(shelf: Assets, layer: Layer, picks: Sequence[Pick], source: str) -> list[Outcome]:
    """Return what picks come to, in their order.

    Args:
        shelf: Gets the assets.
        layer: What is read.
        picks: Those of one item share its blocks.
        source: As it stands in provenance.

    Raises:
        RefusedError: A person must act, or the budget is spent.
        StorageError: The disk is full or refused.
    """
    return read_at_once(
        picks,
        lambda pick: tuple(candidate.key for _, candidate in pick.parts),
        lambda same: _of_one(shelf, layer, same, source),
    )


def _of_one(shelf: Assets, layer: Layer, picks: Sequence[Pick], source: str) -> list[Outcome]:
    """Fetch the blocks of one scene's files under some tiles, and read them, opened once."""
    urls = _urls(picks[0])
    regions = shelf.fetched(urls, [pick.tile for pick in picks])
    return shelf.read(regions, lambda: [_outcome(shelf, layer, pick, source) for pick in picks])


def _urls(pick: Pick) -> list[str]:
    return [url for entry, c in pick.parts for url in asset_urls(c.items, entry)]


def _outcome(shelf: Assets, layer: Layer, pick: Pick, source: str) -> Outcome:
    try:
        return _observation(shelf, layer, pick, source)
    except (RefusedError, StorageError):
        raise
    except MMEarthError as exc:
        return shelf.told(exc, _urls(pick))


def _observation(shelf: Assets, layer: Layer, pick: Pick, source: str) -> Observation:
    """Read one layer of one tile, whose assets are open."""
    shown: list[Product] = []
    ids: list[str] = []
    days: set[str] = set()
    values = None
    for entry, candidate in pick.parts:
        items = {item.address: item for item in candidate.items}
        products = [shelf.product(layer, item, entry) for item in candidate.items]
        part, seen = read(layer, products, pick.tile, pick.day[:7])
        values = part if values is None else np.where(np.isnan(values), part, values)
        shown += seen
        for product in seen:
            item = items[product.name]
            days.add(item.day)
            ids += source_ids(item, entry, _told(product, entry))
    if not shown or values is None:
        first = pick.parts[0][1]
        raise NoDataError(f"{first.items[0].address} has no pixel of {layer.name} at the tile")
    array = stored(layer, shown, values, int(pick.day[5:7]))
    why = shown[0].entry.stand_in
    when = _acquired(layer, sorted(days))
    return Observation(layer, array, when, source, tuple(sorted(set(ids))), why)


def _told(product: Product, entry: CollectionEntry) -> dict[str, object]:
    """Return how an item's numbers were read, for provenance."""
    if entry.offset is None:
        return {}
    rule = "collection" if isinstance(entry.offset, float) else entry.offset
    offset = product.entry.offset
    found = product.readings[0].offset if offset is None else offset
    return {"offset": f"{found:g}" if isinstance(found, float) else found, "offset_by": rule}


def _acquired(layer: Layer, days: Sequence[str]) -> str | None:
    """Return when a layer was acquired, as its timing tells it; of two days an interval."""
    if layer.timing == "static":
        return None
    first, last = of_timing(layer, days[0]), of_timing(layer, days[-1])
    return first if first == last or layer.timing in ("year", "month") else f"{first}/{last}"
