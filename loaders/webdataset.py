"""The samples of a selection as a stock WebDataset pipeline; only their bytes are read.

import webdataset as wds
from mmearth.loaders.webdataset import pipeline

samples = pipeline(selection).shuffle(500).decode().to_tuple("sentinel2.npy", "json")
batches = wds.WebLoader(samples.batched(32), batch_size=None, num_workers=2)

Of compact members: `.decode(compact(selection.catalogue)).to_tuple("sentinel2.blosc", "json")`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.arguments import whole
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.targets import plain_target
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.digests import SHARE, Verify, member_forms
from mmearth.loaders.fetch.members import GAP_BYTES, Members
from mmearth.loaders.selection import Selection

if TYPE_CHECKING:
    import webdataset

Sample = dict[str, Any]
Splitter = Callable[[Iterable[Any]], Iterable[Any]]
BLOCK_SAMPLES = 16
"""Samples that are read at once: about 19 MB of all modalities."""


def pipeline(
    selection: Selection,
    nodesplitter: Splitter | None = None,
    workersplitter: Splitter | None = None,
    block: int = BLOCK_SAMPLES,
    verify: Verify = "all",
    gap: int = GAP_BYTES,
) -> webdataset.FluidWrapper:
    """Return a selection's samples as WebDataset would give them, in the manifest's order.

    A sample is `{"__key__", "__url__", "json": bytes, "sentinel2.npy": bytes, …}`, or
    `sentinel2.blosc`: the chosen
    pixel-level modalities that it has and a pixel-level target, byte for byte as in the shard, and
    a `json` of the sample's key, tile, date, task, tile-level target and chosen tile-level
    modalities. Split and reasons of what is missing are left out; ask the manifest for them. Only
    the bytes of those members are read; the `json` is made from the manifest.

    Nodes and workers share the samples in blocks of `block`, as WebDataset's own share shards:
    every block is read by one worker of one node, and nobody gets equally many unless `.with_epoch`
    sees to it. The order over several workers is the DataLoader's.

    Args:
        selection: Which samples, and which of their modalities.
        nodesplitter: Of the blocks; None is `webdataset.split_by_node`.
        workersplitter: Of a node's blocks; None is `webdataset.split_by_worker`.
        block: Samples that are read at once, and stay together; from 1.
        verify: Which members are compared with their SHA-256, as for `Selection.loader`; `sampled`
            draws a sixteenth of the samples each time.
        gap: As for `Members`.

    Returns:
        A `webdataset.DataPipeline` with `.shuffle`, `.map`, `.decode`, `.batched` and the rest.

    Raises:
        ConfigError: `block` is below one, or `gap` below zero.
        FormatError, IntegrityError, StorageError: See `Selection.index`.
    """
    # Imported here: it brings PyTorch along, which takes seconds.
    import webdataset

    block = whole("block", block, 1)
    dataset, index = selection.dataset, selection.index
    how = verify, gap, dataset.cache
    members = Members(dataset.root, index, dataset.hash, *how, raw=True)
    found = webdataset.FluidWrapper(Blocks(len(index), block))
    found.append(nodesplitter or webdataset.split_by_node)
    found.append(workersplitter or webdataset.split_by_worker)
    found.append(Reading(index, members, dataset.root.url.rstrip("/"), block))
    return found


def compact(catalogue: Catalogue) -> Callable[[str, bytes], NDArray[np.generic] | None]:
    """Return what a pipeline's `.decode(…)` needs to decode compact members, of any pipeline.

    Args:
        catalogue: Of the dataset.
    """
    # WebDataset itself makes the names of members small; none of two differ by that alone.
    names = {each.lower(): each for each in (*catalogue.layers, *catalogue.tasks)}

    def decode(key: str, data: bytes) -> NDArray[np.generic] | None:
        name, _, suffix = key.removeprefix(".").rpartition(".")
        if suffix != catalogue.codec.suffix or catalogue.codec.is_npy:
            return None
        name = names.get(name.lower(), name)
        dtype, shape = catalogue.observed(name).dtype, catalogue.member_shape(name)
        return catalogue.codec.decode(data, key, dtype, shape)

    return decode


@dataclass(frozen=True, slots=True)
class Blocks:
    """First stage: ranges of an index' rows, in order."""

    n_rows: int
    """Of the index."""
    block: int
    """Rows in each but the last."""

    def __call__(self) -> Iterator[tuple[int, int]]:
        """Yield begin and end, exclusive."""
        for begin in range(0, self.n_rows, self.block):
            yield begin, min(begin + self.block, self.n_rows)


@dataclass(frozen=True, slots=True)
class Reading:
    """Last stage: ranges of rows → samples."""

    index: Index
    """The samples."""
    members: Members
    """Where their bytes come from."""
    url: str
    """Of the dataset, without a slash at its end."""
    block: int
    """Most rows in a range."""

    def __call__(self, blocks: Iterable[tuple[int, int]]) -> Iterator[Sample]:
        """Yield the samples of each range."""
        forms, codec = member_forms(self.index, raw=True), self.index.codec
        epoch = secrets.randbelow(SHARE)  # nothing depends on it but what is compared
        into = {name: np.empty((self.block, form.nbytes), np.uint8) for name, form in forms.items()}
        for begin, end in blocks:
            rows = np.arange(begin, end, dtype=np.int64)
            self.members.fill(rows, into, epoch=epoch)
            lengths = {name: each[begin:end] for name, each in self.index.length.items()}
            for i, (row, key) in enumerate(zip(rows.tolist(), self.index.keys(rows), strict=True)):
                shard = self.index.shards[int(self.index.shard[row])]
                sample: Sample = {"__key__": key, "__url__": f"{self.url}/{shard}"}
                sample["json"] = _json(self.index, row, key)
                for name, values in into.items():
                    if self.index.offset[name][row]:
                        # Copied: the next block overwrites what this one has read.
                        stored = values[i] if codec.is_npy else values[i, : lengths[name][i]]
                        parts = (forms[name].header, stored.data)
                        sample[codec.member(name)] = b"".join(parts)
                yield sample


def _json(index: Index, row: int, key: str) -> bytes:
    """Return what `<key>.json` says of a sample, as far as the index knows it."""
    tile, _, day = key.rpartition("_")
    target = None if index.target is None or not index.labelled[row] else index.target[row]
    document = {
        "key": key,
        "tile": tile,
        "date": f"{day[:4]}-{day[4:6]}-{day[6:]}",
        "task": index.task.name,
        "target": plain_target(index.task, target),
        "modalities": {
            name: values[row].astype(index.layers[name].dtype).tolist()
            for name, values in index.values.items()
            if index.present[name][row]
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
