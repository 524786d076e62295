"""Any source, with biomass painted from GEDI footprints on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate.labels.gedi.footprints import Footprints, open_footprints
from mmearth.curate.labels.gedi.paint import CIRCLE_M, dates, paint
from mmearth.curate.source import Farsighted, Label, Outcome, Source, Visit

TASK = "biomass"
"""The one name that is painted."""


class Painted:
    """A source that answers `biomass` from footprints, and all else as the wrapped one does."""

    def __init__(
        self, source: Source, path: Path, layer: Layer, labels_in_circle: bool = False
    ) -> None:
        """Wrap a source.

        Args:
            source: Answers everything but biomass.
            path: File of footprints (`keep_footprints`); every process maps it on its own.
            layer: Of biomass.
            labels_in_circle: Paint within 650 m of the centre only, as in the published data.

        Raises:
            FormatError: The file is broken.
        """
        self._source = source
        self._path, self._layer = path.resolve(), layer
        self._circle_m = CIRCLE_M if labels_in_circle else None
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

    def observe(
        self,
        tile: Tile,
        wanted: Sequence[str],
        date: str | None,
        anchor: str | None = None,
        settled: Sequence[str] = (),
    ) -> dict[str, Outcome]:
        """Observe modalities, and pixel-level targets, over one tile; see `Source.observe`."""
        visit = _others(Visit(tile, tuple(wanted), date, anchor, tuple(settled)))
        outcomes: dict[str, Outcome] = {}
        if visit.wanted:
            rest = visit.anchor, visit.settled
            outcomes = self._source.observe(tile, visit.wanted, visit.date, *rest)
        if TASK in wanted:
            outcomes[TASK] = self._paint(tile)
        return outcomes

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Yield the wrapped source's labels; see `Source.labels`."""
        return self._source.labels(task, count, seed)

    def look_ahead(self, visits: Sequence[Visit]) -> None:
        """Tell the wrapped source what it will be asked for; see `Farsighted`."""
        if isinstance(self._source, Farsighted):
            self._source.look_ahead([_others(visit) for visit in visits])

    def _paint(self, tile: Tile) -> Outcome:
        footprints = self.footprints
        painting = paint(footprints, self._layer, tile, self._circle_m)
        if not painting.footprints.size:
            return NoDataError("no GEDI footprint that passes the tests lies on the tile")
        granules = np.unique(footprints.granule[painting.footprints]).tolist()
        return Observation(
            self._layer,
            painting.array,
            dates(footprints, painting.footprints),
            ", ".join(sorted({footprints.products[i] for i in granules})),
            tuple(footprints.granules[i] for i in granules),
        )


def _others(visit: Visit) -> Visit:
    """Return what the wrapped source is asked for."""
    wanted, settled = (
        tuple(name for name in names if name != TASK) for names in (visit.wanted, visit.settled)
    )
    return replace(visit, wanted=wanted, settled=settled)
