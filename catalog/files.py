"""Files that are either complete or not there: atomic writing and checksums."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmearth.catalog.errors import storage_errors

TEMPORARY = ".tmp"
"""Suffix of a file that is being written; whoever finds one after a crash may delete it."""
_SMALL = 1 << 20  # bytes that are hashed in one piece: a block of their own would cost more


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place when the block succeeds.

    The rename is atomic on one file system, so a reader sees the old file, the new file or none.
    The temporary name is drawn at random: several machines that write the same file do not mix.

    Args:
        path: Where the complete file shall be; its directory is made.

    Yields:
        The path to write to.

    Raises:
        StorageError: The disk is full or the directory cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        with storage_errors(f"write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` so that a crash leaves the old file or the new one, never a part.

    Raises:
        StorageError: The disk is full or the directory cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it once in blocks."""
    with path.open("rb", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size <= _SMALL:
            return hashlib.sha256(stream.read()).hexdigest()
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_temporaries(directory: Path) -> None:
    """Delete what an interrupted writer left below `directory`."""
    for leftover in directory.rglob(f".*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)
