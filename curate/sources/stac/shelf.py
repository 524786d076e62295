"""Items as products of `files`: their assets, mirrored as far as is needed and opened as files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import MMEarthError, SourceError
from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.curate.remote.address import public
from mmearth.curate.remote.mirror import Mirror
from mmearth.curate.remote.tiff import Region
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.header import Header, read_header
from mmearth.curate.sources.files.index import Product
from mmearth.curate.sources.files.raster import kept_open, read_bands, windows
from mmearth.curate.sources.files.reading import Reading, readings_of
from mmearth.curate.sources.files.units import Conversion
from mmearth.curate.sources.stac.config import CollectionEntry
from mmearth.curate.sources.stac.item import Item, offset_of, scaling

_ANY = Rasters(path="any")
Regions = dict[str, list[Region]]


@dataclass(slots=True)
class Shelf:
    """Assets of one round of visits."""

    mirror: Mirror
    """Where they come from."""
    headers: dict[str, Header | MMEarthError] = field(default_factory=dict)
    """By address: what each says of itself."""

    def look_at(self, urls: Iterable[str]) -> None:
        """Read the headers of assets, all that are not read yet at once."""
        new = [url for url in dict.fromkeys(urls) if url not in self.headers]
        for url, error in self.mirror.headers(new).items():
            self.headers[url] = self._header(url) if error is None else error

    def header(self, url: str) -> Header:
        """Return what an asset says of itself.

        Raises:
            MMEarthError: It cannot be had.
        """
        found = self.headers[url]
        if isinstance(found, MMEarthError):
            raise found
        return found

    def regions(self, urls: Iterable[str], tile: Tile) -> Regions:
        """Return the pixels of assets that are read for a tile, of those that are to be had."""
        found: Regions = {}
        for url in urls:
            header = self.headers[url]
            if isinstance(header, Header):
                found[url] = [
                    Region(window.col_off, window.row_off, window.width, window.height)
                    for window in windows(header.grid, tile)
                ]
        return found

    def fetch(self, wanted: Iterable[Regions]) -> dict[str, MMEarthError | None]:
        """Fetch what several tiles need, each block once; see `Mirror.blocks`."""
        return self.mirror.blocks(_joined(wanted))

    @contextmanager
    def opened(self, wanted: Iterable[Regions]) -> Iterator[Mapping[str, object]]:
        """Hold assets, whose blocks under some tiles are here, and keep open what is opened.

        Raises:
            MMEarthError: See `Mirror.opened`.
        """
        with self.mirror.opened(_joined(wanted)) as paths, kept_open():
            yield paths

    def told(self, exc: MMEarthError, urls: Iterable[str]) -> MMEarthError:
        """Return an error whose sentence names addresses: what is published is no local path."""
        return self._named(exc, {url: self.mirror.copy(url).data for url in urls})

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
        [found] = read_bands(path, _ANY, [reading], tile, "nearest")
        return np.asarray(found)

    def _header(self, url: str) -> Header | MMEarthError:
        try:
            with self.mirror.opened({url: []}) as paths:
                try:
                    return read_header(paths[url], _ANY)
                except MMEarthError as exc:
                    return self._named(exc, paths)
        except MMEarthError as exc:
            return exc

    def _named(self, exc: MMEarthError, paths: Mapping[str, object]) -> MMEarthError:
        text = str(exc)
        for url, path in paths.items():
            text = text.replace(str(path), public(url))
        return type(exc)(text)


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


def _joined(wanted: Iterable[Regions]) -> Regions:
    joined: Regions = {}
    for regions in wanted:
        for url, some in regions.items():
            joined.setdefault(url, []).extend(some)
    return joined
