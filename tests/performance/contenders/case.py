"""What is asked of every contender: which samples, which modalities, in which order, by whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.performance.loader_samples import TARGET, Samples

BATCH = 32
TWO = ("sentinel2", "esa_worldcover")
Batch = dict[str, Any]
"""A tensor for each modality and `target`, (32, …), and `key`, 32 of them."""
Order = Literal["sequential", "shuffled"]
Sample = dict[str, Any]
"""An array for each modality and `target`, and `key`."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to read the samples."""

    modalities: tuple[str, ...] = tuple(MMEARTH_BENCH.layers)
    order: Order = "sequential"
    selected: bool = False
    """Only the samples whose target is above the threshold, one in 96."""
    workers: int = 0
    url: str | None = None
    """Where the dataset of ours is served; None: its directory."""
    gap: int | None = None
    """Bytes between ranges up to which our loader makes them one request; None: its default."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays of a sample."""
        return (*self.modalities, TARGET)

    def __str__(self) -> str:
        which = "all modalities" if len(self.modalities) > 2 else " and ".join(self.modalities)
        how = "one sample in 96" if self.selected else self.order
        by = f", {self.workers} workers" if self.workers else ""
        gap = "" if self.gap is None else f", gap {self.gap}"
        return f"{which}, {how}{by}{', over HTTP' if self.url else ''}{gap}"


class Epochs(Protocol):
    """Called with the number of an epoch; gives its batches."""

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """Yield every batch of an epoch."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to keep samples and to read them."""

    title: str
    note: str
    """What is not as with the others."""
    prepare: Callable[[Samples, Path], None]
    """Writes the samples in its own format into an empty folder."""
    epochs: Callable[[Samples, Path, Case], Epochs]
    """Opens what `prepare` wrote."""
    cases: Callable[[Case], bool]
    """Whether it takes part."""
    most_batches: Callable[[Case], int | None] = lambda case: None
    """Batches that are enough to measure a slow one; None is a whole epoch."""


def reads_all(case: Case) -> bool:
    """Say that a contender takes part wherever its files are local."""
    return case.url is None


def no_files(samples: Samples, folder: Path) -> None:
    """Write nothing: the dataset of ours, or the plain arrays, are what is read."""


def sample(arrays: dict[str, NDArray[Any]], samples: Samples, row: int) -> Sample:
    """Return one sample to be written."""
    return {"key": samples.keys[row], **{name: array[row] for name, array in arrays.items()}}


def mapped(samples: Samples) -> dict[str, NDArray[Any]]:
    """Return all arrays of all samples."""
    return {name: samples.array(name) for name in (*MMEARTH_BENCH.layers, TARGET)}


def stack(samples: Sequence[Sample], names: tuple[str, ...]) -> Batch:
    """Return a batch in fresh memory; each value is copied once."""
    import torch

    batch: Batch = {n: torch.from_numpy(np.stack([s[n] for s in samples])) for n in names}
    batch["key"] = [s["key"] for s in samples]
    return batch


def rows_of(samples: Samples, case: Case, epoch: int) -> NDArray[np.int64]:
    """Return the rows of an epoch for a contender that reads by row."""
    if case.selected:
        return samples.chosen
    rows = np.arange(len(samples.keys))
    return np.random.default_rng(epoch).permutation(rows) if case.order == "shuffled" else rows


def in_batches(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return rows in batches."""
    return [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
