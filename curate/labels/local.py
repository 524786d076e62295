"""Pixel-level targets that are made here from files, whatever source the rest comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.limit import Limit
from mmearth.curate.source import Farsighted, Label, Metered, Outcome, Source, Visit


class Painter(Protocol):
    """Makes one task's target on a tile. Must be picklable, as a source is."""

    @property
    def layer(self) -> Layer:
        """What it makes."""

    @property
    def key(self) -> str:
        """Of all that decides what it makes."""

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

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the other source's, and of what decides what is painted."""
        keys = " ".join(painter.key for painter in self.painters)
        return sha256_bytes(f"{self.inner.fingerprint} {keys}".encode())

    def observe(
        self,
        tile: Tile,
        wanted: Sequence[str],
        date: str | None,
        anchor: str | None = None,
        settled: Sequence[str] = (),
    ) -> dict[str, Outcome]:
        """Observe layers, and pixel-level targets, over one tile; see `Source.observe`."""
        visit = self._others(Visit(tile, tuple(wanted), date, anchor, tuple(settled)))
        outcomes: dict[str, Outcome] = {}
        if visit.wanted:
            rest = visit.anchor, visit.settled
            outcomes = self.inner.observe(tile, visit.wanted, visit.date, *rest)
        for painter in self.painters:
            if painter.layer.name in wanted:
                outcomes[painter.layer.name] = _painted(painter, tile, anchor)
        return outcomes

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Yield the other source's labels; see `Source.labels`."""
        return self.inner.labels(task, count, seed)

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        """Tell the other source what it will be asked for; see `Farsighted`."""
        if isinstance(self.inner, Farsighted):
            self.inner.look_ahead([self._others(visit) for visit in visits])

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
