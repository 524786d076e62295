"""Whether anything in a proved dataset was touched since: sizes, times and inodes, not bytes.

What a build has proved it notes in its working state. A file that was written to, replaced or
copied has another time or inode; one that a disk has damaged has not, which only reading shows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmearth.catalog.checksums import DATASET, SUMS, published_files
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import FormatError
from mmearth.catalog.files import write_atomic

_NOTE = Path(".curate") / "proved.json"


def note_proved(root: Path) -> None:
    """Note the status of every published file of a dataset that was just proved.

    Raises:
        StorageError: The directory cannot be written.
    """
    write_atomic(root / _NOTE, json.dumps(_status(root)).encode())


def is_untouched(root: Path) -> bool:
    """Return whether a dataset's files are those that were noted, and no other is there."""
    try:
        return bool(read_json(root / _NOTE, root) == _status(root))
    except (FormatError, OSError):
        return False


def _status(root: Path) -> dict[str, Any]:
    """Return size, time of change in ns and inode by file."""
    status = {name: (root / name).stat() for name in (*published_files(root), DATASET, SUMS)}
    return {name: [each.st_size, each.st_mtime_ns, each.st_ino] for name, each in status.items()}
