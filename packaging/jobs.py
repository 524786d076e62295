"""What a worker is given: the samples of one shard, and how one is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mmearth.catalog.observed import Observed
from mmearth.catalog.sample import Sample
from mmearth.catalog.store import StoreReader

_AT_ONCE = 256  # samples whose rows are Python objects at one time
Row = dict[str, Any]
"""A row of a table."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One sample to be packed: its row of tiles.parquet and what was observed."""

    key: str
    """Of the sample."""
    date: str
    """The anchor date."""
    hilbert: int
    """Its place in the manifest's order."""
    tile: Row
    """Of `tiles_schema`."""
    observed: dict[str, Observed]
    """By modality."""

    @property
    def done(self) -> dict[str, Observed]:
        """Return what is there, by modality."""
        return {name: seen for name, seen in self.observed.items() if seen.state == "done"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A sample's arrays, and those of its members that are there as bytes already."""

    sample: Sample
    """Its values are not looked at yet."""
    stored: dict[str, bytes]
    """Members by name of their layer, whose SHA-256 is that of `Planned.observed`."""


Load = Callable[[StoreReader, Planned], Loaded]
"""One of a task's samples → its arrays."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one shard is made of."""

    name: str
    """Of the shard, relative to the dataset's root."""
    samples: pa.Table
    """See `TaskInputs.samples`."""
    observed: dict[str, dict[str, Observed]]
    """Tile → modality → what is known about it."""

    def batches(self) -> Iterator[list[Planned]]:
        """Yield the samples in the order of the shard, a few hundred at a time."""
        for begin in range(0, self.samples.num_rows, _AT_ONCE):
            rows = self.samples.slice(begin, _AT_ONCE).to_pylist()
            yield [
                Planned(row["key"], row["day"], row["hilbert"], row, self.observed[row["tile"]])
                for row in rows
            ]
