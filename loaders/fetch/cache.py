"""A bounded cache on disk: entries named by the SHA-256 of their bytes, shared by processes.

An entry appears by a rename, so that a process killed at any moment leaves no part of one; what it
was writing is a temporary file, which a later visit removes. Readers verify what they read: a
damaged entry is dropped and fetched again.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmearth.catalog.arguments import whole
from mmearth.catalog.errors import FormatError, IntegrityError, MMEarthWarning, StorageError
from mmearth.catalog.files import is_sha256, sha256_bytes, sha256_file, write_atomic
from mmearth.loaders.fetch.evict import make_room
from mmearth.loaders.fetch.root import DATASET, Root
from mmearth.loaders.fetch.trust import compared

LIMIT_BYTES = 32 << 30
"""What a cache may hold where nothing else is said: 32 GiB."""
_SHARE = 64  # the disk is looked over again after this part of the limit was written
_FRESH_S = 86_400  # not marked as used again: who compared it can tell that nobody wrote to it
_held: dict[Path, int] = {}  # open, locked entries: no process evicts them while this one lives


def default_directory() -> Path:
    """Return where the cache is: MMEARTH_CACHE, else `mmearth` in the user's cache directory."""
    if chosen := os.environ.get("MMEARTH_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mmearth"


class Cache:
    """Entries by the SHA-256 of their bytes; the least recently used go first."""

    def __init__(self, directory: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        """Name the directory; it is made with the first entry.

        Args:
            directory: Of the cache; nothing else should be in it.
            limit_bytes: How much it may hold.

        Raises:
            ConfigError: The limit is no whole number from 0.
        """
        whole("limit_bytes", limit_bytes)
        self.directory, self.limit_bytes = Path(directory), limit_bytes
        self._lock = threading.Lock()
        self._unseen = limit_bytes  # bytes written since the disk was looked over
        self._closed = False  # for this process, after the disk refused

    def __reduce__(self) -> tuple[Any, ...]:
        return Cache, (self.directory, self.limit_bytes)

    def get(self, sha256: str) -> Path | None:
        """Return an entry's file, used just now; None where there is none.

        Another process may evict it before it is opened: then it has to be fetched again. Its
        bytes are not verified here.
        """
        path = self._path(sha256)
        status = _regular(path)
        if status is not None and time.time() - status.st_mtime > _FRESH_S:
            with suppress(OSError):  # evicted, or a cache that others fill and this user only reads
                os.utime(path)
        return path if status is not None else None

    def put(self, sha256: str, data: bytes | memoryview) -> None:
        """Keep an entry; one that is larger than the limit is not kept.

        A disk that refuses (full, read-only) is warned of once; then nothing more is kept.

        Args:
            sha256: Of the bytes, with which the caller has compared them.
            data: The bytes.
        """
        path = self._path(sha256)
        if self._closed or len(data) > self.limit_bytes or _regular(path) is not None:
            return
        try:
            self._make_room(len(data))
            write_atomic(path, data)
        except (StorageError, OSError) as exc:
            self._close(exc)

    def drop(self, sha256: str) -> None:
        """Remove an entry: its bytes turned out to be damaged."""
        path = self._path(sha256)
        if (held := _held.pop(path, None)) is not None:
            os.close(held)
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            self._close(exc)

    def hold(self, sha256: str) -> Path | None:
        """Return an entry's file, which no process evicts while this one lives; else None.

        For files that others read by their path for a long time, such as manifests.
        """
        path = self.get(sha256)
        if path is None or path in _held:
            return path
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # evicted meanwhile, or not this user's to read
            return None
        fcntl.flock(file, fcntl.LOCK_SH)
        if os.fstat(file).st_nlink == 0:  # evicted between the opening and the lock
            os.close(file)
            return None
        _held[path] = file
        return path

    def _path(self, sha256: str) -> Path:
        return self.directory / sha256[:2] / sha256

    def _make_room(self, nbytes: int) -> None:
        """Evict when a bound is in sight; every process looks over the disk now and then.

        Each looks again after a 64th of the limit and leaves a quarter of it free, so that a dozen
        processes that fill one cache together stay within it.
        """
        with self._lock:
            self._unseen += nbytes
            if self._unseen * _SHARE > self.limit_bytes:
                make_room(self.directory, nbytes, self.limit_bytes, self.limit_bytes * 3 // 4)
                self._unseen = nbytes

    def _close(self, exc: Exception) -> None:
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            warnings.warn(
                f"the cache in {self.directory} keeps nothing more: {exc}; reading goes on "
                "without it",
                MMEarthWarning,
                stacklevel=2,
            )


def _regular(path: Path) -> os.stat_result | None:
    """Return an entry's status; whatever else has its name, as a folder or a pipe, is none."""
    with suppress(OSError):  # not there, or not this user's to look at
        if stat.S_ISREG((status := path.stat()).st_mode):
            return status
    return None


def fetched(root: Root, name: str, sha256: str, cache: Cache) -> Path:
    """Return a whole small file, such as a manifest, as a verified file of this machine.

    Args:
        root: Where the dataset lies.
        name: Of the file, relative to it.
        sha256: What dataset.json or SHA256SUMS says of it.
        cache: Keeps a remote file; it is held there until this process ends.

    Raises:
        IntegrityError: Its bytes have another SHA-256; a remote file was asked for twice.
        FormatError: What should be a SHA-256 is none.
        StorageError: The cache cannot keep it.
        MMEarthError: As `Root` says.
    """
    if not is_sha256(sha256):
        raise FormatError(f"{root.url}: found {sha256!r}, expected the SHA-256 of {name}")
    local, first = root.path(name), root.path(DATASET)
    if local is not None and first is not None:
        return compared(local, first.parent, sha256)
    kept = cache.hold(sha256)
    if kept is not None and sha256_file(kept) == sha256:
        return kept
    cache.drop(sha256)
    data = root.read(name)
    if sha256_bytes(data) != sha256:
        data = root.read(name)
        if (found := sha256_bytes(data)) != sha256:
            raise IntegrityError(
                f"{root.url}/{name}: found SHA-256 {found}, expected {sha256}; run "
                "`mmearth packaging verify`, or fetch it again"
            )
    cache.put(sha256, data)
    kept = cache.hold(sha256)
    # What could not be dropped, as it is somebody else's, still stands there.
    if kept is None or sha256_file(kept) != sha256:
        raise StorageError(
            f"{root.url}/{name} has {len(data)} bytes, which the cache in {cache.directory} "
            f"(limit {cache.limit_bytes} bytes) cannot keep; give it room and the permission to "
            "write, or name another directory with MMEARTH_CACHE"
        )
    return kept
