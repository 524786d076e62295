"""Which items of a collection may show a tile, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.curate.seasons import days_off
from mmearth.curate.sources.stac.config import CollectionEntry
from mmearth.curate.sources.stac.item import Item, covered, touches

Interval = tuple[str, str]
_SAME = {"year": 4, "month": 7}
"""Timing → how much of a date must be the anchor date's."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Items of one day and granule, or of one map: laid together, they may hold a tile."""

    items: tuple[Item, ...]
    """The first stands where several have a value."""

    @property
    def day(self) -> str:
        """Of the first."""
        return self.items[0].day

    @property
    def key(self) -> tuple[str, ...]:
        """Which items."""
        return tuple(item.address for item in self.items)


def usable(
    items: Sequence[Item], entry: CollectionEntry, intervals: Sequence[Interval]
) -> list[Item]:
    """Return the items of some times that have what an entry asks for.

    Args:
        items: Of the entry's collection.
        entry: With the properties and assets that they must have.
        intervals: When; none for any time.
    """
    keys = [*entry.keys.values(), *filter(None, (entry.scl,))]
    return [
        item
        for item in items
        if all(_same(item.properties.get(k), v) for k, v in entry.where.items())
        and (
            any(key in item.assets for key in keys)
            if entry.optional
            else all(key in item.assets for key in keys)
        )
        and (not intervals or any(first <= item.day < after for first, after in intervals))
    ]


def scenes(items: Sequence[Item], tile: Tile, near: str | None) -> list[Candidate]:
    """Return the scenes that hold a tile, best first.

    Those of the tile's own UTM zone come first, of them those nearest to the date that is asked
    for, of them those with the fewest clouds. Of a scene that is there more than once the latest
    processing baseline counts, of two the first identifier; others of the day are added where it
    does not hold the tile, as the halves of a granule that two data strips share.

    Args:
        items: Of one collection.
        tile: Where.
        near: A day; None where any day of the season is as good.
    """
    granules: dict[tuple[str, object], list[Item]] = {}
    for item in items:
        if item.in_box(tile, wholly=True) and touches(item, tile):
            granules.setdefault((item.day, item.granule), []).append(item)
    found = [together(sorted(some, key=lambda item: item.rank), tile) for some in granules.values()]
    whole = [Candidate(tuple(some)) for some in found if covered(some, tile)]

    def order(candidate: Candidate) -> tuple[bool, int, float, tuple[float, str]]:
        first = candidate.items[0]
        off = 0 if near is None else days_off(first.day, near)
        return first.epsg != tile.epsg, off, first.cloud_cover, first.rank

    return sorted(whole, key=order)


def images(items: Sequence[Item], layer: Layer, tile: Tile, date: str) -> list[Candidate]:
    """Return what may show a layer at a tile, best first.

    Of a layer `nearest` or `anchor` the images of a day, the nearest to the anchor date that holds
    the tile, then those that hold a part of it; of others all items of the anchor's year or month,
    or of any time, together.

    Args:
        items: Of one collection.
        layer: With its timing.
        tile: Where.
        date: The anchor date.
    """
    near = [item for item in items if item.in_box(tile, wholly=False) and touches(item, tile)]
    if layer.timing not in ("nearest", "anchor"):
        length = _SAME.get(layer.timing, 0)
        same = [item for item in near if item.day[:length] == date[:length]]
        return [Candidate(tuple(sorted(same, key=lambda item: item.rank)))] if same else []
    days: dict[str, list[Item]] = {}
    for item in near:
        days.setdefault(item.day, []).append(item)

    def order(some: list[Item]) -> tuple[bool, int, str]:
        return not covered(some, tile), days_off(some[0].day, date), some[0].day

    zone = [sorted(s, key=lambda i: (i.epsg != tile.epsg, *i.rank)) for s in days.values()]
    return [Candidate(tuple(together(some, tile))) for some in sorted(zone, key=order)]


def together(items: Sequence[Item], tile: Tile) -> list[Item]:
    """Return the first of some items, and of the others those that hold what it does not."""
    chosen = [items[0]]
    for item in items[1:]:
        if covered(chosen, tile):
            break
        chosen.append(item)
    return chosen


def _same(found: object, wanted: object) -> bool:
    """Return whether a property is what is wanted: 1 is "1", and letters may be large or small."""
    return str(found).lower() == str(wanted).lower()
