"""Make room in a cache: the least recently used entries go first, and none that is held."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from mmearth.catalog.files import TEMPORARY

_ABANDONED_S = 3600.0  # no entry is written for that long: its writer was killed


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One file of a cache."""

    used_ns: int
    """When it was used last, in nanoseconds since 1970-01-01 UTC."""
    path: Path
    """Its file."""
    nbytes: int
    """Its length."""


def entries(directory: Path) -> list[Entry]:
    """Return a cache's files, unfinished ones too; those that vanish meanwhile are left out."""
    found = []
    for folder in _scan(directory):
        if not folder.is_dir(follow_symlinks=False):
            continue
        for file in _scan(Path(folder.path)):
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            found.append(Entry(status.st_mtime_ns, Path(file.path), status.st_size))
    return found


def make_room(directory: Path, wanted: int, limit: int, target: int) -> None:
    """Delete the least recently used entries if `wanted` bytes more would pass `limit`.

    Afterwards the cache has at most `target` bytes, the wanted ones included, unless what is left
    is held. What a killed writer left is deleted in any case.

    Raises:
        OSError: The directory refuses.
    """
    present = entries(directory)
    old = time.time_ns() - int(_ABANDONED_S * 1e9)
    for entry in present:
        if entry.path.name.endswith(TEMPORARY) and entry.used_ns < old:
            entry.path.unlink(missing_ok=True)
    total = wanted + sum(entry.nbytes for entry in present)
    if total <= limit:
        return
    for entry in sorted(present):
        if total <= max(target, wanted):
            return
        if entry.path.name.endswith(TEMPORARY) or _delete(entry.path):
            total -= entry.nbytes


def _delete(path: Path) -> bool:
    """Delete an entry unless a process holds it or it is another user's; return if it is gone."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A reader that has it open keeps its bytes: only the name goes.
        path.unlink(missing_ok=True)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.close(file)
    return True


def _scan(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return list(found)
    except (FileNotFoundError, PermissionError):
        return []
