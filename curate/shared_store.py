"""A store that several builds share: what one of them collected no other asks for.

What a build finds goes there, too; what it would ask for and another build found is copied from
there. So a dataset is whole by itself, and a store may be deleted. Whoever asks for a tile holds a
lock meanwhile, which the system frees when its holder ends, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from mmearth.catalog.errors import ConfigError, FormatError, storage_errors
from mmearth.catalog.store import Location, PackWriter, StoreReader
from mmearth.curate.collect import Job
from mmearth.curate.identity import SCENE, is_same
from mmearth.curate.ledger import NOT_KEPT, Record
from mmearth.curate.packs import Packs
from mmearth.curate.store_index import INDEX, IndexWriter, StoreIndex

_PACKS, _LOCK = "packs", "lock"
_EVERY_S = 1.0
"""How often it is looked whether another build has what both want."""
_AT_ONCE = 256
"""Jobs between two looks at what other builds have added."""
_MOST_LOCKS = 2**62
Keep = Callable[[list[Record]], None]
_LOG = logging.getLogger(__name__)


class SharedStore:
    """The store at a path, opened by one build."""

    def __init__(self, root: Path) -> None:
        """Open a store; made where there is none, when something is added.

        Args:
            root: Its directory, on this machine or on a shared file system.

        Raises:
            ConfigError: The directory holds something else.
            StorageError: It cannot be read.
        """
        self._root, self._lock = root.resolve(), -1
        with storage_errors(f"read {root}"):
            found = {path.name for path in root.iterdir()} if root.exists() else set()
        if others := found - {_PACKS, INDEX, _LOCK}:
            raise ConfigError(
                f"{root} holds {min(others)}, which is nothing of a store; choose an empty "
                "directory for --store"
            )
        self._index, self._writer = StoreIndex(self._root), IndexWriter(self._root)
        self._packs, self._reader = PackWriter(self._root, folder=_PACKS), StoreReader(self._root)
        self._damaged: set[tuple[str, str, str]] = set()
        self._taken: dict[str, list[Record]] = {}

    def __enter__(self) -> SharedStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self._index.close()
        self._reader.__exit__()
        self._packs.close()
        if self._lock >= 0:
            os.close(self._lock)

    def rest(self, job: Job) -> tuple[list[Record], Job | None]:
        """Return what the store has of a job, and what is left of it; None where nothing is.

        Nothing is copied: the records say where in the store the bytes are.
        """
        found: dict[str, Record] = {}
        known = self._index.find(job.tile.id, job.wanted, job.identities)
        for name, identity, records in zip(job.wanted, job.identities, known, strict=True):
            usable = (r for r in records if is_same(r.identity, identity, r.state == "done"))
            record = next((r for r in usable if _named(r) not in self._damaged), None)
            if record is not None:
                is_equal = record.identity == identity
                found[name] = record if is_equal else replace(record, identity=identity)
        found = _consistent(job, found)
        return list(found.values()), _without(job, found)

    def take(self, job: Job, packs: Packs) -> tuple[list[Record], Job | None]:
        """Return the same, with what the store has copied to a dataset's packs."""
        while True:
            found, left = self.rest(job)
            copied = [self._copied(record, packs) for record in found]
            whole = [record for record in copied if record is not None]
            if len(whole) == len(found):
                return whole, left

    def put(self, records: Iterable[Record], root: Path) -> None:
        """Add what visits found, and the store has not, for other builds.

        Args:
            records: Of which a dataset's packs have the bytes.
            root: The dataset's directory.

        Raises:
            StorageError: The disk is full.
        """
        added = []
        with StoreReader(root) as reader:
            for record in records:
                if record.state == "failed" or self._has(record):
                    continue
                if record.path is None:
                    added.append(record)
                    continue
                at = self._packs.add(reader.read(_location(record), record.modality))
                added.append(replace(record, path=at.path, byte_offset=at.byte_offset))
        if added:
            self._packs.sync()
            self._writer.add(added)

    def rounds(self, jobs: Iterable[Job], packs: Packs, keep: Keep) -> Iterator[Iterator[Job]]:
        """Yield what is left of some jobs, in rounds: first what no other build is asking for.

        Args:
            jobs: The visits.
            packs: Where what the store has is copied to.
            keep: Told what it has of tiles of which nothing is left. Whoever visits another adds
                `taken` to its records, and tells `release` when they are kept.
        """
        while True:
            later: list[Job] = []
            n_jobs = yield from _counted(self._claimed(jobs, later, packs, keep))
            if not later:
                return
            if not n_jobs:
                _LOG.info("another build is asking for %s tiles that are wanted here", len(later))
                time.sleep(_EVERY_S)
            jobs = later

    def taken(self, records: Iterable[Record]) -> list[Record]:
        """Return what the store had of tiles that were visited for the rest."""
        return [each for tile in {r.tile for r in records} for each in self._taken.pop(tile, ())]

    def release(self, records: Iterable[Record]) -> None:
        """Let other builds ask for the tiles of some records, which are kept."""
        for tile in {record.tile for record in records}:
            with suppress(OSError):  # where the file system has no locks nothing is held
                fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, _place(tile))

    def _claimed(
        self, jobs: Iterable[Job], later: list[Job], packs: Packs, keep: Keep
    ) -> Iterator[Job]:
        """Yield what is left of jobs that no other build is at; the others are left for later."""
        queue = iter(jobs)
        while some := list(islice(queue, _AT_ONCE)):
            mine = [job for job in some if self._claim(job.tile.id)]
            claimed = {job.tile.id for job in mine}
            later += [job for job in some if job.tile.id not in claimed]
            self._index.refresh()
            for job in mine:
                found, left = self.take(job, packs)
                if left is None:
                    keep(found)
                    continue
                self._taken[job.tile.id] = found
                yield left

    def _claim(self, tile: str) -> bool:
        """Return whether a tile is this build's to ask for, until it is released."""
        if self._lock < 0:
            with storage_errors(f"write {self._root}"):
                self._root.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(tile))
        except OSError as exc:
            # Where the file system has no locks, two builds may ask for the same.
            return exc.errno not in (errno.EACCES, errno.EAGAIN)
        return True

    def _has(self, record: Record) -> bool:
        (known,) = self._index.find(record.tile, [record.modality], [record.identity])
        return any(
            r.identity == record.identity and r.reason == record.reason
            for r in known
            if _named(r) not in self._damaged
        )

    def _copied(self, record: Record, packs: Packs) -> Record | None:
        """Return a record with its bytes copied; None where they are not what was collected."""
        if record.path is None:
            return record
        try:
            data = self._reader.read(_location(record), record.modality)
        except FormatError:
            self._damaged.add(_named(record))
            return None
        at = packs.add(data)
        return replace(record, path=at.path, byte_offset=at.byte_offset)


def _consistent(job: Job, found: dict[str, Record]) -> dict[str, Record]:
    """Return what one visit would have found, of what several visits did; see `jobs`, `collect`."""
    missing = {name for name, record in found.items() if record.state != "done"}
    unkept = {n for n in missing if (found[n].reason or "").startswith(NOT_KEPT)}
    lacking = next((name for name in job.require if name in missing - unkept), None)
    if lacking is not None:
        if found.keys() != set(job.wanted):
            return {}
        return {n: _unkept(r, lacking, n in missing - unkept) for n, r in found.items()}
    found = {name: record for name, record in found.items() if name not in unkept}
    if ({SCENE, *job.require} & set(job.wanted)) - found.keys():
        found = {name: record for name, record in found.items() if name not in missing}
    return found


def _unkept(record: Record, lacking: str, is_missing: bool) -> Record:
    """Return the record of an observation whose tile lacks a required one."""
    if is_missing:
        return record
    about = record.tile, record.modality, "missing"
    reason = f"{NOT_KEPT}the tile has no {lacking}"
    return Record(*about, kind="NoDataError", reason=reason, identity=record.identity)


def _without(job: Job, found: dict[str, Record]) -> Job | None:
    """Return what is left of a job whose other observations are there."""
    if not found:
        return job
    left = [i for i, name in enumerate(job.wanted) if name not in found]
    if not left:
        return None
    names = tuple(job.wanted[i] for i in left)
    scene = found.get(SCENE)
    return replace(
        job,
        wanted=names,
        require=tuple(name for name in job.require if name in names),
        anchor=scene.acquired if scene is not None and scene.acquired else job.anchor,
        settled=(*job.settled, *found),
        identities=tuple(job.identities[i] for i in left),
    )


def _counted(jobs: Iterator[Job]) -> Generator[Iterator[Job], None, int]:
    """Yield some jobs once; return how many there were."""
    count = 0

    def counted() -> Iterator[Job]:
        nonlocal count
        for job in jobs:
            count += 1
            yield job

    yield counted()
    return count


def _named(record: Record) -> tuple[str, str, str]:
    return str(record.sha256), str(record.path), str(record.byte_offset)


def _location(record: Record) -> Location:
    at = record.path, record.byte_offset, record.bytes, record.sha256
    return Location(*at)  # type: ignore[arg-type]


def _place(tile: str) -> int:
    """Return which byte of the lock file stands for a tile."""
    digest = hashlib.blake2b(tile.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _MOST_LOCKS
