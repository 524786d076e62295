"""Members of a dataset on this machine: copied from mapped shards, at the speed of memory."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.ahead import Ahead, announce
from mmearth.loaders.fetch.digests import Digests, MemberForm, Verify
from mmearth.loaders.fetch.finish import Comparison, Finish
from mmearth.loaders.fetch.gather import Words, copy_one, gather, gather_and_look, guard
from mmearth.loaders.fetch.root import Root
from mmearth.loaders.fetch.shards import Mapped, Shards, by_shard

_TAR_BLOCK = 512
"""Where members begin: at multiples of it. Source: POSIX.1-2017, pax, ustar interchange format."""
_WHO = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
"""Whose waits are counted: of one thread where the system can tell, which takes a thirtieth."""


class LocalReader:
    """Reads members in one process."""

    def __init__(self, root: Root, index: Index, dataset_hash: str, verify: Verify) -> None:
        """Open nothing yet; the arguments are those of `Members`."""
        self._index = index
        # What is not hashed cannot be hashed again: then a shard that was touched is refused.
        touched = self._forget if verify == "all" else None
        self._shards = Shards(root, index.shards, dataset_hash, touched)
        self._digests = Digests(root, index, verify)
        self._no_data = {name: _empty_band(index.contract(name)) for name in index.offset}
        self._ahead = Ahead(_WHO)
        self._n_forgotten = 0

    def fill(
        self,
        rows: NDArray[np.int64],
        into: Mapping[str, NDArray[np.uint8]],
        arrived: Mapping[str, Finish],
        epoch: int,
    ) -> None:
        """Write each row's members; see `Members.fill`."""
        kinds, forgotten = self._kinds(rows, into, arrived, epoch), self._n_forgotten
        groups = by_shard(self._index.shard[rows])
        guard()
        with self._ahead.of_batch(lambda: self._announce(groups, kinds)):
            # Shard by shard: each is looked at once, and few are open at a time.
            for shard, slots in groups.items():
                mapped = self._shards.at(shard)
                if self._n_forgotten != forgotten:
                    kinds = self._kinds(rows, into, arrived, epoch)
                    forgotten = self._n_forgotten
                try:
                    for kind in kinds:
                        self._copy(mapped, kind, slots, rows)
                except OSError as exc:
                    raise self._shards.lost(shard) from exc
                if mapped.pages.size() != mapped.nbytes:  # a last page that is cut ends in zeros
                    raise self._shards.lost(shard)

    def _forget(self, shard: int) -> None:
        """Let the members of a shard be compared again: somebody touched it."""
        self._digests.forget(np.flatnonzero(self._index.shard == shard))
        self._n_forgotten += 1

    def _kinds(
        self,
        rows: NDArray[np.int64],
        into: Mapping[str, NDArray[np.uint8]],
        arrived: Mapping[str, Finish],
        epoch: int,
    ) -> list[_Kind]:
        return [self._kind(name, rows, into[name], arrived.get(name), epoch) for name in into]

    def _kind(
        self,
        name: str,
        rows: NDArray[np.int64],
        into: NDArray[np.uint8],
        finish: Finish | None,
        epoch: int,
    ) -> _Kind:
        form, words = self._digests.forms[name], into.view(np.uint64)
        begins = self._index.offset[name][rows].astype(np.int64)
        is_known = (begins > 0) & self._digests.known(name, rows, epoch)
        look = np.zeros_like(is_known) if finish is None else finish.look
        is_plain, is_compared = is_known & ~look, np.zeros_like(is_known)
        comparison = finish.comparison if finish is not None else None
        if comparison is not None:
            is_compared = is_known & look
        is_alone = (begins > 0) & ~is_plain & ~is_compared
        is_empty = self._index.known[name][rows] == 0
        ways = is_plain, is_compared, is_alone
        no_data = self._no_data[name]
        how = finish, comparison, epoch
        return _Kind(name, form, begins, *ways, is_empty, no_data, into, words, *how)

    def _announce(self, groups: Mapping[int, NDArray[np.int64]], kinds: list[_Kind]) -> None:
        for shard, slots in groups.items():
            mapped = self._shards.at(shard)
            for kind in kinds:
                for begin in kind.begins[slots].tolist():
                    announce(mapped, begin, begin + kind.form.whole)

    def _copy(
        self, mapped: Mapped, kind: _Kind, slots: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        """Copy one modality of the samples in a shard."""
        begins, nbytes = kind.begins + len(kind.form.header), kind.form.nbytes
        plain = slots[kind.is_plain[slots]]
        _copy_plain(mapped.words, begins[plain], kind, plain)
        if len(plain) == len(slots):
            return
        if kind.comparison is not None:
            nodata, valid, found = kind.comparison
            compared = slots[kind.is_compared[slots]]
            rows_of = mapped.words, begins[compared], kind.words, compared, nbytes
            found(gather_and_look(*rows_of, nodata, valid))
        for slot in slots[kind.is_alone[slots]].tolist():
            self._copy_alone(mapped, kind, slot, int(rows[slot]))

    def _copy_alone(self, mapped: Mapped, kind: _Kind, slot: int, row: int) -> None:
        """Copy a member, check all of it if this process reads it first, and finish it."""
        begin = int(kind.begins[slot])
        is_known = bool(self._digests.known(kind.name, row, kind.epoch))
        values, end = begin + len(kind.form.header), begin + kind.form.whole
        if not is_known and (end > mapped.nbytes or begin % _TAR_BLOCK):
            raise self._digests.misplaced(kind.name, row, begin, end, mapped.nbytes)
        copy_one(mapped.words, values, kind.words[slot])
        if not is_known:
            # What was copied is hashed, not what it was copied from: a model sees the copy.
            first = np.empty(len(kind.form.header) >> 3, np.uint64)
            copy_one(mapped.words, begin, first)
            header, copied = first.tobytes(), memoryview(kind.into[slot])
            of_row = kind.name, row, header, copied
            if not self._digests.matches(*of_row, kind.epoch, mapped.checked):
                raise self._digests.damaged(*of_row)
        if kind.finish is not None and kind.finish.look[slot]:
            kind.finish(slot)


class _Kind(NamedTuple):
    """What a batch wants of one modality."""

    name: str
    """A key of the index' offsets."""
    form: MemberForm
    """Of each member."""
    begins: NDArray[np.int64]
    """Of each slot, the first byte in its shard; 0 where there is none."""
    is_plain: NDArray[np.bool_]
    """Of each slot, whether its member has only to be copied: it is there, it was checked before,
    and nobody looks at it."""
    is_compared: NDArray[np.bool_]
    """Of each slot, whether it has to be copied and compared with no-data, and nothing else."""
    is_alone: NDArray[np.bool_]
    """Of each slot, whether its member is one of the others that are there."""
    is_empty: NDArray[np.bool_]
    """(B, band) whether it is known that a band is no-data and nothing else."""
    no_data: Words
    """A band that is no-data and nothing else."""
    into: NDArray[np.uint8]
    """(≥ slots, nbytes) where the values go."""
    words: Words
    """The same memory."""
    finish: Finish | None
    """What finishes members."""
    comparison: Comparison | None
    """What it does, where that is only a comparison."""
    epoch: int
    """That is read."""


def _copy_plain(
    source: Words, begins: NDArray[np.int64], kind: _Kind, slots: NDArray[np.int64]
) -> None:
    """Copy members; bands that are known to be empty come out of the cache, not of the shard."""
    is_empty = kind.is_empty[slots]
    if not is_empty.any():
        gather(source, begins, kind.words, slots, kind.form.nbytes)
        return
    n_bands = is_empty.shape[1]
    nbytes, bands = kind.form.nbytes // n_bands, np.arange(n_bands)
    rows = slots[:, np.newaxis] * n_bands + bands
    from_bands = begins[:, np.newaxis] + nbytes * bands
    into = kind.words.reshape(-1, nbytes >> 3)
    gather(source, from_bands[~is_empty], into, rows[~is_empty], nbytes)
    empty = rows[is_empty]
    gather(kind.no_data, np.zeros_like(empty), into, empty, nbytes)


def _empty_band(contract: Layer | Task) -> Words:
    """Return a band that is no-data and nothing else; of zeros where nothing can be absent."""
    shape, nodata = contract.shape[-2:], contract.nodata or 0
    return np.full(shape, nodata, contract.dtype).ravel().view(np.uint64)
