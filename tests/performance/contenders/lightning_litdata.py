"""litdata: optimised chunks, as they are and with its own compression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from litdata import StreamingDataLoader, StreamingDataset, optimize

from mmearth.tests.performance.contenders.case import (
    BATCH,
    Batch,
    Case,
    Contender,
    Epochs,
    Sample,
    in_batches,
    mapped,
    reads_all,
    rows_of,
    sample,
    stack,
)
from mmearth.tests.performance.loader_samples import Samples


def prepare(samples: Samples, folder: Path, compression: str | None = None) -> None:
    """Write chunks of 64 MB, its own advice; it leaves this process with other start methods."""
    optimize(
        fn=partial(_sample, samples),
        inputs=list(range(len(samples.keys))),
        output_dir=str(folder),
        chunk_bytes="64MB",
        compression=compression,
        num_workers=1,
        verbose=False,
    )


def _sample(samples: Samples, row: int) -> Sample:
    return sample(mapped(samples), samples, row)


def epochs(samples: Samples, folder: Path, case: Case) -> Epochs:
    """Return its own loader; chosen samples by their numbers."""
    dataset = StreamingDataset(str(folder), shuffle=case.order == "shuffled", drop_last=False)
    if case.selected:
        rows = rows_of(samples, case, 0)
        return lambda epoch: (
            stack([dataset[int(i)] for i in batch], case.names) for batch in in_batches(rows)
        )
    loader = StreamingDataLoader(
        dataset,
        batch_size=BATCH,
        num_workers=case.workers,
        persistent_workers=case.workers > 0,
    )
    return lambda epoch: _chosen(loader, case.names)


def _chosen(loader: Any, names: tuple[str, ...]) -> Iterator[Batch]:
    """Yield batches with the chosen arrays: a sample is always read and decoded as a whole."""
    for batch in loader:
        yield {name: batch[name] for name in (*names, "key")}


CONTENDER = Contender(
    title="litdata",
    note="no choice of columns: two modalities are read as all",
    prepare=prepare,
    epochs=epochs,
    cases=reads_all,
)
COMPRESSED = replace(
    CONTENDER,
    title="litdata, zstd",
    note="its first epoch leaves every chunk inflated on the disk, later ones read that",
    prepare=partial(prepare, compression="zstd"),
)
