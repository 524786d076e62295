"""What APIs have near some visits: a question a collection, region and season, none a tile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from mmearth.catalog.errors import MMEarthError, RefusedError, StorageError
from mmearth.catalog.tile import Tile
from mmearth.curate.remote.client import Client
from mmearth.curate.remote.sign import container
from mmearth.curate.remote.threads import at_once
from mmearth.curate.sources.stac.assets import asset_urls
from mmearth.curate.sources.stac.choose import Interval
from mmearth.curate.sources.stac.config import CatalogConfig, CollectionEntry
from mmearth.curate.sources.stac.item import Item
from mmearth.curate.sources.stac.search import MOST_TILES, merged, search

Times = tuple[Interval, ...]
"""When items may be of; none for any time."""
_NEAR_DEG = 1.5
"""Tiles so near to one of them, in degrees of a great circle, are asked for together."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer is looked for: an entry, and the catalogue that it is of."""

    catalog: CatalogConfig
    """With its address."""
    entry: CollectionEntry
    """How its items are read."""

    @property
    def key(self) -> tuple[str, str]:
        """What is searched: entries of one collection share a search."""
        return str(self.catalog.url), self.entry.collection


@dataclass(frozen=True, slots=True)
class _Question:
    place: tuple[str, str]
    tiles: tuple[Tile, ...]
    span: Interval | None


@dataclass(slots=True)
class Searches:
    """The searches of one round of visits."""

    client: Client
    """Asks."""
    sas: MutableMapping[str, str]
    """The client's containers and who signs them; those of what is found are added."""
    _found: dict[tuple[tuple[str, str], Tile], list[tuple[Times, list[Item] | MMEarthError]]] = (
        field(default_factory=dict)
    )

    def ask(self, places: Sequence[Place], tiles: Mapping[Tile, Times]) -> None:
        """Search collections near tiles, each at its times.

        Raises:
            RefusedError: The budget is spent.
        """
        keys = dict.fromkeys(place.key for place in places)
        asked = [question for key in keys for question in _questions(key, tiles)]
        found = at_once(asked, lambda q: search(self.client, *q.place, q.tiles, q.span))
        for question, answer in found.items():
            if isinstance(answer, RefusedError | StorageError):
                raise answer
            times = () if question.span is None else (question.span,)
            for tile in question.tiles:
                self._found.setdefault((question.place, tile), []).append((times, answer))
        self._sign(places)

    def near(self, place: Place, tile: Tile, times: Times) -> list[Item]:
        """Return the items that were found near a tile, sorted by identifier.

        Raises:
            MMEarthError: The search failed.
        """
        items: dict[str, Item] = {}
        for spans, answer in self._found.get((place.key, tile), ()):
            if _within(times, spans[0]) if spans else not times:
                if isinstance(answer, MMEarthError):
                    raise answer
                items |= {item.id: item for item in answer}
        return [items[name] for name in sorted(items)]

    def _sign(self, places: Sequence[Place]) -> None:
        for place in places:
            if place.catalog.sas is None:
                continue
            for (key, _), answers in self._found.items():
                for _, items in answers if key == place.key else ():
                    for url in [] if isinstance(items, MMEarthError) else _urls(items, place.entry):
                        if (prefix := container(url)) is not None:
                            self.sas[prefix] = place.catalog.sas


def _questions(key: tuple[str, str], tiles: Mapping[Tile, Times]) -> Iterable[_Question]:
    """Yield what is asked of a collection."""
    for here in _regions(tiles):
        spans: list[Interval | None] = []
        spans += merged([span for tile in here for span in tiles[tile]])
        for span in spans or [None]:
            some = [tile for tile in here if span is None or _within(tiles[tile], span)]
            for i in range(0, len(some), MOST_TILES):
                yield _Question(key, tuple(some[i : i + MOST_TILES]), span)


def _regions(tiles: Iterable[Tile]) -> list[list[Tile]]:
    """Return tiles by region: each goes to the first whose first tile is near."""
    found: list[list[Tile]] = []
    for tile in tiles:
        near = (some for some in found if degrees_between(tile, some[0]) <= _NEAR_DEG)
        region = next(near, None)
        if region is None:
            found.append([tile])
        else:
            region.append(tile)
    return found


def degrees_between(one: Tile, other: Tile) -> float:
    """Return how far apart two tiles are, in degrees of a great circle."""
    here, there = math.radians(one.lat), math.radians(other.lat)
    turn = math.cos(math.radians(one.lon - other.lon))
    cosine = math.sin(here) * math.sin(there) + math.cos(here) * math.cos(there) * turn
    return math.degrees(math.acos(max(-1.0, min(cosine, 1.0))))


def _within(times: Times, span: Interval) -> bool:
    return any(span[0] <= first and after <= span[1] for first, after in times)


def _urls(items: Sequence[Item], entry: CollectionEntry) -> list[str]:
    more = [key for key in (entry.scl, entry.probability) if key is not None]
    extra = [url for item in items for key in more if (url := item.href(key, entry)) is not None]
    return [*asset_urls(items, entry), *extra]
