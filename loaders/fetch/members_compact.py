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


class _Batch(NamedTuple):
    """What is wanted."""

    rows: NDArray[np.int64]
    into: Mapping[str, NDArray[np.uint8]]
    arrived: Mapping[str, Finish]
    epoch: int


class _Job(NamedTuple):
    """One sample of a batch."""

    slot: int
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
        batch = _Batch(rows, into, arrived, epoch)
        # Shard by shard: each is looked at once, and few are open at a time.
        jobs = [
            _Job(slot, shard, mapped)
            for shard, slots in by_shard(self._index.shard[rows]).items()
            for mapped in [self._shards.at(shard)]
            for slot in slots.tolist()
        ]
        guard()
        with self._ahead.of_batch(lambda: self._announce(batch, jobs)):
            self._decode(batch, jobs)
        for shard, mapped in {job.shard: job.mapped for job in jobs}.items():
            if mapped.pages.size() != mapped.nbytes:  # a last page that is cut ends in zeros
                raise self._shards.lost(shard)

    def _forget(self, shard: int) -> None:
        """Let the members of a shard be compared again: somebody touched it."""
        self._digests.forget(np.flatnonzero(self._index.shard == shard))

    def _announce(self, batch: _Batch, jobs: list[_Job]) -> None:
        for name in batch.into:
            begins = self._index.offset[name][batch.rows].tolist()
            lengths = self._digests.lengths(name, batch.rows).tolist()
            for job in jobs:
                announce(job.mapped, begins[job.slot], begins[job.slot] + lengths[job.slot])

    def _decode(self, batch: _Batch, jobs: list[_Job]) -> None:
        n = min(self._threads, len(jobs))
        if n <= 1:
            self._some(batch, jobs)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "mmearth-decode")
        parts = [self._pool.submit(self._some, batch, jobs[i::n]) for i in range(n)]
        # Nothing may still write into the batch when this returns, whatever happened.
        wait(parts)
        for part in parts:
            part.result()

    def _some(self, batch: _Batch, jobs: list[_Job]) -> None:
        work = np.empty(-(-self._most // 8), np.uint64)
        for job in jobs:
            try:
                for name, array in batch.into.items():
                    self._member(batch, job, name, array[job.slot], work)
            except OSError as exc:
                raise self._shards.lost(job.shard) from exc

    def _member(
        self, batch: _Batch, job: _Job, name: str, out: NDArray[np.uint8], work: Words
    ) -> None:
        """Copy a member, compare it if it must be, decode it, and finish it."""
        row, mapped, digests = int(batch.rows[job.slot]), job.mapped, self._digests
        begin = int(self._index.offset[name][row])
        if not begin:
            return
        length = int(self._index.length[name][row])
        words = work[: -(-length // 8)]
        if begin % _TAR_BLOCK or begin + words.nbytes > mapped.words.nbytes:
            raise digests.misplaced(name, row, begin, begin + length, mapped.nbytes)
        copy_one(mapped.words, begin, words)
        data = words.view(np.uint8).data[:length]
        if not digests.known(name, row, batch.epoch) and not digests.matches(
            name, row, b"", data, batch.epoch, mapped.checked
        ):
            raise digests.damaged(name, row, b"", data)
        digests.write(name, row, data, out, self._raw)
        finish = batch.arrived.get(name)
        if finish is not None and finish.look[job.slot]:
            finish(job.slot)
