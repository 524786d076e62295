"""Members of a dataset on this machine: copied from mapped shards, at the speed of memory."""

from __future__ import annotations

import mmap
import resource
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import IntegrityError
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.digests import Digests, member_form
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
        arrived: Mapping[str, Callable[[int], None]],
    ) -> None:
        """Write each row's members; see `Members.fill`."""
        known = self._digests.known
        kinds = [
            _Kind(name, array, self._index.offset[name][rows].tolist(), known(name, rows))
            for name, array in into.items()
        ]
        for kind in kinds:
            kind.arrived = arrived.get(kind.name)
        numbers = rows.tolist()
        groups = _by_shard(self._index.shard[rows])
        if self._to_announce > 0:
            self._announce(groups, kinds)
            self._to_announce -= 1
        waited = _waits_for_disk()
        # Shard by shard: each is looked at once, and few are open at a time.
        for shard, slots in groups.items():
            mapped = self._shards.at(shard)
            for slot in slots:
                for kind in kinds:
                    if kind.begins[slot]:
                        self._copy(mapped, kind, slot, numbers[slot])
                        if kind.arrived is not None:
                            kind.arrived(slot)
        if _waits_for_disk() > waited:
            self._to_announce = _ANNOUNCED

    def _announce(self, groups: Mapping[int, list[int]], kinds: list[_Kind]) -> None:
        """Let the disk begin with all of a batch, and not page by page as it is copied.

        In memory already it would cost a tenth of the copying: so it ends where no batch waits.
        """
        for shard, slots in groups.items():
            mapped = self._shards.at(shard)
            for slot in slots:
                for kind in kinds:
                    begin = kind.begins[slot] // mmap.PAGESIZE * mmap.PAGESIZE
                    end = kind.begins[slot] + kind.n_whole
                    if kind.begins[slot] and end <= mapped.nbytes:
                        mapped.pages.madvise(mmap.MADV_WILLNEED, begin, end - begin)

    def _copy(self, mapped: Mapped, kind: _Kind, slot: int, row: int) -> None:
        begin = kind.begins[slot]
        values, end = begin + kind.n_header, begin + kind.n_whole
        if end > mapped.nbytes or begin % _TAR_BLOCK:
            raise IntegrityError(
                f"{self._digests.member(kind.name, row)}: found a shard of {mapped.nbytes} bytes, "
                f"expected a member at bytes {begin} to {end}: it is truncated or of another "
                "build; run `mmearth packaging verify`, then build or fetch it again"
            )
        header = mapped.pages[begin:values]
        # A copy in the processor's widest registers: what `dst[:] = src` calls (`rep movsb`) is a
        # fifth slower from pages of 4 kB. It holds no lock: several threads may fill at once.
        np.positive(mapped.words[values >> 3 : end >> 3], out=kind.words[slot])
        if not kind.known[slot]:
            # What was copied is hashed, not what it was copied from: a model sees the copy.
            copied = memoryview(kind.into[slot])
            if not self._digests.matches(kind.name, row, header, copied):
                raise self._digests.damaged(kind.name, row, header, copied)
        if header != kind.header:
            raise self._digests.damaged(kind.name, row, header, None)


class _Kind:
    """What a batch wants of one modality, at hand for a loop that runs for every member."""

    __slots__ = (
        *("arrived", "begins", "header", "into", "known"),
        *("n_header", "n_whole", "name", "words"),
    )

    def __init__(
        self, name: str, into: NDArray[np.uint8], begins: list[int], known: list[bool]
    ) -> None:
        form = member_form(name)
        self.name, self.into, self.begins, self.known = name, into, begins, known
        self.arrived: Callable[[int], None] | None = None
        self.header, self.n_header, self.n_whole = form.header, len(form.header), form.whole
        self.words = into.view(np.uint64)  # the same memory; 128 × 128 of anything is whole words


def _by_shard(shard: NDArray[np.uint32]) -> dict[int, list[int]]:
    """Return the slots of a batch by the shard that they come from."""
    slots: dict[int, list[int]] = {}
    for slot, number in enumerate(shard.tolist()):
        slots.setdefault(number, []).append(slot)
    return slots


def _waits_for_disk() -> int:
    """Return how often this thread had to wait for a page from the disk."""
    return resource.getrusage(_WHO).ru_majflt
