"""What a modality's files have at a tile, as an observation."""

from __future__ import annotations

from mmearth.catalog.errors import ConfigError, NoDataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.choose import choose, of_timing, only_of
from mmearth.curate.sources.files.index import Index, Product
from mmearth.curate.sources.files.observe import stored


def observation(
    layer: Layer, index: Index, tile: Tile, date: str | None, source: str
) -> Observation:
    """Return what the files of a modality, or of a pixel-level target, have at a tile.

    Args:
        layer: What is observed.
        index: Its files.
        tile: Where.
        date: The anchor date; of Sentinel-2, which fixes it, what is asked for, or None.
        source: As it stands in provenance.

    Raises:
        ConfigError: What the configuration says does not go with the files.
        DataError: A file is damaged, or holds what the modality cannot hold.
        FormatError: A file that cannot be used might have covered the tile, and no other does.
        NoDataError: No file covers the tile.
    """
    name = layer.name
    found = choose(layer, index.near(tile), tile, date)
    if found is None:
        if index.broken:
            reason = index.broken[0].reason
            raise type(reason)(str(reason))
        only = only_of(layer, date)
        of_time = "" if only is None else f" of {only}"
        raise NoDataError(f"no file{of_time} covers the tile with {name}")
    when = of_timing(layer, found.date)
    if name == "sentinel2" and when is None:
        raise ConfigError(f"{found.entry.path}: sentinel2 fixes the anchor date; give date:")
    month = int(date[5:7]) if date is not None else 1
    if when is None and layer.timing == "month" and not found.entry.months:
        when = of_timing(layer, date)  # a climatology is of no year
    array = stored(layer, found.products, found.values, month)
    ids = tuple(sorted(_source_id(product) for product in found.products))
    return Observation(layer, array, when, source, ids, found.entry.stand_in)


def _source_id(product: Product) -> str:
    """Return a product as provenance names it, with the CRS that was told in place of its own."""
    return f"{product.name}#crs={product.entry.crs}" if product.crs_told else product.name
