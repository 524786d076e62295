"""Rasters of `files` that lie on servers: the same entries, mirrored as far as a tile needs."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile, lonlat_bounds
from mmearth.curate.limit import Limit, LocalLimit
from mmearth.curate.remote.access import RemoteAccess
from mmearth.curate.remote.address import is_remote, public
from mmearth.curate.remote.client import Client, MissingError
from mmearth.curate.remote.mirror import PIECE_BYTES, Mirror
from mmearth.curate.source import Price, Visit
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import MONTH, TEMPLATE, FilesConfig, Polygons, Rasters
from mmearth.curate.sources.files.index import Index, Product
from mmearth.curate.sources.files.observation import observation
from mmearth.curate.sources.files.polygons import class_at
from mmearth.curate.sources.files.reading import readings_of
from mmearth.curate.sources.files.shelf import Regions, Shelf

AHEAD = 16
"""Tiles whose blocks are fetched together."""
_MARGIN_M = 300.0
"""Beyond a tile: pixels of 60 m that are read there may be another file's."""
_BYTES, _REQUESTS = 1_000_000, 2
"""Of a file under a tile, about: its header and a block."""
_WHOLE_BYTES = 150_000_000
"""Of polygons, about: RESOLVE's ecoregions."""


class RemoteFiles(Files):
    """The user's files, of which some are addresses, as a Source."""

    def __init__(
        self, config: FilesConfig, base: Path, catalogue: Catalogue, access: RemoteAccess
    ) -> None:
        """Find the files that are here; those on servers are asked for tile by tile.

        Args:
            config: Which files hold what.
            base: Directory that `config.root` starts from.
            catalogue: Of the dataset.
            access: How hosts are asked.

        Raises:
            ConfigError: See `Files`.
        """
        super().__init__(config, base, catalogue)
        self.access = access
        self.limit: Limit = LocalLimit(access.in_flight, access.per_second)

    @property
    def in_flight(self) -> int:
        """See `Metered`."""
        return self.access.in_flight

    @property
    def per_second(self) -> float:
        """See `Metered`."""
        return self.access.per_second

    @property
    def pauses_s(self) -> tuple[float, float]:
        """See `Metered`."""
        return self.access.pause_s, self.access.longest_pause_s

    @property
    def ahead(self) -> int:
        """See `Metered`."""
        return AHEAD

    def visitors(self, n_cores: int) -> int:
        """See `Metered`."""
        return 2 * n_cores

    def limited(self, limit: Limit) -> RemoteFiles:
        """See `Metered`."""
        found = copy.copy(self)
        found.limit = limit
        return found

    def price(self, visits: Sequence[Visit]) -> Price:
        """See `Metered`."""
        n_files = sum(
            len(rasters)
            for visit in visits
            for entry in self._remote(visit.wanted)
            for rasters in addresses(entry, visit.tile).values()
        )
        wanted = {name for visit in visits for name in visit.wanted}
        whole = {p.path for n, p in self._polygons.items() if n in wanted and is_remote(p.path)}
        n_requests = _REQUESTS * n_files + len(whole) * _WHOLE_BYTES // PIECE_BYTES
        return Price(n_requests, _BYTES * n_files + _WHOLE_BYTES * len(whole))

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        """Fetch what several tiles need; see `Farsighted`."""
        shelf = self._shelf()
        urls: dict[Visit, list[str]] = {visit: [] for visit in visits}
        by_entry: dict[int, tuple[Rasters, list[str]]] = {}
        for visit in visits:
            for entry in self._remote(visit.wanted):
                places = addresses(entry, visit.tile).values()
                here = [url for rasters in places for url in rasters.values()]
                urls[visit] += here
                by_entry.setdefault(id(entry), (entry, []))[1].extend(here)
        for entry, some in by_entry.values():
            shelf.look_at(some, entry)
        shelf.fetch(shelf.regions(some, visit.tile) for visit, some in urls.items())

    def _seen(self, name: str, tile: Tile, date: str | None) -> Observation:
        """Return what files have at a tile, those on servers held while they are read."""
        entries = self.entries(name)
        if not any(is_remote(entry.path) for entry in entries):
            return super()._seen(name, tile, date)
        layer, shelf, here = self.layer(name), self._shelf(), self.index(name)
        products: list[Product] = []
        wanted: list[Regions] = []
        for entry in entries:
            if not is_remote(entry.path):
                products += [each for each in here.products if each.entry is entry]
                continue
            for place, rasters in addresses(entry, tile).items():
                shelf.look_at(rasters.values(), entry)
                product = _product(shelf, layer, entry, place, rasters)
                if product is not None:
                    products.append(product)
                    wanted.append(shelf.regions(rasters.values(), tile))
        shelf.fetch(wanted)
        try:
            index = Index(tuple(products), here.broken)
            return shelf.read(wanted, lambda: observation(layer, index, tile, date, self.name))
        except MMEarthError as exc:
            raise shelf.told(exc, [url for some in wanted for url in some]) from exc

    def _class(self, entry: Polygons, layer: Layer, tile: Tile) -> Observation:
        """Return the class of polygons, of which those on a server are fetched whole, once."""
        if not is_remote(entry.path):
            return super()._class(entry, layer, tile)
        shelf, name = self._shelf(), public(entry.path)
        with shelf.mirror.whole(entry.path) as path:
            try:
                array, found = class_at(layer, entry, path, tile)
            except MMEarthError as exc:
                raise shelf.told(exc, [entry.path]) from exc
        return Observation(layer, array, None, self.name, (f"{name}#{found}",), entry.stand_in)

    def _remote(self, names: Sequence[str]) -> Iterator[Rasters]:
        for name in names:
            yield from (entry for entry in self.entries(name) if is_remote(entry.path))

    def _shelf(self) -> Shelf:
        return Shelf(Mirror(Client(self.access, self.limit)))


def addresses(entry: Rasters, tile: Tile) -> dict[str, dict[str, str]]:
    """Return the files of an entry that a tile may need, by place.

    `{lat3}` and `{lon3}` in a path stand for the south-western corner of the square of three
    degrees that holds a place, as N51 and E012; a tile on an edge has the files of both sides.

    Returns:
        The path of each place, its corner filled in → band, or number of a month, → address; `""`
        → that of the one file.
    """
    found: dict[str, dict[str, str]] = {}
    west, south, east, north = lonlat_bounds([tile], _MARGIN_M)[0].tolist()
    steps = {int(step) for _, step in re.findall(TEMPLATE, entry.path)} or {1}
    step = min(steps)
    for lat in range(math.floor(south / step), math.floor(north / step) + 1):
        for lon in range(math.floor(west / step), math.floor(east / step) + 1):
            path = _filled(entry.path, lat * step, lon * step)
            keys = entry.files or {"": ""}
            found[path] = {band: f"{path}{name}" for band, name in keys.items()}
            if MONTH in path:
                found[path] = {f"{i}": path.replace(MONTH, f"{i:02}") for i in range(1, 13)}
    return found


def _filled(path: str, lat: int, lon: int) -> str:
    """Return a path with the corners of the squares that hold a place."""

    def corner(found: re.Match[str]) -> str:
        step = int(found[2])
        if found[1] == "lat":
            south = lat // step * step
            return f"{'N' if south >= 0 else 'S'}{abs(south):02d}"
        west = ((lon + 180) % 360 - 180) // step * step
        return f"{'E' if west >= 0 else 'W'}{abs(west):03d}"

    return re.sub(TEMPLATE, corner, path)


def _product(
    shelf: Shelf, layer: Layer, entry: Rasters, place: str, rasters: Mapping[str, str]
) -> Product | None:
    """Return files as a product; None where a template names none that is there."""
    try:
        headers = {band: shelf.header(url) for band, url in rasters.items()}
    except MissingError:
        if re.search(TEMPLATE, entry.path):
            return None
        raise
    paths = {band: shelf.mirror.copy(url).data for band, url in rasters.items()}
    name = public(place)
    readings = readings_of(layer, entry, headers, name)
    bounds = next(iter(headers.values())).bounds
    return Product(entry, next(iter(paths.values())), paths, name, bounds, readings, False)
