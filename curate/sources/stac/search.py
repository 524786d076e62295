"""Searches of a STAC API: one for many tiles, in pages, in shorter times where it fails."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urljoin

import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.errors import SourceError
from mmearth.catalog.tile import Tile
from mmearth.curate.remote.address import public
from mmearth.curate.remote.client import Client, ServerError
from mmearth.curate.sources.stac.item import Item, item_of

MOST_TILES = 50
"""Polygons of one search."""
PAGE = 100
"""Items a page: 250 have met with status 502 (stac-utils/pystac-client#659)."""
_MOST_PAGES = 200
_MOST_DAYS_BETWEEN = 10
"""Days that nobody asks about are searched too where that spares a search: of so few, which the
same satellite passes once or twice, there are fewer items than a page holds."""
_TRIES = 2
"""Before the time is split."""
Interval = tuple[str, str]
"""First day, and the day after the last, `YYYY-MM-DD` each."""


def search(
    client: Client, api: str, collection: str, tiles: Sequence[Tile], interval: Interval | None
) -> list[Item]:
    """Return the items of a collection that touch some tiles, each once, by identifier.

    Args:
        client: Asks.
        api: Address of the API.
        collection: Its identifier.
        tiles: Where; at most MOST_TILES.
        interval: When; None for any time.

    Raises:
        SourceError: The API gives something else than items.
        UnavailableError: It does not answer.
    """
    body: dict[str, Any] = {
        "collections": [collection],
        "intersects": shapely.geometry.mapping(_outlines(tiles)),
        "limit": PAGE,
    }
    found: dict[str, Item] = {}
    for document in _in_time(client, f"{api}/search", body, interval):
        item = item_of(document, api)
        if item is not None and item.collection == collection:
            known = found.setdefault(item.id, item)
            found[item.id] = min(known, item, key=lambda each: (each.rank, str(each.properties)))
    return [found[name] for name in sorted(found)]


def merged(intervals: Sequence[Interval]) -> list[Interval]:
    """Return intervals sorted, those that overlap or lie a few days apart made one."""
    joined: list[Interval] = []
    for first, after in sorted(intervals):
        if joined and _days(joined[-1][1], first) <= _MOST_DAYS_BETWEEN:
            joined[-1] = joined[-1][0], max(after, joined[-1][1])
        else:
            joined.append((first, after))
    return joined


def _in_time(
    client: Client, url: str, body: dict[str, Any], interval: Interval | None
) -> Iterator[Any]:
    """Yield what is found; where the host fails at it, in two halves of the time."""
    asked = body if interval is None else {**body, "datetime": _text(interval)}
    try:
        yield from _pages(client, url, asked)
    except ServerError:
        halves = None if interval is None else _halves(interval)
        if halves is None:
            raise
        for half in halves:
            yield from _in_time(client, url, body, half)


def _pages(client: Client, url: str, body: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    seen: set[str] = set()
    question: dict[str, Any] | None = body
    for _ in range(_MOST_PAGES):
        page = client.json(url, question, tries=_TRIES)
        features = page.get("features") if isinstance(page, dict) else None
        if not isinstance(features, list):
            raise SourceError(f"{public(url)} answers a search with no items; correct url:")
        found += features
        following = _next(page, url, question)
        if following is None or not features:
            return found
        url, question = following
        if (key := f"{url} {question}") in seen:
            return found
        seen.add(key)
    raise SourceError(f"{public(url)} has more than {_MOST_PAGES} pages for one search")


def _next(
    page: dict[str, Any], url: str, question: dict[str, Any] | None
) -> tuple[str, dict[str, Any] | None] | None:
    """Return where the next page is and what is posted there; None where there is none.

    Source:
        STAC API specification, item search, paging: `merge` adds the link's body to the one before.
    """
    for link in page.get("links") or []:
        if isinstance(link, dict) and link.get("rel") == "next" and link.get("href"):
            where = urljoin(url, str(link["href"]))
            if str(link.get("method", "GET")).upper() != "POST":
                return where, None
            body = link.get("body") or {}
            return where, {**(question or {}), **body} if link.get("merge") else body or question
    return None


def _outlines(tiles: Sequence[Tile]) -> BaseGeometry:
    parts = [part for tile in tiles for part in shapely.get_parts(tile.geometry)]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _text(interval: Interval) -> str:
    first, after = interval
    # To the next midnight, since seconds may have fractions; what is of the next day is left out.
    return f"{first}T00:00:00Z/{after}T00:00:00Z"


def _halves(interval: Interval) -> tuple[Interval, Interval] | None:
    n_days = _days(*interval)
    if n_days < 2:
        return None
    middle = _moved(interval[0], n_days // 2)
    return (interval[0], middle), (middle, interval[1])


def _days(first: str, last: str) -> int:
    return (datetime.date.fromisoformat(last) - datetime.date.fromisoformat(first)).days


def _moved(day: str, days: int) -> str:
    return (datetime.date.fromisoformat(day) + datetime.timedelta(days)).isoformat()
