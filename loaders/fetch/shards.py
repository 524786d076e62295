"""Local shards as memory: mapped when first read, watched for changes, closed when too many."""

from __future__ import annotations

import mmap
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError, IntegrityError, StorageError
from mmearth.catalog.files import check_regular, open_regular
from mmearth.loaders.fetch.digests import check_unchanged
from mmearth.loaders.fetch.root import DATASET, Root
from mmearth.loaders.fetch.trust import Identity, identity

OPEN_SHARDS = 512
"""Maps that one process keeps; each is an open file, of which 1,024 is the usual limit."""
REMEMBERED = 500_000
"""Members that a process remembers to have checked, in the files that it mapped last: 35 MB."""
_checked: OrderedDict[Identity, set[int]] = OrderedDict()
_checking = threading.Lock()


def _after_fork() -> None:
    """Take a new lock: one that another thread held would stay held in the child for ever."""
    global _checking  # noqa: PLW0603 (a lock cannot be made free in any other way)
    _checking = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True, slots=True)
class Mapped:
    """One shard in memory, read-only."""

    pages: mmap.mmap
    """Its bytes; a slice is a copy."""
    words: NDArray[np.uint64]
    """The same memory, a slice of which is none; a tar is blocks of whole words."""
    nbytes: int
    """Its length."""
    checked: set[int]
    """Marks of the members that this process compared with a manifest, in whatever loader; more may
    come, and they go with the process."""


class Shards:
    """The shards of one process; threads may share them."""

    def __init__(
        self,
        root: Root,
        names: tuple[str, ...],
        dataset_hash: str,
        touched: Callable[[int], None] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            root: A directory.
            names: Of the shards, relative to it.
            dataset_hash: Of the dataset that they belong to.
            touched: Is told of a shard that somebody did something to which left size and time of
                change as they were: a new link, other permissions, or other bytes. It has all that
                is read from it checked again. None: that is refused like any other change.
        """
        self._root, self._names, self._hash = root, names, dataset_hash
        self._touched = touched
        self._lock = threading.Lock()
        self._open: OrderedDict[int, Mapped] = OrderedDict()
        self._identity: dict[int, Identity] = {}
        self._paths: dict[int, Path] = {}

    def at(self, shard: int) -> Mapped:
        """Return a shard that has not changed since this process read it first.

        To read a mapped page that a truncated file no longer has is an error of the copying (see
        `lost`); without the compiled copy it kills the process (SIGBUS). So the file is looked at
        before each use; mmearth itself never writes to a shard in place.

        Raises:
            IntegrityError: It changed, or its dataset was rebuilt.
            FormatError: It is not there.
            StorageError: It cannot be opened.
        """
        with self._lock:
            path = self._path(shard)
            found = self._look(path, shard)
            if self._identity.get(shard, found) != found:
                self._look_again(path, shard, found)
            mapped = self._open.get(shard)
            if mapped is None:
                mapped = self._map(path, shard)
            self._open.move_to_end(shard)
            # Whoever still copies from it keeps it: only the reference goes.
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
            return mapped

    def lost(self, shard: int) -> StorageError:
        """Return why a page of a shard that is mapped cannot be read: the disk.

        Raises:
            IntegrityError: It changed, or its dataset was rebuilt: that is why.
            FormatError: It is not there any more.
        """
        self.at(shard)
        return StorageError(
            f"cannot read all of {self._path(shard)}: the disk or the network has lost a part of "
            "it; run `mmearth packaging verify`, then build or fetch it again"
        )

    def _look_again(self, path: Path, shard: int, found: Identity) -> None:
        before = self._identity[shard]
        if self._touched is None or before[:4] != found[:4]:
            raise self._changed(path, before, found)
        self._open.pop(shard, None)
        del self._identity[shard]
        self._touched(shard)

    def _path(self, shard: int) -> Path:
        path = self._paths.get(shard)
        if path is None:
            path = self._root.path(self._names[shard])
            assert path is not None, "shards are mapped from a local root"
            self._paths[shard] = path
        return path

    def _look(self, path: Path, shard: int) -> Identity:
        with suppress(OSError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                return identity(status)
        try:
            return identity(check_regular(path))  # raises what else it is
        except (FileNotFoundError, NotADirectoryError):
            # A build that began meanwhile is the better explanation, where there is one.
            check_unchanged(self._root, self._hash)
            raise FormatError(
                f"{path} is not there; the manifest names it: run `mmearth packaging verify`"
            ) from None

    def _map(self, path: Path, shard: int) -> Mapped:
        first = self._root.path(DATASET)
        assert first is not None, "shards are mapped from a local root"
        try:
            with open_regular(path, first.parent) as stream:
                opened = identity(os.fstat(stream.fileno()))
                if opened[2] == 0:
                    raise IntegrityError(f"{path} is empty; run `mmearth packaging verify`")
                pages = mmap.mmap(stream.fileno(), opened[2], prot=mmap.PROT_READ)
        except OSError as exc:
            raise StorageError(
                f"cannot open {path}: {str(exc.strerror).lower()}; `ulimit -n` says how many files "
                f"may be open, of which a loader wants {OPEN_SHARDS}"
            ) from exc
        if shard not in self._identity:
            # After the opening: a build takes dataset.json away before it replaces a shard.
            check_unchanged(self._root, self._hash)
        elif self._identity[shard] != opened:
            raise self._changed(path, self._identity[shard], opened)
        self._identity[shard] = opened
        checked = _checked_of(opened)
        words = np.frombuffer(pages, np.uint64, opened[2] // 8)
        self._open[shard] = Mapped(pages, words, opened[2], checked)
        return self._open[shard]

    def _changed(self, path: Path, before: Identity, now: Identity) -> IntegrityError:
        check_unchanged(self._root, self._hash)
        what = f"from {before[2]} to {now[2]} bytes" if before[2] != now[2] else "in place"
        return IntegrityError(
            f"{path} changed {what} while it was read; run `mmearth packaging verify`, then open "
            "the dataset again"
        )


def by_shard(shard: NDArray[np.uint32]) -> dict[int, NDArray[np.int64]]:
    """Return the slots of a batch by the shard that they come from."""
    return {number: np.flatnonzero(shard == number) for number in dict.fromkeys(shard.tolist())}


def _checked_of(key: Identity) -> set[int]:
    """Return what this process knows of a file, as long as nobody touched it at all."""
    with _checking:
        while _checked and sum(map(len, _checked.values())) > REMEMBERED:
            _checked.popitem(last=False)
        checked = _checked.setdefault(key, set())
        _checked.move_to_end(key)
        return checked
