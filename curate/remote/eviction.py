"""The cache of remote files is kept within its bound: what was used longest ago goes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from mmearth.curate.remote.have import DATA, Copy

_SHARE = 0.05
"""Of the bound: after so many new bytes the cache is looked through."""
_DOWN_TO = 0.9
_BLOCK = 512  # of st_blocks, POSIX
_written: dict[Path, int] = {}
_lock = threading.Lock()


def make_room(cache: Path, most: int, n_new: int) -> None:
    """Take note of new bytes, and delete old ones now and then where there are too many.

    Args:
        cache: The directory.
        most: Most bytes that may be there.
        n_new: How many came.
    """
    with _lock:
        _written[cache] = _written.get(cache, most) + n_new  # at first it is looked through
        if not n_new or _written[cache] < most * _SHARE:
            return
        _written[cache] = 0
    found = sorted(_copies(cache))
    total = sum(size for _, size, _ in found)
    if total <= most:
        return
    for _, size, folder in found:
        if total <= most * _DOWN_TO:
            return
        Copy("", folder).forget()
        total -= size


def _copies(cache: Path) -> Iterator[tuple[float, int, Path]]:
    """Yield when each copy was used last, what it takes on the disk, and where it is."""
    for folder, _, names in os.walk(cache):
        for name in names:
            if name.startswith(DATA):
                try:
                    size = Path(folder, name).stat().st_blocks * _BLOCK
                    yield Path(folder).stat().st_mtime, size, Path(folder)
                except FileNotFoundError:  # another process was quicker
                    continue
