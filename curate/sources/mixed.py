"""Several sources for one build: each layer from its own, all of one anchor date."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.errors import MMEarthError, NoDataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.identity import SCENE, scene_of
from mmearth.curate.limit import Limit
from mmearth.curate.source import (
    Farsighted,
    Label,
    Metered,
    Outcome,
    Particular,
    Price,
    Source,
    Visit,
    is_metered,
)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the sources, and what comes from it."""

    source: Source
    """Answers."""
    kind: str
    """As the configuration names it, with a number where there are several of a kind."""
    names: tuple[str, ...]
    """Layers that come from it; of the first part, all that are no other's."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """A source whose layers come from several others."""

    parts: tuple[Part, ...]
    """The first has all that no other has, and the labels."""
    answers: dict[Visit, dict[str, Outcome]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """What was foreseen and is not used yet."""

    @property
    def name(self) -> str:
        """Those of all of them; an observation names its own."""
        return ", ".join(dict.fromkeys(part.source.name for part in self.parts))

    def fingerprint(self, name: str) -> str:
        """Return what the source of a layer says; see `Source.fingerprint`."""
        return self._of(name).source.fingerprint(name)

    def dating(self, layer: Layer, wanted: Sequence[str], is_required: bool) -> str:
        """Return what decides the image that a layer follows; see `Particular`."""
        part, dated = self._of(layer.name), self._of(SCENE)
        if part is not dated:
            # No image of its own decides whether it is asked for anything.
            if not _dating(part.source, layer, wanted, is_required=True):
                return ""
            layer = replace(layer, timing="anchor")
        mine = [name for name in wanted if self._of(name) is dated]
        return _dating(dated.source, layer, mine, is_required)

    def under(self, tile: Tile, name: str) -> str:
        """Return what may cover a tile; see `Particular`."""
        source = self._of(name).source
        return source.under(tile, name) if isinstance(source, Particular) else ""

    def otherwise(self, name: str) -> str:
        """Return what tells why something is not there; see `Particular`."""
        source = self._of(name).source
        return source.otherwise(name) if isinstance(source, Particular) else ""

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Yield labels of the first; see `Source.labels`."""
        return self.parts[0].source.labels(task, count, seed)

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        """Answer several visits together; see `Farsighted`."""
        self.answers.update(self._answers(visits))

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        """Observe layers, each of its source, over one tile; see `Source.observe`."""
        return self.answers.pop(visit, None) or self._answers([visit])[visit]

    def visits_of(self, part: Part, visits: Sequence[Visit]) -> dict[Visit, Visit]:
        """Return what of some visits is asked of one part, none where that is nothing."""
        others = {name for other in self.parts[1:] if other is not part for name in other.names}

        def mine(names: Sequence[str]) -> tuple[str, ...]:
            if part is self.parts[0]:
                return tuple(name for name in names if name not in others)
            return tuple(name for name in names if name in part.names)

        asked = {v: replace(v, wanted=mine(v.wanted), settled=mine(v.settled)) for v in visits}
        return {visit: each for visit, each in asked.items() if each.wanted}

    def _of(self, name: str) -> Part:
        """Return the part that a layer comes from."""
        return next((part for part in self.parts[1:] if name in part.names), self.parts[0])

    def _answers(self, visits: Sequence[Visit]) -> dict[Visit, dict[str, Outcome]]:
        """Return one outcome for all that visits want: first of whom the anchor date comes from."""
        found: dict[Visit, dict[str, Outcome]] = {visit: {} for visit in visits}
        dated = {visit: visit for visit in visits}
        first = self._of(SCENE)
        for part in (first, *(part for part in self.parts if part is not first)):
            asked = self.visits_of(part, list(dated.values()))
            origins = {now: visit for visit, now in dated.items()}
            for now, outcomes in _asked(part.source, asked).items():
                found[origins[now]] |= outcomes
            if part is first:
                dated = {visit: _dated(visit, found[visit]) for visit in visits}
        for visit in visits:
            scene = found[visit].get(SCENE)
            if isinstance(scene, MMEarthError) and not isinstance(scene, NoDataError):
                # Nobody knows the date that the others are to be of.
                found[visit] = {
                    name: scene if isinstance(outcome, Observation) else outcome
                    for name, outcome in found[visit].items()
                }
        return found


class MeteredMixed(Mixed):
    """The same where one of the sources asks a service: each such one has a limit of its own."""

    __slots__ = ()

    @property
    def in_flight(self) -> int:
        """See `Metered`."""
        return max(each.in_flight for each in self._metered)

    @property
    def per_second(self) -> float:
        """See `Metered`."""
        return max(each.per_second for each in self._metered)

    @property
    def pauses_s(self) -> tuple[float, float]:
        """See `Metered`."""
        first, longest = zip(*(each.pauses_s for each in self._metered), strict=True)
        return max(first), max(longest)

    @property
    def ahead(self) -> int:
        """See `Metered`."""
        return max(each.ahead for each in self._metered)

    def visitors(self, n_cores: int) -> int:
        """See `Metered`."""
        return max(each.visitors(n_cores) for each in self._metered)

    def price(self, visits: Sequence[Visit]) -> Price:
        """See `Metered`."""
        found = [
            part.source.price(list(self.visits_of(part, visits).values()))
            for part in self.parts
            if is_metered(part.source)
        ]
        sent = [each.n_bytes for each in found if each.n_bytes is not None]
        return Price(sum(each.requests for each in found), sum(sent) if sent else None)

    def limited(self, limit: Limit) -> MeteredMixed:
        """See `Metered`."""
        parts = []
        for part in self.parts:
            if is_metered(part.source):
                own = limit.of(part.kind, part.source.in_flight, part.source.per_second)
                part = replace(part, source=part.source.limited(own))  # noqa: PLW2901
            parts.append(part)
        return replace(self, parts=tuple(parts))

    @property
    def _metered(self) -> list[Metered]:
        return [part.source for part in self.parts if is_metered(part.source)]


def mixed(parts: Sequence[Part]) -> Mixed:
    """Return the source that parts make."""
    kind = MeteredMixed if any(is_metered(part.source) for part in parts) else Mixed
    return kind(tuple(parts))


def parts_of(source: Source) -> list[Part]:
    """Return the parts of a source: itself, where it is not mixed."""
    inner = getattr(source, "inner", source)
    if isinstance(inner, Mixed):
        return list(inner.parts)
    return [Part(inner, "", ())]


def asked_of(source: Source, part: Part, visits: Sequence[Visit]) -> list[Visit]:
    """Return what of some visits is asked of a part of a source; see `parts_of`."""
    inner = getattr(source, "inner", source)
    return list(inner.visits_of(part, visits).values()) if isinstance(inner, Mixed) else [*visits]


def _dating(source: Source, layer: Layer, wanted: Sequence[str], is_required: bool) -> str:
    if isinstance(source, Particular):
        return source.dating(layer, wanted, is_required)
    return scene_of(source, layer, wanted)


def _asked(source: Source, asked: Mapping[Visit, Visit]) -> dict[Visit, dict[str, Outcome]]:
    """Return what one source answers, asked for as many at once as suits it."""
    found: dict[Visit, dict[str, Outcome]] = {}
    origins = list(asked)
    size = source.ahead if is_metered(source) else len(origins)
    for begin in range(0, len(origins), max(size, 1)):
        some = origins[begin : begin + size]
        if isinstance(source, Farsighted) and len(some) > 1:
            source.look_ahead([asked[visit] for visit in some])
        for visit in some:
            found[visit] = source.observe(asked[visit])
    return found


def _dated(visit: Visit, outcomes: Mapping[str, Outcome]) -> Visit:
    """Return a visit with the anchor date that its scene, or else its label, gives."""
    scene = outcomes.get(SCENE)
    acquired = scene.acquired if isinstance(scene, Observation) else visit.anchor
    if acquired is None or re.fullmatch(r"\d{4}-\d\d-\d\d", acquired) is None:
        acquired = anchor_date(visit.date, visit.tile.lat)
    return replace(visit, anchor=acquired)
