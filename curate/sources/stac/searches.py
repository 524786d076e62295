"""What APIs have near some visits: a question a collection, cell and season, none a tile."""

from __future__ import annotations

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
    cell: str
    span: Interval | None
    part: int


@dataclass(slots=True)
class Searches:
    """The searches of one round of visits."""

    client: Client
    """Asks."""
    sas: MutableMapping[str, str]
    """The client's containers and who signs them; those of what is found are added."""
    _found: dict[tuple[tuple[str, str], str], list[tuple[Times, list[Item] | MMEarthError]]] = (
        field(default_factory=dict)
    )

    def ask(self, places: Sequence[Place], tiles: Mapping[Tile, Times]) -> None:
        """Search collections near tiles, each at its times.

        Raises:
            RefusedError: The budget is spent.
        """
        keys = dict.fromkeys(place.key for place in places)
        asked = dict(pair for key in keys for pair in _questions(key, tiles))
        found = at_once(asked, lambda q: search(self.client, *q.place, asked[q], q.span))
        for question, answer in found.items():
            if isinstance(answer, RefusedError | StorageError):
                raise answer
            times = () if question.span is None else (question.span,)
            known = self._found.setdefault((question.place, question.cell), [])
            known.append((times, answer))
        self._sign(places)

    def near(self, place: Place, tile: Tile, times: Times) -> list[Item]:
        """Return the items that were found near a tile, sorted by identifier.

        Raises:
            MMEarthError: The search failed.
        """
        items: dict[str, Item] = {}
        for spans, answer in self._found.get((place.key, tile.cell), ()):
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


def _questions(
    key: tuple[str, str], tiles: Mapping[Tile, Times]
) -> Iterable[tuple[_Question, list[Tile]]]:
    """Yield what is asked of a collection, with the tiles that it is asked for."""
    cells: dict[str, dict[Tile, Times]] = {}
    for tile, times in tiles.items():
        cells.setdefault(tile.cell, {})[tile] = times
    for cell, here in cells.items():
        spans: list[Interval | None] = []
        spans += merged([span for times in here.values() for span in times])
        for span in spans or [None]:
            some = [t for t, times in here.items() if span is None or _within(times, span)]
            for i in range(0, len(some), MOST_TILES):
                yield _Question(key, cell, span, i), some[i : i + MOST_TILES]


def _within(times: Times, span: Interval) -> bool:
    return any(span[0] <= first and after <= span[1] for first, after in times)


def _urls(items: Sequence[Item], entry: CollectionEntry) -> list[str]:
    more = [key for key in (entry.scl, entry.probability) if key is not None]
    extra = [url for item in items for key in more if (url := item.href(key, entry)) is not None]
    return [*asset_urls(items, entry), *extra]
