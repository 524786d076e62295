"""What is seen at a place: one observation per layer, together a sample."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import DataError
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile


@dataclass(frozen=True, slots=True)
class Observation:
    """One layer over one tile: a modality, or a pixel-level target."""

    layer: Layer
    """What it is of."""
    array: NDArray[np.generic]
    """Of the layer's shape, (band, row, column) or (band,); no-data where absent."""
    acquired: str | None = None
    """`YYYY-MM-DD`, an interval `YYYY-MM-DD/YYYY-MM-DD`, `YYYY`, or None when it has no date."""
    source: str = ""
    """Which source made it, with its version: `synthetic 2`, `files`."""
    source_ids: tuple[str, ...] = ()
    """The images, files or features it was made from, sorted."""
    stand_in: str | None = None
    """Why another product stands in for the modality's own; None when it is its own."""
    expression: str | None = None
    """SHA-256 of the request that asks for it alone, where a service computed it; else None."""

    @property
    def valid_fraction(self) -> float:
        """Share of its values that are not no-data, 0 to 1."""
        valid = self.layer.valid(self.array)
        return int(np.count_nonzero(valid)) / valid.size

    def check(self) -> None:
        """Refuse an array that breaks the contract of its layer.

        Raises:
            DataError: See `Layer.check`.
        """
        self.layer.check(self.array)


@dataclass(frozen=True, slots=True)
class Sample:
    """A tile at a date with its observations and its target: what a model sees."""

    tile: Tile
    """The place."""
    date: str
    """The anchor date, `YYYY-MM-DD`."""
    task: Task
    """What is to be predicted."""
    split: str
    """One of `splits.SPLITS`."""
    target: NDArray[np.generic] | None
    """Of the task's shape and dtype; None where the task lets a sample have none."""
    observations: dict[str, Observation] = field(default_factory=dict)
    """By modality; one that is not there was missing at its source."""

    @property
    def key(self) -> str:
        """`<tile.id>_<yyyymmdd>`: the sample's name in shards and manifests."""
        return sample_key(self.tile, self.date)

    def check(self) -> None:
        """Refuse a sample without any modality, or of which an array breaks its contract.

        Raises:
            DataError: See `Layer.check` and `Task.check`; the note names the sample.
        """
        try:
            if not self.observations:
                raise DataError("it has no modality; expected at least one")
            self.task.check(self.target)
            for observation in self.observations.values():
                observation.check()
        except DataError as exc:
            exc.add_note(f"sample {self.key}, task {self.task.name}")
            raise


def sample_key(tile: Tile, date: str) -> str:
    """Return the key of the sample at `tile` on the anchor date `YYYY-MM-DD`."""
    return f"{tile.id}_{date.replace('-', '')}"


def tile_of(text: str, grid: Grid) -> Tile:
    """Return the tile of a tile's id or of a sample's key.

    Raises:
        ConfigError: It is neither.
    """
    key = re.fullmatch(r"(\d+_-?\d+_-?\d+)_\d{8}", text)
    return Tile.parse(text if key is None else key[1], grid)
