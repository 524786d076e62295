"""mosaicml-streaming: MDS, not compressed, columns of fixed shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streaming import MDSWriter, StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory

from mmearth.tests.performance.contenders.case import (
    BATCH,
    Batch,
    Case,
    Contender,
    Epochs,
    in_batches,
    mapped,
    reads_all,
    rows_of,
    sample,
    stack,
)
from mmearth.tests.performance.loader_samples import SHARD_SAMPLES, Samples


def prepare(samples: Samples, folder: Path) -> None:
    """Write shards of as many samples as ours."""
    arrays = mapped(samples)
    columns = {
        name: f"ndarray:{array.dtype.name}:{','.join(map(str, array.shape[1:]))}"
        for name, array in arrays.items()
    }
    nbytes = sum(array[0].nbytes for array in arrays.values())
    with MDSWriter(
        out=str(folder), columns={"key": "str", **columns}, size_limit=SHARD_SAMPLES * nbytes
    ) as writer:
        for row in range(len(samples.keys)):
            writer.write(sample(arrays, samples, row))


def epochs(samples: Samples, folder: Path, case: Case) -> Epochs:
    """Return its own loader; chosen samples by their numbers."""
    # A run that was killed leaves its shared memory, on which the next one would stop.
    clean_stale_shared_memory()
    dataset = StreamingDataset(
        local=str(folder),
        shuffle=case.order == "shuffled",
        batch_size=BATCH,
        num_canonical_nodes=1,
    )
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
    title="mosaicml-streaming, MDS",
    note="no choice of columns: two modalities are read as all",
    prepare=prepare,
    epochs=epochs,
    cases=reads_all,
)
