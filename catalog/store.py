"""Where the bytes of observations with pixels are: members of packs, or of shards.

While a dataset is collected its members wait in packs, as shards will have them; a sealed dataset
is its own store. A `Location` says where one is.
"""

from __future__ import annotations

import io
import os
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from mmearth.catalog.errors import FormatError, IntegrityError, storage_errors
from mmearth.catalog.files import open_regular, sha256_bytes

PACKS = ".curate/packs"
"""Where packs are while a dataset is collected, relative to its root."""
BEFORE = ".curate/before"
"""Where files of a sealed dataset are, under their own names, while it is packed anew."""
_PACK_BYTES = 1 << 30  # of a pack that nothing is added to any more
_OPEN_FILES = 32  # that one reader keeps


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of one observation with pixels are: a member of a pack or of a shard."""

    path: str
    """Of the file, relative to the dataset's root: `.curate/packs/….pack` or `shards/….tar`."""
    byte_offset: int
    """Of the member's first byte."""
    nbytes: int
    """Its length."""
    sha256: str
    """Of its bytes."""


class PackWriter:
    """Adds members to a pack of its own, one after the other; threads may share it.

    A pack has no header and no index: the ledger's rows say where members are, and bytes that no
    row names, such as those of a writer that was killed, mean nothing. Nobody adds to a file that
    another writer began. What was added is on the disk when the file was synced.
    """

    def __init__(self, root: Path, most_bytes: int = _PACK_BYTES, folder: str = PACKS) -> None:
        """Begin with no file; the first member makes one.

        Args:
            root: The dataset's directory, or a store's.
            most_bytes: A pack that has so many is not added to: the next member begins another.
            folder: Where packs are, relative to `root`.
        """
        self._root, self._most_bytes, self._folder = root, most_bytes, folder
        self._lock = Lock()
        self._file: io.FileIO | None = None
        self._name, self._nbytes = "", 0

    def add(self, data: bytes) -> Location:
        """Add a member; return where it is.

        Raises:
            StorageError: The disk is full or the directory cannot be written.
        """
        digest = sha256_bytes(data)
        with self._lock, storage_errors(f"write {self._root / self._folder}"):
            file = self._file
            if file is None or self._nbytes >= self._most_bytes:
                file = self._begin()
            begin = self._nbytes
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            except BaseException:
                self._end()  # a part of the member may be in it
                raise
            self._nbytes += len(data)
            return Location(self._name, begin, len(data), digest)

    def sync(self) -> None:
        """Wait until all that was added to the newest pack is on the disk.

        Raises:
            StorageError: The disk is full: some file systems find that out only now.
        """
        with self._lock, storage_errors(f"write {self._root / self._folder}"):
            if self._file is not None:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Add no more to the newest pack."""
        with self._lock:
            self._end()

    def _begin(self) -> io.FileIO:
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._end()
        self._name, self._nbytes = f"{self._folder}/{secrets.token_hex(8)}.pack", 0
        path = self._root / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = io.FileIO(path, "xb")
        return self._file

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


class StoreReader:
    """Reads members of a dataset's packs and shards; keeps some files open; for one thread."""

    def __init__(self, root: Path) -> None:
        """Begin with no file open.

        Args:
            root: The dataset's directory.
        """
        self._root = root
        self._files: OrderedDict[str, io.FileIO] = OrderedDict()

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def read(self, at: Location, what: str) -> bytes:
        """Return the bytes of a member, which have its SHA-256.

        They are looked for in the file that the location names and, where they are not in it, in
        the file of that name that was moved to `BEFORE` while the dataset is packed anew. Both may
        be a stranger's: nothing is opened but a regular file of the dataset.

        Args:
            at: Where it is; as much memory is taken as it says.
            what: It is, for the sentence: `sentinel2 of tile 32632_666050_5374480`.

        Raises:
            FormatError: The file is missing, is no regular file of the dataset, or is too short.
            IntegrityError: The bytes are others.
            StorageError: It may not be read.
        """
        refused: list[FormatError | IntegrityError] = []
        for path in (at.path, f"{BEFORE}/{at.path}"):
            try:
                return self._read(path, at, what)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (FormatError, IntegrityError) as exc:
                refused.append(exc)
        raise refused[0] if refused else _lost(what, self._root / at.path, "there is no such file")

    def _read(self, path: str, at: Location, what: str) -> bytes:
        file = self._opened(path)
        size = os.fstat(file.fileno()).st_size
        if not 0 <= at.byte_offset <= at.byte_offset + at.nbytes <= size:
            end = at.byte_offset + at.nbytes
            why = f"it has {size} bytes, and the range {at.byte_offset} to {end} is asked for"
            raise _lost(what, self._root / path, why)
        data = os.pread(file.fileno(), at.nbytes, at.byte_offset)
        if (digest := sha256_bytes(data)) != at.sha256:
            raise IntegrityError(
                f"{what} in {self._root / path} is not what was collected (sha256 {digest[:12]}…, "
                f"expected {at.sha256[:12]}…); run the build again"
            )
        return data

    def _opened(self, path: str) -> io.FileIO:
        if path in self._files:
            self._files.move_to_end(path)
        else:
            self._files[path] = open_regular(self._root / path, self._root)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        return self._files[path]


def _lost(what: str, path: Path, why: str) -> FormatError:
    return FormatError(f"{what} cannot be read back from {path}: {why}; run the build again")
