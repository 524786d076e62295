"""Rasters on servers as files: mirrored as far as is needed, held while they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.tile import Tile
from mmearth.curate.remote.address import public
from mmearth.curate.remote.mirror import Mirror
from mmearth.curate.remote.threads import at_once, on_a_core, stop
from mmearth.curate.remote.tiff import Region
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.header import Header, read_header
from mmearth.curate.sources.files.raster import kept_open, windows

AS_IT_SAYS = Rasters(path="any")
"""An entry that says nothing: a raster's own words count."""
Regions = dict[str, list[Region]]
"""Address → the pixels that are read."""
Value = TypeVar("Value")


@dataclass(slots=True)
class Shelf:
    """Rasters of one round of visits."""

    mirror: Mirror
    """Where they come from."""
    headers: dict[str, Header | MMEarthError] = field(default_factory=dict)
    """By address: what each says of itself."""

    def look_at(self, urls: Iterable[str], entry: Rasters = AS_IT_SAYS) -> None:
        """Read the headers of rasters, all that are not read yet at once, as an entry says.

        Raises:
            RefusedError: A person must act, or the budget is spent.
            StorageError: The disk is full or refused.
        """
        new = [url for url in dict.fromkeys(urls) if url not in self.headers]
        found = at_once(new, lambda url: self._header(url, entry))
        stop(found.values())
        self.headers |= found

    def header(self, url: str) -> Header:
        """Return what a raster says of itself.

        Raises:
            MMEarthError: It cannot be had.
        """
        found = self.headers[url]
        if isinstance(found, MMEarthError):
            raise found
        return found

    def regions(self, urls: Iterable[str], tile: Tile) -> Regions:
        """Return the pixels of rasters that are read for a tile, of those that are to be had."""
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
        """Fetch what several tiles need, each block once; return what went wrong.

        Raises:
            RefusedError: See `look_at`.
            StorageError: See `look_at`.
        """
        joined = _joined(wanted)
        found = at_once(joined, lambda url: self.mirror.fetch(url, joined[url]))
        stop(found.values())
        return found

    def read(self, wanted: Iterable[Regions], compute: Callable[[], Value]) -> Value:
        """Return what is computed of rasters while they are held: blocks under some tiles are here.

        Each is opened once.

        Raises:
            MMEarthError: See `Mirror.opened`; and what computing raises.
        """

        def computed() -> Value:
            with kept_open():
                return compute()

        with self.mirror.opened(_joined(wanted)):
            return on_a_core(computed)

    def told(self, exc: MMEarthError, urls: Iterable[str]) -> MMEarthError:
        """Return an error whose sentence names addresses: what is published is no local path."""
        return self._named(exc, {url: self.mirror.copy(url).data for url in urls})

    def _header(self, url: str, entry: Rasters) -> Header:
        self.mirror.header(url)
        with self.mirror.opened({url: []}) as paths:
            try:
                return on_a_core(lambda: read_header(paths[url], entry))
            except MMEarthError as exc:
                raise self._named(exc, paths) from exc

    def _named(self, exc: MMEarthError, paths: Mapping[str, object]) -> MMEarthError:
        text = str(exc)
        for url, path in paths.items():
            text = text.replace(str(path), public(url))
        return type(exc)(text)


def _joined(wanted: Iterable[Regions]) -> Regions:
    joined: Regions = {}
    for regions in wanted:
        for url, some in regions.items():
            joined.setdefault(url, []).extend(some)
    return joined
