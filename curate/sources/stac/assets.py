"""Items as products of `files`: their assets, mirrored as far as is needed and opened as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import MMEarthError, SourceError
from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.curate.remote.threads import at_once, stop
from mmearth.curate.sources.files.header import Header
from mmearth.curate.sources.files.index import Product
from mmearth.curate.sources.files.raster import read_bands
from mmearth.curate.sources.files.reading import Reading, readings_of
from mmearth.curate.sources.files.shelf import AS_IT_SAYS, Regions, Shelf
from mmearth.curate.sources.files.units import Conversion
from mmearth.curate.sources.stac.config import CollectionEntry
from mmearth.curate.sources.stac.item import Item, offset_of, scaling


@dataclass(slots=True)
class Assets(Shelf):
    """Assets of one round of visits."""

    def fetched(self, urls: Sequence[str], tiles: Sequence[Tile]) -> list[Regions]:
        """Fetch what some tiles need of some assets; return it, tile by tile.

        Raises:
            MMEarthError: One of the assets cannot be had; the first of them says why.
        """
        found = at_once(urls, lambda url: self._fetched(url, tiles))
        stop(found.values())
        for error in found.values():
            if isinstance(error, MMEarthError):
                raise error
        return [self.regions(urls, tile) for tile in tiles]

    def _fetched(self, url: str, tiles: Sequence[Tile]) -> None:
        """Fetch header and blocks of an asset, without waiting for others."""
        self.look_at([url])
        self.header(url)
        self.fetch(self.regions([url], tile) for tile in tiles)

    def product(self, layer: Layer, item: Item, entry: CollectionEntry) -> Product:
        """Return an item as what `files` reads.

        Raises:
            SourceError: It does not say how its numbers are to be read.
            MMEarthError: One of its assets cannot be had, or is not what the entry says.
        """
        offset = offset_of(item, entry) if layer.name == "sentinel2" else None
        keys = {band: key for band, key in entry.keys.items() if key in item.assets}
        urls = {band: asset_url(item, key, entry) for band, key in keys.items()}
        rasters = entry.rasters(offset)
        if entry.assets is not None:
            rasters = rasters.model_copy(update={"files": keys})
        headers = {band: self.header(url) for band, url in urls.items()}
        if layer.name == "sentinel2":
            headers = {band: _told(header, 1.0, 0.0) for band, header in headers.items()}
        elif entry.offset == "item":
            headers = {b: _told(h, *scaling(item, keys[b])) for b, h in headers.items()}
        paths = {band: self.mirror.copy(url).data for band, url in urls.items()}
        readings = readings_of(layer, rasters, headers, item.address)
        bounds = next(iter(headers.values())).bounds
        first = next(iter(paths.values()))
        return Product(rasters, first, paths, item.address, bounds, readings, crs_told=False)

    def codes(self, url: str, tile: Tile) -> NDArray[np.float64]:
        """Return an asset of one band, nearest pixels, (row, column); NaN where it has nothing."""
        reading = Reading(
            ours="",
            raster="",
            number=1,
            how="number",
            month=None,
            unit="1",
            dtype=self.header(url).bands[0].dtype,
            nodata=(),
            scale=1.0,
            offset=0.0,
            conversion=Conversion(),
            baseline=0.0,
        )
        path = self.mirror.copy(url).data
        [found] = read_bands(path, AS_IT_SAYS, [reading], tile, "nearest")
        return np.asarray(found)


def asset_url(item: Item, key: str, entry: CollectionEntry) -> str:
    """Return the address of an asset.

    Raises:
        SourceError: The item has none of that key.
    """
    found = item.href(key, entry)
    if found is None:
        raise SourceError(f"{item.address} has no asset {key}")
    return found


def asset_urls(items: Sequence[Item], entry: CollectionEntry) -> list[str]:
    """Return the addresses of all assets of items that an entry reads."""
    keys = entry.keys.values()
    return [url for item in items for key in keys if (url := item.href(key, entry)) is not None]


def _told(header: Header, scale: float, offset: float) -> Header:
    """Return a header whose numbers are scaled as the item says, not as the file's tags say."""
    bands = tuple(replace(b, scale=scale, offset=offset, unit=None) for b in header.bands)
    return replace(header, bands=bands)
