"""Local files that were compared with what the dataset says of them: once, until they are touched.

What a process found out goes with it. A file is the same while its device, inode, size and both
times are: whoever writes into it may set back the time of its change, and not that of its inode.
"""

from __future__ import annotations

import os
from pathlib import Path

from mmearth.catalog.errors import FormatError, IntegrityError
from mmearth.catalog.files import check_regular, sha256_file

Identity = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, time of change and time of the inode's change in ns."""
_compared: set[tuple[Identity, str]] = set()


def identity(status: os.stat_result) -> Identity:
    """Return what is another if a file was replaced or written to."""
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, *times


def compared(path: Path, root: Path, sha256: str) -> Path:
    """Return a local dataset's file whose bytes have a SHA-256.

    Args:
        path: The file.
        root: The dataset's directory.
        sha256: What dataset.json or SHA256SUMS says of it.

    Raises:
        IntegrityError: They have another.
        FormatError: It is not there, or no regular file of the dataset.
        StorageError: It may not be read.
    """
    try:
        mark = identity(check_regular(path, root)), sha256
        if mark in _compared:
            return path
        found = sha256_file(path, root)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FormatError(
            f"{path} is not there; expected a file of a complete dataset: run "
            "`mmearth packaging verify`, or the build again"
        ) from exc
    if found != sha256 or identity(path.stat()) != mark[0]:
        raise IntegrityError(
            f"{path}: found SHA-256 {found}, expected {sha256}: it was changed after the dataset "
            "was sealed; run `mmearth packaging verify`, then restore it or build it again"
        )
    _compared.add(mark)
    return path
