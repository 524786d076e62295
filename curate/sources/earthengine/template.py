"""The scalar question made once and filled in for each tile: the client takes long to make it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ee

from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.tile import Tile
from mmearth.curate.collectors.collector import MARGIN_M, Place
from mmearth.curate.recipes import Quirks
from mmearth.curate.seasons import Interval
from mmearth.curate.sources.earthengine.expressions import scalars

_MARK = Tile(32617, 123450, 7654320)
_MARK_NEAR, _MARK_INTERVALS = "1901-02-03", (("1904-05-06", "1907-08-09"),)
_Key = tuple[tuple[str, ...], Quirks, tuple[Interval, ...] | None]
_templates: dict[_Key, str] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it is sent."""

    expression: Any
    """For the client."""
    sha256: str
    """Of its JSON."""


def scalar_question(place: Place, names: Sequence[str], anchor: str | None) -> Asked:
    """Return the scalar question about one tile; see `expressions.scalars`.

    A question of the usual kind is a template with the tile's own numbers put in: to make one with
    the client takes some 50 ms, ten times as long.
    """
    plain = place.near is None or len(place.intervals) == 1
    if anchor is not None or place.granules is not None or not plain:
        return asked(scalars(place, names, anchor))
    text = _template(place, tuple(names))
    for mark, value in zip(_constants(_marked(place)), _constants(place), strict=True):
        text = text.replace(mark, value)
    return Asked(ee.deserializer.decodeCloudApi(json.loads(text)), sha256_bytes(text.encode()))


def asked(expression: Any) -> Asked:
    """Return a question with its hash."""
    return Asked(expression, sha256_bytes(_json(expression).encode()))


def _template(place: Place, names: tuple[str, ...]) -> str:
    key = (names, place.quirks, None if place.near is not None else place.intervals)
    with _lock:
        if key not in _templates:
            _templates[key] = _json(scalars(_marked(place), names, None))
        return _templates[key]


def _marked(place: Place) -> Place:
    """Return the place whose numbers stand for those of any other of its kind."""
    if place.near is None:
        return replace(place, tile=_MARK)
    return replace(place, tile=_MARK, near=_MARK_NEAR, intervals=_MARK_INTERVALS)


def _constants(place: Place) -> list[str]:
    """Return every constant of a question that is the place's own, as it stands in the JSON."""
    tile = place.tile
    left, bottom, right, top = tile.bounds
    wide = [left - MARGIN_M, bottom - MARGIN_M, right + MARGIN_M, top + MARGIN_M]
    values: list[Any] = [
        [left, bottom, right, top],
        wide,
        [tile.lon, tile.lat],
        list(tile.transform),
        f"EPSG:{tile.epsg}",
        f"{tile.epsg % 100:02d}",
    ]
    if place.near is not None:
        values += [place.near, *place.intervals[0]]
    return [json.dumps({"constantValue": value}, sort_keys=True) for value in values]


def _json(expression: Any) -> str:
    return json.dumps(ee.serializer.encode(expression, for_cloud_api=True), sort_keys=True)
