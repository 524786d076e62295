"""Shards: WebDataset tars that are the same bytes every time, with the place of every member."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from mmearth.catalog.errors import storage_errors
from mmearth.catalog.files import TEMPORARY, sha256_bytes
from mmearth.catalog.splits import SPLITS
from mmearth.packaging.codec import Members

TAR_BLOCK = 512
"""A tar's header and the padding of its members are in blocks of this many bytes (POSIX ustar)."""
_BUFFER = 1 << 16  # gathers headers and padding; larger members go straight to the file
_LARGEST_MEMBER = 1 << 24  # what is copied in one piece


@dataclass(frozen=True, slots=True)
class MemberRange:
    """Where a member's own bytes are in its shard."""

    offset: int
    """Of its first byte, after the tar header."""
    length: int
    """In bytes, without the padding."""
    sha256: str
    """Of its bytes."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One finished tar."""

    name: str
    """Relative to the dataset's root."""
    n_samples: int
    """How many it holds."""
    nbytes: int
    """Length of the file."""
    sha256: str
    """Of the file."""


def shard_name(task: str, split: str, number: int) -> str:
    """Return `shards/<task>/<split>-000000.tar`."""
    return f"shards/{task}/{split}-{number:06d}.tar"


def shard_rank(name: str) -> tuple[int, str]:
    """Return where a shard stands among those of its task: by split, then by number."""
    return SPLITS.index(Path(name).stem.rpartition("-")[0]), name


class ShardWriter:
    """Writes one shard; the file appears under its name when `close` has returned."""

    def __init__(self, root: Path, name: str) -> None:
        """Begin a shard.

        Args:
            root: The dataset's directory.
            name: Of the shard, relative to it.

        Raises:
            StorageError: The directory cannot be written.
        """
        self._path = root / name
        self._temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}{TEMPORARY}")
        self._name, self._n_samples = name, 0
        with storage_errors(f"write {self._path}"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = _HashingStream(self._temporary.open("wb", buffering=_BUFFER))
        # webdataset's own TarWriter imports PyTorch, and copies all bytes several times.
        self._tar = tarfile.TarFile(
            fileobj=cast(BinaryIO, self._stream),
            mode="w",
            format=tarfile.USTAR_FORMAT,
            copybufsize=_LARGEST_MEMBER,
        )

    @property
    def nbytes(self) -> int:
        """Bytes written so far."""
        return self._tar.offset

    def write(
        self, key: str, members: Members, known: Mapping[str, str] | None = None
    ) -> dict[str, MemberRange]:
        """Add one sample; return the range of each member by its suffix.

        Args:
            key: Of the sample.
            members: Its members, in their order.
            known: SHA-256 by suffix of members that were hashed before.

        Raises:
            StorageError: The disk is full.
        """
        ranges = {}
        with storage_errors(f"write {self._path}"):
            for suffix, data in members.items():
                digest = (known or {}).get(suffix) or sha256_bytes(data)
                ranges[suffix] = MemberRange(self._tar.offset + TAR_BLOCK, len(data), digest)
                self._tar.addfile(_entry(f"{key}.{suffix}", len(data)), io.BytesIO(data))
        self._n_samples += 1
        return ranges

    def close(self) -> Shard:
        """Finish the tar and rename it into place.

        Raises:
            StorageError: The disk is full.
        """
        try:
            with storage_errors(f"write {self._path}"):
                self._tar.close()
                self._stream.close()
                os.replace(self._temporary, self._path)
        except BaseException:
            self.abandon()
            raise
        digest = self._stream.sha256.hexdigest()
        return Shard(self._name, self._n_samples, self._stream.position, digest)

    def abandon(self) -> None:
        """Drop the shard after an error."""
        with suppress(OSError):  # the disk may have no room for the rest of the buffer
            self._stream.close()
        self._temporary.unlink(missing_ok=True)


class _HashingStream:
    """A file that knows its position and hashes what goes through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.position = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.position += len(data)
        return self._stream.write(data)

    def tell(self) -> int:
        return self.position

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def _entry(name: str, nbytes: int) -> tarfile.TarInfo:
    """Return a member's header: date, owner and mode are fixed, so that equal samples are equal."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = nbytes, 0, 0o644
    entry.uname = entry.gname = "mmearth"
    return entry
