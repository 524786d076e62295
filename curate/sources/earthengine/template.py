"""Both questions, made once for each kind of tile and filled in: the client is slow to make one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.curate.collectors.collector import MARGIN_M, Facts, Place
from mmearth.curate.sources.earthengine.asked import Asked, Form, asked, form
from mmearth.curate.sources.earthengine.expressions import drawing, scalars

Fields = Mapping[str, tuple[str, ...]]
"""Names of the drawn bands by modality, in the modality's order."""

_MARK = 32617, 123450, 7654320
_MARK_NEAR, _MARK_INTERVALS = "1901-02-03", (("1904-05-06", "1907-08-09"),)
_MOST_FORMS = 256
"""Kept at one time: some 50 kB each."""
_forms: dict[object, _Kind] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Kind:
    """What all tiles of one kind are asked: None where nothing is to be drawn; and the bands."""

    form: Form | None
    fields: Fields


def scalar_question(place: Place, names: Sequence[str], anchor: str | None) -> Asked:
    """Return the scalar question about one tile; see `expressions.scalars`.

    A question of the usual kind is a form with the tile's own numbers put in: to make one with the
    client takes 20 to 60 ms.
    """
    single = place.near is None or len(place.intervals) == 1
    if anchor is not None or place.granules is not None or not single:
        return asked(scalars(place, names, anchor))
    key = (
        tuple(names),
        place.tile.grid,
        place.quirks,
        None if place.near is not None else place.intervals,
    )

    def make() -> _Kind:
        marked = _marked(place)
        marks = [*_constants(marked.tile), *_dates(marked)]
        return _Kind(form(asked(scalars(marked, names, None)), marks), {})

    kind = _kind(key, make)
    assert kind.form is not None
    return kind.form.filled([*_constants(place.tile), *_dates(place)])


def pixel_question(
    place: Place, date: str, facts: Mapping[str, Facts], layers: Sequence[Layer]
) -> tuple[Asked | None, Fields]:
    """Return the pixel question about one tile, None when nothing is to be drawn, and its bands.

    Likewise a form, of all tiles whose scenes have the same bands.
    """
    if place.granules is not None:
        return _drawn(place, date, facts, layers)
    radar = facts.get("sentinel1", {})
    bands = {orbit: [scene["bands"] for scene in found] for orbit, found in radar.items()}
    seen = bool(facts.get("dynamic_world", {}).get("indices"))
    names = tuple(layer.name for layer in layers)
    key = (names, place.tile.grid, place.quirks, date[:4], json.dumps(bands, sort_keys=True), seen)
    scenes = [scene["index"] for scene in _scenes(facts)]

    def make() -> _Kind:
        marked, marks = _marked(place), [f"@scene{i}@" for i in range(len(scenes))]
        image, fields = _drawn(marked, date, _with_scenes(facts, marks), layers)
        every = [*_constants(marked.tile), *marks]
        return _Kind(None if image is None else form(image, every), fields)

    kind = _kind(key, make)
    if kind.form is None:
        return None, kind.fields
    return kind.form.filled([*_constants(place.tile), *scenes]), kind.fields


def _drawn(
    place: Place, date: str, facts: Mapping[str, Facts], layers: Sequence[Layer]
) -> tuple[Asked | None, Fields]:
    image, fields = drawing(place, date, facts, layers)
    return (None if image is None else asked(image)), fields


def _kind(key: object, make: Callable[[], _Kind]) -> _Kind:
    with _lock:
        if key not in _forms:
            if len(_forms) >= _MOST_FORMS:  # labels with intervals of their own
                _forms.clear()
            _forms[key] = make()
        return _forms[key]


def _marked(place: Place) -> Place:
    """Return the place whose numbers stand for those of any other of its kind."""
    marked = Tile(*_MARK, place.tile.grid)
    if place.near is None:
        return replace(place, tile=marked)
    return replace(place, tile=marked, near=_MARK_NEAR, intervals=_MARK_INTERVALS)


def _constants(tile: Tile) -> list[str]:
    """Return every constant of a question that is the tile's own, as it stands in the JSON."""
    left, bottom, right, top = tile.bounds
    wide = [left - MARGIN_M, bottom - MARGIN_M, right + MARGIN_M, top + MARGIN_M]
    return _texts(
        [left, bottom, right, top],
        wide,
        [tile.lon, tile.lat],
        list(tile.transform),
        f"EPSG:{tile.epsg}",
        f"{tile.epsg % 100:02d}",
    )


def _dates(place: Place) -> list[str]:
    """Return the constants of a question that its label's date has made, likewise."""
    return [] if place.near is None else _texts(place.near, *place.intervals[0])


def _texts(*values: Any) -> list[str]:
    return [f'{{"constantValue": {json.dumps(value)}}}' for value in values]


def _scenes(facts: Mapping[str, Facts]) -> list[Facts]:
    """Return the scenes that the pixel question may name, in a fixed order."""
    anchor = [facts["sentinel2"]] if "sentinel2" in facts else []
    radar = facts.get("sentinel1", {})
    return [*anchor, *(scene for orbit in sorted(radar) for scene in radar[orbit])]


def _with_scenes(facts: Mapping[str, Facts], indices: Sequence[str]) -> Mapping[str, Facts]:
    """Return facts whose scenes, in the order of `_scenes`, have other indices."""
    left = iter(indices)
    found = dict(facts)
    if "sentinel2" in facts:
        found["sentinel2"] = {**facts["sentinel2"], "index": next(left)}
    if "sentinel1" in facts:
        radar = facts["sentinel1"]
        found["sentinel1"] = {
            orbit: [{**scene, "index": next(left)} for scene in radar[orbit]]
            for orbit in sorted(radar)
        }
    return found
