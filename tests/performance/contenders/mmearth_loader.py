"""Our own loader, as its users call it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import mmearth
from mmearth.catalog.codec import Codec, CodecName
from mmearth.loaders.fetch.members import GAP_BYTES
from mmearth.packaging.recode import recode
from mmearth.tests.performance.contenders.case import (
    BATCH,
    Batch,
    Case,
    Contender,
    Epochs,
    no_files,
    reads_all,
)
from mmearth.tests.performance.loader_samples import SPLIT, TASK, Samples

COMPACT: tuple[CodecName, ...] = ("blosc-zstd", "blosc-lz4")


def epochs(samples: Samples, folder: Path, case: Case) -> Epochs:
    """Return the public loader of a selection by SQL."""
    # A cache of its own each time: what is fetched is fetched.
    dataset = mmearth.open(case.url or samples.root, cache=tempfile.mkdtemp(dir=folder))
    chosen = dataset.select(
        task=TASK,
        split=SPLIT,
        modalities=case.modalities,
        where=f"target > {samples.threshold!r}" if case.selected else None,
    )
    gap = GAP_BYTES if case.gap is None else case.gap
    loader = chosen.loader(BATCH, case.order, seed=0, workers=case.workers, gap=gap)

    def read(epoch: int) -> Iterator[Batch]:
        loader.set_epoch(epoch)
        return iter(loader)

    return read


def recode_samples(samples: Samples, folder: Path, codec: CodecName) -> None:
    """Write the dataset of ours with compact members."""
    recode(samples.root, folder / "dataset", Codec(codec))


def compact_epochs(samples: Samples, folder: Path, case: Case) -> Epochs:
    """Return the loader of the dataset with compact members."""
    return epochs(replace(samples, root=folder / "dataset"), folder, case)


def by_a_thread(samples: Samples, folder: Path, case: Case) -> Epochs:
    """Return the loader as it is without workers, for what the second core is worth to it."""
    return epochs(samples, folder, replace(case, workers=0))


CONTENDER = Contender(
    title="mmearth",
    note="reused buffers, filled ahead by a thread or by workers",
    prepare=no_files,
    epochs=epochs,
    cases=lambda case: True,
)
THREAD = Contender(
    title="mmearth, a thread in place of workers",
    note="its default, beside the others' two workers",
    prepare=no_files,
    epochs=by_a_thread,
    cases=lambda case: case.workers > 0,
)
ZSTD, LZ4 = (
    replace(
        CONTENDER,
        title=f"mmearth, {codec}",
        prepare=partial(recode_samples, codec=codec),
        epochs=compact_epochs,
        cases=reads_all,
    )
    for codec in COMPACT
)
