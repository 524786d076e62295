"""Some visits together: searched for, chosen and read as one, so that they share what they can."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import MMEarthError, NoDataError, UnavailableError
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.curate.recipes import Quirks
from mmearth.curate.seasons import around, season
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.stac.assets import Assets
from mmearth.curate.sources.stac.choose import Candidate, images, scenes, usable
from mmearth.curate.sources.stac.clear import Verdict, verdicts
from mmearth.curate.sources.stac.config import CollectionEntry, StacConfig
from mmearth.curate.sources.stac.reads import Parts, Pick, read_all
from mmearth.curate.sources.stac.searches import Place, Searches, Times

ANCHOR = "sentinel2"
_MOST_DAYS = 6
"""Days whose images of one layer are looked at until the tile has one."""
Outcomes = dict[Visit, dict[str, Outcome]]


@dataclass(slots=True)
class Round:
    """Visits that are answered together."""

    config: StacConfig
    """Of the source."""
    catalogue: Catalogue
    """Of the dataset."""
    quirks: Quirks
    """Which published rules are kept."""
    name: str
    """Of the source, for provenance."""
    searches: Searches
    """Of this round."""
    shelf: Assets
    """Gets the assets."""
    outcomes: Outcomes = field(default_factory=dict)
    """What is found out."""

    def answer(self, visits: Sequence[Visit]) -> Outcomes:
        """Return one outcome for all that each visit wants of the collections.

        Raises:
            RefusedError: A person must act, or the budget is spent.
            StorageError: The disk is full or refused.
        """
        self.outcomes = {visit: {} for visit in visits}
        self._anchors([visit for visit in visits if ANCHOR in visit.wanted])
        days: dict[Visit, str] = {}
        for visit in visits:
            found = self.outcomes[visit].get(ANCHOR)
            if isinstance(found, UnavailableError):  # nobody knows the date yet
                self.outcomes[visit].update(dict.fromkeys(visit.wanted, found))
                continue
            acquired = found.acquired if isinstance(found, Observation) else visit.anchor
            days[visit] = acquired or anchor_date(visit.date, visit.tile.lat)
        for name in self.config.layers:
            if name != ANCHOR and any(name in visit.wanted for visit in days):
                layer = self.catalogue.layer(name)
                self._layer(layer, {v: day for v, day in days.items() if name in v.wanted})
        return self.outcomes

    def _places(self, name: str) -> list[Place]:
        """Return where a layer is, in the order in which it is looked for."""
        return [
            Place(catalog, entry)
            for catalog in self.config.catalogs
            for entry in catalog.collections.get(name, ())
        ]

    def _anchors(self, visits: Sequence[Visit]) -> None:
        """Find and read the scene of each visit, collection by collection."""
        left = list(visits)
        for place in self._places(ANCHOR):
            if left:
                left = self._scenes_of(place, left)

    def _scenes_of(self, place: Place, visits: Sequence[Visit]) -> list[Visit]:
        """Answer the visits of which a collection has a clear scene; return the others."""
        times = {visit: self._season(visit) for visit in visits}
        self.searches.ask([place], {visit.tile: when for visit, when in times.items()})
        queues: dict[Visit, list[Candidate]] = {}
        for visit in visits:
            try:
                near = self.searches.near(place, visit.tile, times[visit])
            except MMEarthError as exc:
                self.outcomes[visit][ANCHOR] = exc
                continue
            here = usable(near, place.entry, times[visit])
            queues[visit] = scenes(here, visit.tile, _near(visit))
        counts = {visit: len(queue) for visit, queue in queues.items()}
        while chosen := self._clear(place, queues):
            self._read_scenes(place, chosen)
            for visit in chosen:
                if _is_settled(self.outcomes[visit][ANCHOR]):
                    del queues[visit]
        for visit in queues:
            self._none_clear(visit, place, counts[visit])
        return list(queues)

    def _clear(
        self, place: Place, queues: dict[Visit, list[Candidate]]
    ) -> dict[Visit, tuple[Candidate, Verdict]]:
        """Return the next clear scene of each visit; its queue goes on behind it."""
        chosen: dict[Visit, tuple[Candidate, Verdict]] = {}
        while waiting := [v for v, queue in queues.items() if queue and v not in chosen]:
            asked = [(visit.tile, queues[visit].pop(0)) for visit in waiting]
            told = verdicts(self.shelf, asked, place.entry, self.config.cloud)
            for visit, (_, candidate), verdict in zip(waiting, asked, told, strict=True):
                if isinstance(verdict, MMEarthError):
                    self.outcomes[visit][ANCHOR] = verdict
                    if _is_settled(verdict):
                        del queues[visit]
                elif verdict.passes(self.config.cloud):
                    chosen[visit] = candidate, verdict
        return chosen

    def _read_scenes(self, place: Place, chosen: Mapping[Visit, tuple[Candidate, Verdict]]) -> None:
        picks = [Pick(v.tile, [(place.entry, c)], c.day) for v, (c, _) in chosen.items()]
        found = read_all(self.shelf, self.catalogue.layer(ANCHOR), picks, self.name)
        for (visit, (_, verdict)), outcome in zip(chosen.items(), found, strict=True):
            self.outcomes[visit][ANCHOR] = _judged(outcome, verdict)

    def _none_clear(self, visit: Visit, place: Place, count: int) -> None:
        """Say why a visit has no scene; what could not be read is told before what is cloudy."""
        known = self.outcomes[visit].get(ANCHOR)
        if known is None or (type(known) is NoDataError and count):
            self.outcomes[visit][ANCHOR] = NoDataError(
                f"none of the {count} Sentinel-2 scenes of {place.entry.collection} that cover the "
                "tile in its season is clear"
            )

    def _layer(self, layer: Layer, days: Mapping[Visit, str]) -> None:
        """Answer one layer of visits whose anchor dates are known."""
        left = dict(days)
        for places in _together(self._places(layer.name)):
            if not left:
                return
            queues = self._queues(layer, places, left)
            for _ in range(_MOST_DAYS):
                picks = {visit: queue.pop(0) for visit, queue in queues.items() if queue}
                if not picks:
                    break
                asked = [Pick(visit.tile, parts, left[visit]) for visit, parts in picks.items()]
                found = read_all(self.shelf, layer, asked, self.name)
                for visit, outcome in zip(picks, found, strict=True):
                    self.outcomes[visit][layer.name] = outcome
                    if not isinstance(outcome, NoDataError):
                        del queues[visit]
            left = {v: d for v, d in left.items() if self._is_absent(v, layer.name)}
        for visit in left:
            nothing = NoDataError(f"no collection has {layer.name} at the tile for its date")
            self.outcomes[visit].setdefault(layer.name, nothing)

    def _is_absent(self, visit: Visit, name: str) -> bool:
        known = self.outcomes[visit].get(name)
        return known is None or isinstance(known, NoDataError)

    def _queues(
        self, layer: Layer, places: Sequence[Place], days: Mapping[Visit, str]
    ) -> dict[Visit, list[Parts]]:
        """Return what may be read for each visit, best first."""
        times = {visit: _times(layer, places[0].entry, day) for visit, day in days.items()}
        self.searches.ask(places, {visit.tile: when for visit, when in times.items()})
        queues: dict[Visit, list[Parts]] = {}
        for visit, day in days.items():
            try:
                found = [
                    images(
                        usable(
                            self.searches.near(place, visit.tile, times[visit]),
                            place.entry,
                            times[visit],
                        ),
                        layer,
                        visit.tile,
                        day,
                    )
                    for place in places
                ]
            except MMEarthError as exc:
                self.outcomes[visit][layer.name] = exc
                continue
            queues[visit] = list(_aligned([place.entry for place in places], found))
        return queues

    def _season(self, visit: Visit) -> Times:
        if visit.date is None:
            return season(visit.tile.lat, self.quirks)
        return around(visit.date, self.config.days)


def _near(visit: Visit) -> str | None:
    """Return the day that scenes are to be near to; None where all of a season are as good."""
    if visit.anchor is not None:
        return visit.anchor
    return None if visit.date is None or "/" in visit.date else visit.date


def _is_settled(outcome: Outcome) -> bool:
    """Return whether no other scene is looked for: there is one, or nobody can tell now."""
    return isinstance(outcome, Observation | UnavailableError)


def _judged(outcome: Outcome, verdict: Verdict) -> Outcome:
    """Return an observation whose provenance tells by what rule its scene was chosen."""
    if not isinstance(outcome, Observation):
        return outcome
    told = f"clear={verdict.clear:.4f},seen={verdict.seen:.4f},clouds_by={verdict.by}"
    ids = [f"{text},{told}" if "#" in text else text for text in outcome.source_ids]
    return replace(outcome, source_ids=tuple(sorted(ids)))


def _together(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Yield places that are looked at together: entries of one collection with other bands."""
    some: list[Place] = []
    for place in places:
        bands = {band for each in some for band in each.entry.keys}
        if some and (place.key != some[0].key or bands & set(place.entry.keys)):
            yield some
            some = []
        some.append(place)
    if some:
        yield some


def _aligned(
    entries: Sequence[CollectionEntry], found: Sequence[Sequence[Candidate]]
) -> Iterator[Parts]:
    """Yield the best of all entries, then the second best, of those that have one."""
    for row in zip_longest(*found):
        yield [(e, c) for e, c in zip(entries, row, strict=True) if c is not None]


def _times(layer: Layer, entry: CollectionEntry, day: str) -> Times:
    """Return when the items of a layer may be of; none for any time."""
    if entry.datetime is not None:
        return around(entry.datetime, 0)
    year, month = int(day[:4]), int(day[5:7])
    if layer.timing == "year":
        return ((f"{year}-01-01", f"{year + 1}-01-01"),)
    if layer.timing == "month":
        after = datetime.date(year + month // 12, month % 12 + 1, 1)
        return ((f"{day[:7]}-01", after.isoformat()),)
    if layer.timing == "static":
        return ()
    return around(day, entry.days if layer.timing == "nearest" else 0)
