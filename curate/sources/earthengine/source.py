"""Google Earth Engine: two requests a tile, whatever is wanted of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import (
    ConfigError,
    MMEarthError,
    NoDataError,
    RefusedError,
    SourceError,
)
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.collectors import COLLECTORS, sentinel2
from mmearth.curate.collectors.collector import Collector, Facts, Place, Seen
from mmearth.curate.collectors.own import own_collector, sent_bytes
from mmearth.curate.identity import SCENE
from mmearth.curate.limit import Limit
from mmearth.curate.recipes import Quirks
from mmearth.curate.seasons import around, season
from mmearth.curate.source import Label, Outcome, Price, Visit
from mmearth.curate.sources.earthengine.absent import AbsentError, lacking_band
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.asked import Asked, together
from mmearth.curate.sources.earthengine.config import EarthEngineLayer
from mmearth.curate.sources.earthengine.expressions import pixels_of
from mmearth.curate.sources.earthengine.footprints import biomass_labels
from mmearth.curate.sources.earthengine.granules import drop_granule, granules_at
from mmearth.curate.sources.earthengine.service import Service
from mmearth.curate.sources.earthengine.template import pixel_question, scalar_question

_MOST_BANDS, _MOST_BYTES = 1020, 47 * 2**20
"""Of a request, with room for a target: 1024 bands and 48 MB
(developers.google.com/earth-engine/reference/rest/v1/projects.image/computePixels)."""
AHEAD = 4
"""Tiles whose scalars are asked for together: few enough for any limit of the service."""
VERSION = 2
"""Goes up when the same scenes would give other bytes."""


@dataclass(frozen=True, slots=True)
class Question:
    """The scalar question about one tile, and its answer."""

    place: Place
    """As it is asked for."""
    anchor: str | None
    """The anchor date, where it is settled."""
    scalars: Asked
    """The expression."""
    answer: Any = None
    """What the service said."""


@dataclass(frozen=True, slots=True)
class EarthEngine:
    """Collections of Google Earth Engine, as a Source."""

    catalogue: Catalogue
    """Of the dataset."""
    quirks: Quirks
    """Which published rules are kept."""
    days: int
    """How far from the date of a label the anchor scene may be."""
    access: Access
    """How the service is reached."""
    limit: Limit
    """Shared by all workers."""
    own: Mapping[str, EarthEngineLayer] = field(default_factory=dict)
    """Where layers of the user's own are, by name."""
    profiles: dict[str, list[str]] | None = None
    """Where the ids of the requests' cost profiles are kept, by kind; None asks for none."""
    tag: str = ""
    """What a build's requests are told apart by in the project's bill; see `workload_tag`."""
    answers: dict[Visit, Question] = field(default_factory=dict, compare=False, repr=False)
    """What was foreseen and is not used yet."""

    def __post_init__(self) -> None:
        """Refuse layers of which one request cannot have all.

        Raises:
            ConfigError: It is so.
        """
        layers = [each for each in self.catalogue.pixel_layers if self._known([each.name])]
        n_bands = sum(len(layer.bands) for layer in layers)
        n_bytes = sum(map(sent_bytes, layers))
        if n_bands > _MOST_BANDS or n_bytes > _MOST_BYTES:
            raise ConfigError(
                f"a tile has {n_bands} bands and {n_bytes / 2**20:.0f} MB, of which Earth Engine "
                f"sends {_MOST_BANDS} and {_MOST_BYTES // 2**20} MB at once; take fewer bands, a "
                "smaller grid:, or a dtype of fewer bytes"
            )

    @property
    def name(self) -> str:
        """`earthengine 2`."""
        return f"earthengine {VERSION}"

    def fingerprint(self, name: str) -> str:
        """Return the SHA-256 of the version, and of the rules that touch a layer."""
        known = self._collectors(self._known([name]))
        touched = {rule: getattr(self.quirks, rule) for c in known.values() for rule in c.quirks}
        days = self.days if name == SCENE else None
        return sha256_bytes(f"{self.name} {touched} {days} {self.own.get(name)}".encode())

    def dating(self, layer: Layer, wanted: Sequence[str], is_required: bool) -> str:
        """Return what decides the anchor image; see `Particular`.

        Where a tile has none nothing is asked for, so that unless it is required all follow it.
        """
        if SCENE not in wanted or (layer.timing == "static" and is_required):
            return ""
        leaves = self.quirks.leaf_days_late if "biomass" in wanted else None
        return f"{self.fingerprint(SCENE)} {leaves}"

    def under(self, tile: Tile, name: str) -> str:
        """Return nothing: the service does not say when its images change."""
        del tile, name
        return ""

    def otherwise(self, name: str) -> str:
        """Return nothing: all that decides an answer is in `fingerprint`."""
        del name
        return ""

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
        """See `Metered`: while some wait for the service, others decode and write."""
        return self.in_flight + 4 * n_cores

    def price(self, visits: Sequence[Visit]) -> Price:
        """See `Metered`: scalars of several tiles go together, the pixels of each alone."""
        n_asked, n_drawn = 0, 0
        for visit in visits:
            collectors = self._collectors(self._known(visit.wanted)).values()
            is_dated = visit.anchor is not None and SCENE not in visit.wanted
            n_asked += not is_dated or any(each.ask is not None for each in collectors)
            n_drawn += any(each.draw is not None for each in collectors)
        return Price(-(-n_asked // AHEAD) + n_drawn, None)

    def limited(self, limit: Limit) -> EarthEngine:
        """See `Metered`."""
        return replace(self, limit=limit)

    @property
    def service(self) -> Service:
        """Where the requests go."""
        return Service(self.access, self.limit, self.profiles, self.tag)

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        """Ask for the scalars of several tiles in one request; see `Farsighted`."""
        visits = [replace(visit, wanted=self._known(visit.wanted)) for visit in visits]
        try:
            questions = {visit: self._question(visit) for visit in visits}
            asked = {v: each for v, each in questions.items() if each.answer is None}
            all_of_them = together([each.scalars for each in asked.values()])
            answers = self.service.value(all_of_them, can_be_split=True) if asked else []
        except RefusedError:
            raise
        except MMEarthError:
            return  # too much at once, perhaps: each tile is asked for by itself
        for (visit, question), answer in zip(asked.items(), answers, strict=True):
            self.answers[visit] = replace(question, answer=answer)

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        """Observe modalities, and biomass, over one tile; see `Source.observe`."""
        outcomes: dict[str, Outcome] = {
            name: NoDataError(f"{self.name} has no {name}") for name in visit.wanted
        }
        known = replace(visit, wanted=self._known(visit.wanted))
        try:
            outcomes.update(self._see(known))
        except RefusedError:
            raise
        except MMEarthError as exc:
            outcomes.update(dict.fromkeys(known.wanted, exc))
        return outcomes

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Yield labelled places of biomass; see `Source.labels`."""
        if task.name != "biomass":
            raise ConfigError(
                f"{self.name} has no labels for {task.name}; give a table with points:, soil: or "
                "ranges:"
            )
        return biomass_labels(self.service, self.catalogue.grid, count, seed)

    def _place(self, visit: Visit) -> Place:
        """Return how a tile is asked for."""
        tile, date = visit.tile, visit.date
        by_leaf = "biomass" in (*visit.wanted, *visit.settled)
        granules = granules_at(tile, self.service) if by_leaf else None
        intervals = season(tile.lat, self.quirks) if date is None else around(date, self.days)
        # What settled the date is the nearest to itself, should it have to be found again.
        near = visit.anchor or (None if date is None or "/" in date else date)
        return Place(tile, intervals, near, self.quirks, granules)

    def _question(self, visit: Visit) -> Question:
        place = self._place(visit)
        anchor = None if "sentinel2" in visit.wanted else visit.anchor
        self.service.sign_in()
        collectors = self._collectors(visit.wanted)
        answer: Any = None
        if anchor is not None and all(each.ask is None for each in collectors.values()):
            answer = {"scene": [{}]}  # there is nothing to ask for
        return Question(place, anchor, scalar_question(place, collectors, anchor), answer)

    def _known(self, wanted: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in wanted if name in COLLECTORS or name in self.own)

    def _collectors(self, names: Sequence[str]) -> dict[str, Collector]:
        return {
            name: own_collector(self.catalogue.layer(name), self.own[name])
            if name in self.own
            else COLLECTORS[name]
            for name in names
        }

    def _see(self, visit: Visit) -> dict[str, Outcome]:
        """Ask the two questions, anew without each table of GEDI that turns out to be absent."""
        question = self.answers.pop(visit, None) or self._question(visit)
        while True:
            try:
                return self._seen(visit, question)
            except AbsentError as exc:
                if exc.asset not in (question.place.granules or ()):
                    raise
                drop_granule(self.service, exc.asset)
                question = self._question(visit)
            except SourceError as exc:
                self._refuse_lacking(exc)
                raise

    def _refuse_lacking(self, error: SourceError) -> None:
        """Stop where a layer of the user's own names a band that is not there: no tile has it.

        Raises:
            RefusedError: It is so.
        """
        band = lacking_band(str(error))
        for name, config in self.own.items():
            if band in (config.bands or self.catalogue.layer(name).band_names):
                raise RefusedError(
                    f"layers.{name}.earthengine: {config.image or config.collection} has no band "
                    f"{band!r}; correct bands: ({error})"
                ) from error

    def _seen(self, visit: Visit, question: Question) -> dict[str, Outcome]:
        """Ask the two questions, of which the first may be answered, and decode the answers."""
        if question.answer is None:
            question = replace(question, answer=self.service.value(question.scalars))
        place, answer = question.place, question.answer
        layers = [self.catalogue.observed(name) for name in visit.wanted]
        if not answer["scene"]:
            raise NoDataError(_no_scene(place, answer["counts"]))
        facts: Mapping[str, Facts] = answer["scene"][0]
        day = question.anchor or sentinel2.day(facts["sentinel2"])
        collectors = self._collectors(visit.wanted)
        image, fields = pixel_question(place, day, facts, layers, collectors)
        reply = None if image is None else self.service.pixels(image, visit.tile)
        outcomes: dict[str, Outcome] = {}
        for layer in layers:
            here = facts.get(layer.name, {}), pixels_of(layer, fields, reply), layer
            seen = Seen(place, day, *here)
            outcomes[layer.name] = self._read(collectors[layer.name], seen)
        return outcomes

    def _read(self, collector: Collector, seen: Seen) -> Outcome:
        """Decode one modality; what needs no request keeps its own source."""
        try:
            observation = collector.read(seen)
        except MMEarthError as exc:
            return exc
        if observation.source:
            return observation
        return replace(observation, source=self.name, expression=_alone(collector, seen))


def _alone(collector: Collector, seen: Seen) -> str:
    """Return the SHA-256 of the question that asks for one layer alone, given the date.

    Layers are asked for together, and which ones is an accident of when the build went on.
    """
    name = seen.layer.name
    place = replace(seen.place, near=None)
    if name != "biomass":
        place = replace(place, granules=None)
    if seen.pixels is None:
        return scalar_question(place, {name: collector}, seen.date).sha256
    alone = {name: seen.facts}, [seen.layer], {name: collector}
    question, _ = pixel_question(place, seen.date, *alone)
    assert question is not None  # it was drawn
    return question.sha256


def workload_tag(name: str, config_sha256: str) -> str:
    """Return what the requests of a build carry: of small letters, digits, dashes, at most 63.

    Source:
        developers.google.com/earth-engine/apidocs/ee-data-setworkloadtag
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].rstrip("-")
    return "-".join(filter(None, ("mmearth", plain, config_sha256[:8])))


def _no_scene(place: Place, counts: Mapping[str, int]) -> str:
    if place.granules is not None and not counts["seen"]:
        return "no Sentinel-2 scene was taken while a GEDI footprint of the tile was in leaf"
    return sentinel2.no_scene(counts)
