"""Members of a dataset on this machine: copied from mapped shards, at the speed of memory."""

from __future__ import annotations

import mmap
import resource
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import IntegrityError
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.digests import Digests, MemberForm, member_form
from mmearth.loaders.fetch.finish import Finish
from mmearth.loaders.fetch.gather import Words, copy, gather
from mmearth.loaders.fetch.root import Root
from mmearth.loaders.fetch.shards import Mapped, Shards

_TAR_BLOCK = 512
"""Where members begin: at multiples of it. Source: POSIX.1-2017, pax, ustar interchange format."""
_ANNOUNCED = 16
"""Batches that are announced to the operating system after one that had to wait for the disk."""
_WHO = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
"""Whose waits are counted: of one thread where the system can tell, which takes a thirtieth."""


class LocalReader:
    """Reads members in one process."""

    def __init__(self, root: Root, index: Index, dataset_hash: str, verify: bool) -> None:
        """Open nothing yet; the arguments are those of `Members`."""
        self._index = index
        self._shards = Shards(root, index.shards, dataset_hash)
        self._digests = Digests(root, index, verify)
        self._to_announce = _ANNOUNCED

    def fill(
        self,
        rows: NDArray[np.int64],
        into: Mapping[str, NDArray[np.uint8]],
        arrived: Mapping[str, Finish],
    ) -> None:
        """Write each row's members; see `Members.fill`."""
        kinds = [self._kind(name, rows, into[name], arrived.get(name)) for name in into]
        groups = _by_shard(self._index.shard[rows])
        if self._to_announce > 0:
            self._announce(groups, kinds)
            self._to_announce -= 1
        waited = _waits_for_disk()
        # Shard by shard: each is looked at once, and few are open at a time.
        for shard, slots in groups.items():
            mapped = self._shards.at(shard)
            for kind in kinds:
                self._copy(mapped, kind, slots, rows)
        if _waits_for_disk() > waited:
            self._to_announce = _ANNOUNCED

    def _kind(
        self, name: str, rows: NDArray[np.int64], into: NDArray[np.uint8], finish: Finish | None
    ) -> _Kind:
        form, begins = member_form(name), self._index.offset[name][rows].astype(np.int64)
        is_plain = (begins > 0) & self._digests.known(name, rows)
        if finish is not None:
            is_plain &= ~np.array(finish.look)
        return _Kind(name, form, begins, is_plain, into, into.view(np.uint64), finish)

    def _announce(self, groups: Mapping[int, NDArray[np.int64]], kinds: list[_Kind]) -> None:
        """Let the disk begin with all of a batch, and not page by page as it is copied.

        In memory already it would cost a tenth of the copying: so it ends where no batch waits.
        """
        for shard, slots in groups.items():
            mapped = self._shards.at(shard)
            for kind in kinds:
                for begins in kind.begins[slots].tolist():
                    begin = begins // mmap.PAGESIZE * mmap.PAGESIZE
                    end = begins + kind.form.whole
                    if begins and end <= mapped.nbytes:
                        mapped.pages.madvise(mmap.MADV_WILLNEED, begin, end - begin)

    def _copy(
        self, mapped: Mapped, kind: _Kind, slots: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        """Copy one modality of the samples in a shard."""
        is_plain = kind.is_plain[slots]
        plain = slots[is_plain]
        begins = kind.begins[plain] + len(kind.form.header)
        gather(mapped.words, begins, kind.words, plain, kind.form.nbytes)
        if len(plain) == len(slots):
            return
        for slot in slots[~is_plain].tolist():
            if kind.begins[slot]:
                self._copy_and_look(mapped, kind, slot, int(rows[slot]))

    def _copy_and_look(self, mapped: Mapped, kind: _Kind, slot: int, row: int) -> None:
        """Copy a member, check all of it if this process reads it first, and finish it."""
        begin, is_known = int(kind.begins[slot]), bool(self._digests.known(kind.name, row))
        values, end = begin + len(kind.form.header), begin + kind.form.whole
        if not is_known and (end > mapped.nbytes or begin % _TAR_BLOCK):
            raise IntegrityError(
                f"{self._digests.member(kind.name, row)}: found a shard of {mapped.nbytes} bytes, "
                f"expected a member at bytes {begin} to {end}: it is truncated or of another "
                "build; run `mmearth packaging verify`, then build or fetch it again"
            )
        copy(mapped.words[values >> 3 : end >> 3], kind.words[slot])
        if not is_known:
            # What was copied is hashed, not what it was copied from: a model sees the copy.
            header, copied = mapped.pages[begin:values], memoryview(kind.into[slot])
            if not self._digests.matches(kind.name, row, header, copied):
                raise self._digests.damaged(kind.name, row, header, copied)
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
    into: NDArray[np.uint8]
    """(≥ slots, nbytes) where the values go."""
    words: Words
    """The same memory."""
    finish: Finish | None
    """What finishes members."""


def _by_shard(shard: NDArray[np.uint32]) -> dict[int, NDArray[np.int64]]:
    """Return the slots of a batch by the shard that they come from."""
    return {number: np.flatnonzero(shard == number) for number in dict.fromkeys(shard.tolist())}


def _waits_for_disk() -> int:
    """Return how often this thread had to wait for a page from the disk."""
    return resource.getrusage(_WHO).ru_majflt
