"""Any source, with biomass painted from GEDI footprints on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.labels.gedi.footprints import Footprints, open_footprints
from mmearth.curate.labels.gedi.paint import CIRCLE_M, dates, paint, seasons
from mmearth.curate.source import Farsighted, Label, Outcome, Source, Visit

TASK = "biomass"
"""The one name that is painted."""


class Painted:
    """A source that answers `biomass` from footprints, and all else as the wrapped one does."""

    def __init__(
        self, source: Source, path: Path, labels_in_circle: bool = False, days_late: bool = False
    ) -> None:
        """Wrap a source.

        Args:
            source: Answers everything but biomass.
            path: File of footprints (`keep_footprints`); every process maps it on its own.
            labels_in_circle: Paint within 650 m of the centre only, as in the published data.
            days_late: Count the days of seasons as in the published data; see `paint.seasons`.

        Raises:
            FormatError: The file is broken.
        """
        self._source = source
        self._path = path.resolve()
        self._circle_m = CIRCLE_M if labels_in_circle else None
        self._days_late = days_late
        self._key = self.footprints.key

    @property
    def source(self) -> Source:
        """The wrapped source."""
        return self._source

    @property
    def footprints(self) -> Footprints:
        """All footprints."""
        return open_footprints(self._path)

    @property
    def name(self) -> str:
        """Of the wrapped source; a painted observation names its product itself."""
        return self._source.name

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the wrapped source's, of the granules and of how they are painted."""
        return sha256_bytes(f"{self._source.fingerprint} {self._key} {self._circle_m}".encode())

    def seasons(self, tile: Tile) -> tuple[str, ...]:
        """Return when the trees of a tile have leaves; see `paint.seasons`."""
        return seasons(self.footprints, tile, self._days_late)

    def observe(
        self,
        tile: Tile,
        wanted: Sequence[str],
        date: str | None,
        anchor: str | None = None,
        settled: Sequence[str] = (),
    ) -> dict[str, Outcome]:
        """Observe modalities, and pixel-level targets, over one tile; see `Source.observe`."""
        visit = self._asked(Visit(tile, tuple(wanted), date, anchor, tuple(settled)))
        outcomes: dict[str, Outcome] = {}
        if visit.wanted:
            rest = visit.anchor, visit.settled
            outcomes = self._source.observe(tile, visit.wanted, visit.date, *rest)
        if TASK in wanted:
            outcomes[TASK] = self._paint(tile)
        return outcomes

    def labels(self, task: str, count: int, seed: int) -> Iterator[Label]:
        """Yield the wrapped source's labels; see `Source.labels`."""
        return self._source.labels(task, count, seed)

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        """Tell the wrapped source what it will be asked for; see `Farsighted`."""
        if isinstance(self._source, Farsighted):
            self._source.look_ahead([self._asked(visit) for visit in visits])

    def _asked(self, visit: Visit) -> Visit:
        """Return what the wrapped source is asked for: footprints in leaf decide the season."""
        others = tuple(name for name in visit.wanted if name != TASK)
        date = visit.date
        if date is None and TASK in (*visit.wanted, *visit.settled):
            date = ",".join(self.seasons(visit.tile)) or None
        settled = tuple(name for name in visit.settled if name != TASK)
        return Visit(visit.tile, others, date, visit.anchor, settled)

    def _paint(self, tile: Tile) -> Outcome:
        footprints = self.footprints
        painting = paint(footprints, tile, self._circle_m)
        if not painting.footprints.size:
            return NoDataError("no GEDI footprint that passes the tests lies on the tile")
        granules = np.unique(footprints.granule[painting.footprints]).tolist()
        return Observation(
            TASK,
            painting.array,
            dates(footprints, painting.footprints),
            ", ".join(sorted({footprints.products[i] for i in granules})),
            tuple(footprints.granules[i] for i in granules),
        )
