"""Stock webdataset: over our own shards, and over shards with every array in a member of its own.

The second is how its own writer keeps the same samples: 13 members each where ours have 7, and most
of what it costs to read one is the members' headers.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import webdataset as wds
from torch.utils.data import DataLoader

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.performance.contenders.case import (
    BATCH,
    Case,
    Contender,
    Epochs,
    Sample,
    mapped,
    no_files,
    reads_all,
    sample,
    stack,
)
from mmearth.tests.performance.loader_samples import SHARD_SAMPLES, TARGET, Samples


def write_a_member_an_array(samples: Samples, folder: Path, suffix: str = "tar") -> None:
    """Write shards of as many samples as ours, with webdataset's own writer."""
    arrays = mapped(samples)
    pattern = str(folder / f"%06d.{suffix}")
    with wds.ShardWriter(pattern, maxcount=SHARD_SAMPLES, maxsize=1e12, verbose=0) as writer:
        for row in range(len(samples.keys)):
            here = sample(arrays, samples, row)
            key = here.pop("key")
            writer.write({"__key__": key, **{f"{name}.npy": here[name] for name in here}})


def over_our_shards(samples: Samples, folder: Path, case: Case) -> Epochs:
    """Return the pipeline over the dataset of ours."""
    urls = [str(path) for path in samples.shards]
    if case.url is not None:
        names = [path.relative_to(samples.root).as_posix() for path in samples.shards]
        urls = [f"pipe:curl -s -f {shlex.quote(f'{case.url}/{name}')}" for name in names]
    return _epochs(urls, samples, case)


def over_its_own_shards(samples: Samples, folder: Path, case: Case) -> Epochs:
    """Return the pipeline over what its own writer wrote."""
    return _epochs([str(path) for path in sorted(folder.glob("*.tar*"))], samples, case)


def _epochs(urls: list[str], samples: Samples, case: Case) -> Epochs:
    """Return webdataset's own pipeline; with workers, in torch's DataLoader, as it advises."""
    dataset = wds.WebDataset(
        urls,
        shardshuffle=len(urls) if case.order == "shuffled" else False,
        nodesplitter=None,
        select_files=None if len(case.modalities) > 2 else partial(_is_wanted, case.names),
        seed=0,
    )
    if case.order == "shuffled":
        dataset = dataset.shuffle(SHARD_SAMPLES)
    if case.selected:
        # Before decoding: the kindest place for a filter.
        dataset = dataset.select(partial(_is_chosen, samples.threshold))
    dataset = dataset.decode().map(partial(_flat, case.names))
    dataset = dataset.batched(BATCH, collation_fn=partial(stack, names=case.names), partial=True)
    if not case.workers:
        return lambda epoch: iter(dataset)
    loader = DataLoader(dataset, batch_size=None, num_workers=case.workers, persistent_workers=True)
    return lambda epoch: iter(loader)


def _is_wanted(names: tuple[str, ...], path: str) -> bool:
    suffix = path.rpartition("/")[2].partition(".")[2]
    return suffix == "json" or suffix.removesuffix(".npy") in names


def _is_chosen(threshold: float, found: Sample) -> bool:
    return bool(json.loads(found["json"])["target"] > threshold)


def _flat(names: tuple[str, ...], found: Sample) -> Sample:
    """Return the arrays of a sample; in our shards, those without pixels are in its JSON."""
    flat: Sample = {"key": found["__key__"]}
    facts = found.get("json", {})
    for name in names:
        if f"{name}.npy" in found:
            flat[name] = found[f"{name}.npy"]
        elif name == TARGET:
            flat[name] = np.array([facts["target"]], dtype=np.float32)
        else:
            flat[name] = np.asarray(
                facts["modalities"][name], dtype=MMEARTH_BENCH.layers[name].dtype
            )
    return flat


_NOTE = "two modalities by select_files; shuffled by shards and a buffer of 96 samples"
OUR_SHARDS = Contender(
    title="stock webdataset, our shards",
    note=f"7 members a sample; {_NOTE}",
    prepare=no_files,
    epochs=over_our_shards,
    cases=lambda case: True,
)
OWN_SHARDS = Contender(
    title="stock webdataset, .npy",
    note=f"13 members a sample; {_NOTE}",
    prepare=write_a_member_an_array,
    epochs=over_its_own_shards,
    cases=lambda case: reads_all(case) and not case.selected,
)
COMPRESSED = replace(
    OWN_SHARDS,
    title="stock webdataset, .tar.gz",
    prepare=partial(write_a_member_an_array, suffix="tar.gz"),
)
