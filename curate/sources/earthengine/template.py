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
from mmearth.curate.sources.earthengine.expressions import Collectors, drawing, scalars

Fields = Mapping[str, tuple[str, ...]]
"""Names of the drawn bands by modality, in the modality's order."""

_MARK = 32617, 123450, 7654320
_MARK_ANCHOR = "1900-01-05"
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


def scalar_question(place: Place, collectors: Collectors, anchor: str | None) -> Asked:
    """Return the scalar question about one tile; see `expressions.scalars`.

    A question of the usual kind is a form with the tile's own numbers put in: to make one with the
    client takes 20 to 60 ms.
    """
    single = place.near is None or len(place.intervals) == 1
    if place.granules is not None or not single:
        return asked(scalars(place, collectors, anchor))
    settled = None if anchor is None else _MARK_ANCHOR
    key = (
        tuple(collectors.items()),
        place.tile.grid,
        place.quirks,
        None if place.near is not None else place.intervals,
        settled,
    )

    def make() -> _Kind:
        marked = _marked(place)
        marks = [*_constants(marked.tile), *_dates(marked), *_settled(settled)]
        return _Kind(form(asked(scalars(marked, collectors, settled)), marks), {})

    kind = _kind(key, make)
    assert kind.form is not None
    return kind.form.filled([*_constants(place.tile), *_dates(place), *_settled(anchor)])


def pixel_question(
    place: Place,
    date: str,
    facts: Mapping[str, Facts],
    layers: Sequence[Layer],
    collectors: Collectors,
) -> tuple[Asked | None, Fields]:
    """Return the pixel question about one tile, None when nothing is to be drawn, and its bands.

    Likewise a form, of all tiles whose scenes have the same bands.
    """
    if place.granules is not None:
        return _drawn(place, date, facts, layers, collectors)
    marks: dict[str, str] = {}
    drawn = {name for name, collector in collectors.items() if collector.draw is not None}
    needed = {
        name: _needed(facts[name], marks) for name in sorted({*drawn, "sentinel2"} & facts.keys())
    }
    known = json.dumps(needed, sort_keys=True)
    key = tuple(collectors.items()), place.tile.grid, place.quirks, date[:4], known

    def make() -> _Kind:
        marked = _marked(place)
        image, fields = _drawn(marked, date, needed, layers, collectors)
        every = [*_constants(marked.tile), *marks.values()]
        return _Kind(None if image is None else form(image, every), fields)

    kind = _kind(key, make)
    if kind.form is None:
        return None, kind.fields
    return kind.form.filled([*_constants(place.tile), *marks]), kind.fields


def _drawn(
    place: Place,
    date: str,
    facts: Mapping[str, Facts],
    layers: Sequence[Layer],
    collectors: Collectors,
) -> tuple[Asked | None, Fields]:
    image, fields = drawing(place, date, facts, layers, collectors)
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


def _settled(anchor: str | None) -> list[str]:
    """Return the constant of a question that the anchor date has made, where it is settled."""
    return [] if anchor is None else _texts(anchor)


def _texts(*values: Any) -> list[str]:
    return [f'{{"constantValue": {json.dumps(value)}}}' for value in values]


def _needed(facts: Any, marks: dict[str, str]) -> Any:
    """Return what of facts a pixel question depends on, with marks for scenes and days.

    Args:
        facts: Of one modality, or a part of them.
        marks: Text → its mark; what is met is put there. What is the same twice is one node of the
            question, and so it has one mark.
    """
    if isinstance(facts, list):
        return [_needed(each, marks) for each in facts if isinstance(each, dict)]
    found: dict[str, Any] = {}
    for name, each in sorted(facts.items()):
        if name in ("index", "first", "after"):
            found[name] = marks.setdefault(each, f"@{len(marks)}@")
        elif name in ("bands", "indices"):
            found[name] = each if name == "bands" else bool(each)
        elif isinstance(each, list | dict):
            found[name] = _needed(each, marks)
    return found
