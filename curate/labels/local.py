"""Pixel-level targets that are made here from files, whatever source the rest comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mmearth.catalog.errors import MMEarthError
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
)


class Painter(Protocol):
    """Makes one task's target on a tile. Must be picklable, as a source is."""

    @property
    def layer(self) -> Layer:
        """What it makes."""

    @property
    def key(self) -> str:
        """Of all that decides what it makes."""

    @property
    def is_dated(self) -> bool:
        """Whether the anchor date decides something."""

    def under(self, tile: Tile) -> str:
        """Return what of it may cover a tile, as `Particular.under` does."""

    def paint(self, tile: Tile, date: str | None) -> Outcome:
        """Return the target of a tile; `date` is the anchor date, where it is known."""


@dataclass(frozen=True, slots=True)
class WithTargets:
    """A source whose targets with pixels come from painters, and all else from another source."""

    inner: Source
    """Answers everything else."""
    painters: tuple[Painter, ...]
    """One per task."""

    @property
    def name(self) -> str:
        """Of the other source; a painted observation names its product itself."""
        return self.inner.name

    def fingerprint(self, name: str) -> str:
        """Return what decides what is painted; of all else, what the other source says."""
        painter = self._painter(name)
        return self.inner.fingerprint(name) if painter is None else painter.key

    def dating(self, layer: Layer, wanted: Sequence[str], is_required: bool) -> str:
        """Return what fixes the date that a layer follows; see `Particular`."""
        painter = self._painter(layer.name)
        if painter is not None:
            if not painter.is_dated:
                return ""
            layer = replace(layer, timing="anchor")
        others = [name for name in wanted if self._painter(name) is None]
        if isinstance(self.inner, Particular):
            return self.inner.dating(layer, others, is_required)
        return scene_of(self.inner, layer, others)

    def under(self, tile: Tile, name: str) -> str:
        """Return what may cover a tile; see `Particular`."""
        painter = self._painter(name)
        if painter is not None:
            return painter.under(tile)
        return self.inner.under(tile, name) if isinstance(self.inner, Particular) else ""

    def otherwise(self, name: str) -> str:
        """Return what tells why something is not there; see `Particular`."""
        painter = self._painter(name)
        if painter is not None or not isinstance(self.inner, Particular):
            return ""
        return self.inner.otherwise(name)

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        """Observe layers, and pixel-level targets, over one tile; see `Source.observe`."""
        others = self._others(visit)
        outcomes = self.inner.observe(others) if others.wanted else {}
        scene = outcomes.get(SCENE)
        day = scene.acquired if isinstance(scene, Observation) else visit.anchor
        for painter in self.painters:
            if painter.layer.name in visit.wanted:
                outcomes[painter.layer.name] = _painted(painter, visit.tile, day)
        return outcomes

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Yield the other source's labels; see `Source.labels`."""
        return self.inner.labels(task, count, seed)

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        """Tell the other source what it will be asked for; see `Farsighted`."""
        if isinstance(self.inner, Farsighted):
            self.inner.look_ahead([self._others(visit) for visit in visits])

    def price(self, visits: Sequence[Visit]) -> Price:
        """See `Metered`."""
        return self._metered.price([self._others(visit) for visit in visits])

    def limited(self, limit: Limit) -> WithTargets:
        """See `Metered`; only where the other source is."""
        return replace(self, inner=self._metered.limited(limit))

    @property
    def in_flight(self) -> int:
        """See `Metered`."""
        return self._metered.in_flight

    @property
    def per_second(self) -> float:
        """See `Metered`."""
        return self._metered.per_second

    @property
    def pauses_s(self) -> tuple[float, float]:
        """See `Metered`."""
        return self._metered.pauses_s

    @property
    def ahead(self) -> int:
        """See `Metered`."""
        return self._metered.ahead

    def visitors(self, n_cores: int) -> int:
        """See `Metered`."""
        return self._metered.visitors(n_cores)

    def _painter(self, name: str) -> Painter | None:
        return next((each for each in self.painters if each.layer.name == name), None)

    @property
    def _metered(self) -> Metered:
        inner: Any = self.inner
        return inner  # type: ignore[no-any-return]  # `is_metered` looks at it

    def _others(self, visit: Visit) -> Visit:
        """Return what the other source is asked for."""
        own = {painter.layer.name for painter in self.painters}
        wanted, settled = (
            tuple(name for name in names if name not in own)
            for names in (visit.wanted, visit.settled)
        )
        return replace(visit, wanted=wanted, settled=settled)


def _painted(painter: Painter, tile: Tile, date: str | None) -> Outcome:
    try:
        return painter.paint(tile, date)
    except MMEarthError as exc:
        return exc
