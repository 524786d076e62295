"""HDF5 read lazily: raw with a chunk a tile, and gzip 9 in default chunks, as it is published."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from mmearth.tests.performance.contenders.case import (
    Batch,
    Case,
    Contender,
    Epochs,
    in_batches,
    mapped,
    reads_all,
    rows_of,
)
from mmearth.tests.performance.loader_samples import Samples

_FILE = "samples.h5"
Rows = NDArray[np.int64]


def prepare(compressed: bool, samples: Samples, folder: Path) -> None:
    """Write one dataset a modality."""
    with h5py.File(folder / _FILE, "w") as file:
        for name, array in mapped(samples).items():
            if compressed:
                file.create_dataset(name, data=array, compression="gzip", compression_opts=9)
            else:
                file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]))


class Lazy(Dataset[Batch]):
    """Batches of rows; the file is opened by the process that reads it."""

    def __init__(self, samples: Samples, path: Path, names: tuple[str, ...]) -> None:
        self.samples, self.path, self.names = samples, path, names
        self.file: Any = None

    def __getitem__(self, rows: Rows) -> Batch:
        if self.file is None:
            self.file = h5py.File(self.path, "r")
        batch: Batch = {name: torch.from_numpy(_read(self.file[name], rows)) for name in self.names}
        batch["key"] = [self.samples.keys[row] for row in rows]
        return batch


def _read(column: Any, rows: Rows) -> Any:
    """Return rows in fresh memory: one call where they follow each other, else one a row."""
    first, n = int(rows[0]), len(rows)
    if np.array_equal(rows, np.arange(first, first + n)):
        return column[first : first + n]
    out = np.empty((n, *column.shape[1:]), column.dtype)
    for i, row in enumerate(rows):
        column.read_direct(out, np.s_[int(row)], np.s_[i])
    return out


def epochs(samples: Samples, folder: Path, case: Case) -> Epochs:
    """Return torch's DataLoader, without workers a plain loop."""
    dataset = Lazy(samples, folder / _FILE, case.names)
    if not case.workers:
        return lambda epoch: (dataset[b] for b in in_batches(rows_of(samples, case, epoch)))
    sampler = Batches(samples, case)
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        num_workers=case.workers,
        persistent_workers=True,
    )
    return lambda epoch: iter(loader)


class Batches:
    """A sampler of whole batches; another order each time."""

    def __init__(self, samples: Samples, case: Case) -> None:
        self.samples, self.case, self.epoch = samples, case, 0

    def __iter__(self) -> Iterator[Any]:
        self.epoch += 1
        return iter(in_batches(rows_of(self.samples, self.case, self.epoch)))

    def __len__(self) -> int:
        return len(in_batches(rows_of(self.samples, self.case, 0)))


RAW = Contender(
    title="HDF5 lazily, raw, a chunk a tile",
    note="rows in a row by one call, others one by one",
    prepare=partial(prepare, False),
    epochs=epochs,
    cases=reads_all,
)
PUBLISHED = Contender(
    title="HDF5 lazily, gzip 9, default chunks",
    note="the published file; the first batches stand for an epoch",
    prepare=partial(prepare, True),
    epochs=epochs,
    cases=lambda case: case.url is None and not case.workers,
    most_batches=lambda case: 4 if case.order == "sequential" else 1,
)
