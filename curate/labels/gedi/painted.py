"""Biomass painted from GEDI footprints on disk, as a `Painter`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmearth.catalog.errors import NoDataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.labels.gedi.footprints import Footprints, open_footprints
from mmearth.curate.labels.gedi.paint import CIRCLE_M, dates, paint
from mmearth.curate.source import Outcome

TASK = "biomass"
"""The one task that is painted."""


@dataclass(frozen=True, slots=True)
class Painted:
    """Footprints that answer for biomass."""

    path: Path
    """File of footprints (`keep_footprints`), absolute; every process maps it on its own."""
    layer: Layer
    """Of biomass."""
    labels_in_circle: bool = False
    """Paint within 650 m of the centre only, as in the published data."""

    @property
    def footprints(self) -> Footprints:
        """All footprints.

        Raises:
            FormatError: The file is broken.
        """
        return open_footprints(self.path)

    is_dated = False
    """Footprints of all dates are painted."""

    def under(self, tile: Tile) -> str:
        """Return nothing: `key` is of all footprints."""
        del tile
        return ""

    @property
    def key(self) -> str:
        """Of the granules and of how they are painted."""
        return f"{self.footprints.key} {CIRCLE_M if self.labels_in_circle else None}"

    def paint(self, tile: Tile, date: str | None) -> Outcome:
        """Return the biomass of a tile."""
        footprints = self.footprints
        circle_m = CIRCLE_M if self.labels_in_circle else None
        painting = paint(footprints, self.layer, tile, circle_m)
        if not painting.footprints.size:
            return NoDataError("no GEDI footprint that passes the tests lies on the tile")
        granules = np.unique(footprints.granule[painting.footprints]).tolist()
        return Observation(
            self.layer,
            painting.array,
            dates(footprints, painting.footprints),
            ", ".join(sorted({footprints.products[i] for i in granules})),
            tuple(footprints.granules[i] for i in granules),
        )
