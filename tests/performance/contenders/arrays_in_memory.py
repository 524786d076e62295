"""All arrays in memory, gathered: the published loader, and the bound of any other.

Once the values alone, as the published loader has them, and once with the masks of what has a
no-data value anywhere: the same batches as ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.performance.contenders.case import (
    BATCH,
    Batch,
    Case,
    Contender,
    Epochs,
    in_batches,
    no_files,
    reads_all,
    rows_of,
)
from mmearth.tests.performance.contenders.lazy_hdf5 import Batches, Rows
from mmearth.tests.performance.loader_samples import Samples


class Gather(Dataset[Batch]):
    """Batches of rows, in fresh memory."""

    def __init__(self, samples: Samples, names: tuple[str, ...], with_masks: bool) -> None:
        self.keys = samples.keys
        self.arrays = {name: np.array(samples.array(name)) for name in names}
        for name in names if with_masks else ():
            nodata = MMEARTH_BENCH.layers[name].nodata if name in MMEARTH_BENCH.layers else None
            if nodata is not None and (self.arrays[name] == nodata).any():
                self.arrays[f"mask of {name}"] = self.arrays[name] != nodata

    def __getitem__(self, rows: Rows) -> Batch:
        batch: Batch = {n: torch.from_numpy(a[rows]) for n, a in self.arrays.items()}
        batch["key"] = [self.keys[row] for row in rows]
        return batch


def epochs(samples: Samples, folder: Path, case: Case, with_masks: bool = True) -> Epochs:
    """Return gathering into two sets of buffers in turn; with workers, torch's DataLoader."""
    dataset = Gather(samples, case.names, with_masks)
    if case.workers:
        loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=Batches(samples, case),
            num_workers=case.workers,
            persistent_workers=True,
        )
        return lambda epoch: iter(loader)
    buffers = cycle(
        [
            {n: np.empty((BATCH, *a.shape[1:]), a.dtype) for n, a in dataset.arrays.items()}
            for _ in range(2)
        ]
    )

    def gather(epoch: int) -> Iterator[Batch]:
        for rows in in_batches(rows_of(samples, case, epoch)):
            into = next(buffers)
            batch: Batch = {"key": [dataset.keys[row] for row in rows]}
            for name, array in dataset.arrays.items():
                # mode="clip" writes straight into `out`; the default goes by way of a copy.
                out = into[name][: len(rows)]
                np.take(array, rows, axis=0, out=out, mode="clip")
                batch[name] = torch.from_numpy(out)
            yield batch

    return gather


def _takes_part(case: Case) -> bool:
    return reads_all(case) and not case.selected


CONTENDER = Contender(
    title="arrays and masks in memory, gathered",
    note="into reused buffers; with workers into torch's shared memory",
    prepare=no_files,
    epochs=epochs,
    cases=_takes_part,
)
VALUES = Contender(
    title="arrays in memory, gathered without masks",
    note="as above; nothing says which values are valid",
    prepare=no_files,
    epochs=partial(epochs, with_masks=False),
    cases=_takes_part,
)
