"""Compact members of a dataset on this machine: decoded straight into the batch, by some threads.

What is stored of a member is copied first, out of a mapped shard that may change or lose a page
meanwhile; the copy is hashed and decoded, so a model sees what was compared.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.ahead import Ahead, announce
from mmearth.loaders.fetch.digests import Digests, Verify
from mmearth.loaders.fetch.finish import Finish
from mmearth.loaders.fetch.gather import Words, copy_one, guard
from mmearth.loaders.fetch.root import Root
from mmearth.loaders.fetch.shards import Mapped, Shards, by_shard

_TAR_BLOCK = 512
_MOST_THREADS = 8


def decoders() -> int:
    """Return how many threads of one process decode: as many as it has processors, to eight."""
    known = getattr(os, "sched_getaffinity", None)
    return min(_MOST_THREADS, len(known(0)) if known else os.cpu_count() or 1)


class _Layer(NamedTuple):
    """What is wanted of one layer: a value a slot, as Python's own, which are read faster."""

    name: str
    out: NDArray[np.uint8]
    """(B, nbytes) where decoded members go."""
    begins: list[int]
    """Bytes of shards at which members begin; 0: there is none."""
    lengths: list[int]
    """Bytes that members have as they are stored."""
    known: list[bool]
    """Which need not be compared."""
    finish: Finish | None
    look: list[bool]
    """Of which slots there is something to finish."""


class _Job(NamedTuple):
    """One sample of a batch."""

    slot: int
    row: int
    shard: int
    mapped: Mapped


class CompactReader:
    """Reads members in one process."""

    def __init__(
        self, root: Root, index: Index, dataset_hash: str, verify: Verify, threads: int, raw: bool
    ) -> None:
        """Open nothing yet; the arguments are those of `Members`."""
        self._index, self._raw = index, raw
        # What is not hashed cannot be hashed again: then a shard that was touched is refused.
        touched = self._forget if verify == "all" else None
        self._shards = Shards(root, index.shards, dataset_hash, touched)
        self._digests = Digests(root, index, verify)
        self._ahead = Ahead(resource.RUSAGE_SELF)
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._most = max((int(each.max()) for each in index.length.values()), default=0)

    def fill(
        self,
        rows: NDArray[np.int64],
        into: Mapping[str, NDArray[np.uint8]],
        arrived: Mapping[str, Finish],
        epoch: int,
    ) -> None:
        """Write each row's members; see `Members.fill`."""
        # Shard by shard: each is looked at once, and few are open at a time.
        jobs = [
            _Job(slot, int(rows[slot]), shard, mapped)
            for shard, slots in by_shard(self._index.shard[rows]).items()
            for mapped in [self._shards.at(shard)]
            for slot in slots.tolist()
        ]
        # Now, as a shard that somebody touched has its members compared again.
        layers = [
            self._wanted(name, rows, out, arrived.get(name), epoch) for name, out in into.items()
        ]
        guard()
        with self._ahead.of_batch(lambda: _announce(layers, jobs)):
            self._decode(layers, jobs, epoch)
        for shard, mapped in {job.shard: job.mapped for job in jobs}.items():
            if mapped.pages.size() != mapped.nbytes:  # a last page that is cut ends in zeros
                raise self._shards.lost(shard)

    def _wanted(
        self,
        name: str,
        rows: NDArray[np.int64],
        out: NDArray[np.uint8],
        finish: Finish | None,
        epoch: int,
    ) -> _Layer:
        return _Layer(
            name,
            out,
            self._index.offset[name][rows].tolist(),
            self._digests.lengths(name, rows).tolist(),
            self._digests.known(name, rows, epoch).tolist(),
            finish,
            [] if finish is None else finish.look.tolist(),
        )

    def _forget(self, shard: int) -> None:
        """Let the members of a shard be compared again: somebody touched it."""
        self._digests.forget(np.flatnonzero(self._index.shard == shard))

    def _decode(self, layers: list[_Layer], jobs: list[_Job], epoch: int) -> None:
        n = min(self._threads, len(jobs))
        if n <= 1:
            self._some(layers, jobs, epoch)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "mmearth-decode")
        parts = [self._pool.submit(self._some, layers, jobs[i::n], epoch) for i in range(n)]
        # Nothing may still write into the batch when this returns, whatever happened.
        wait(parts)
        for part in parts:
            part.result()

    def _some(self, layers: list[_Layer], jobs: list[_Job], epoch: int) -> None:
        work = np.empty(-(-self._most // 8), np.uint64)
        for job in jobs:
            try:
                for layer in layers:
                    self._member(layer, job, work, epoch)
            except OSError as exc:
                raise self._shards.lost(job.shard) from exc

    def _member(self, layer: _Layer, job: _Job, work: Words, epoch: int) -> None:
        """Copy a member, compare it if it must be, decode it, and finish it."""
        slot, row, mapped, digests, name = job.slot, job.row, job.mapped, self._digests, layer.name
        begin, length = layer.begins[slot], layer.lengths[slot]
        if not begin:
            return
        words = work[: -(-length // 8)]
        if begin % _TAR_BLOCK or begin + words.nbytes > mapped.words.nbytes:
            raise digests.misplaced(name, row, begin, begin + length, mapped.nbytes)
        copy_one(mapped.words, begin, words)
        data = words.data.cast("B")[:length]
        if not layer.known[slot] and not digests.matches(
            name, row, b"", data, epoch, mapped.checked
        ):
            raise digests.damaged(name, row, b"", data)
        digests.write(name, row, data, layer.out[slot], self._raw)
        if layer.finish is not None and layer.look[slot]:
            layer.finish(slot)


def _announce(layers: list[_Layer], jobs: list[_Job]) -> None:
    for layer in layers:
        for job in jobs:
            begin = layer.begins[job.slot]
            announce(job.mapped, begin, begin + layer.lengths[job.slot])
