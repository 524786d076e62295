"""Arrays that grow to a known length, in memory or in files that go when their owner goes."""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mmearth.catalog.errors import ConfigError, FormatError, storage_errors

PREFIX = "mmearth-index-"
"""Of the temporary directories; one whose lock nobody holds was left by a process that died."""
_LOCK = "lock"


class Spill:
    """A temporary directory of array files; deleted with this object, in the process that made it.

    A process that is killed leaves it; the next one that makes a Spill there removes it.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """Make the directory in `parent`, or where the system keeps temporary files (TMPDIR).

        Raises:
            ConfigError: There is no such parent.
            StorageError: The disk is full or the directory cannot be written.
        """
        above = Path(tempfile.gettempdir()) if parent is None else parent
        if not above.is_dir():
            raise ConfigError(
                f"{above} is not a directory; expected one for the temporary files of a large "
                "index: make it, or set TMPDIR"
            )
        with storage_errors(f"keep an index in {above}"):
            _sweep(above)
            self.path, lock = _locked_directory(above)
        self._finalizer = weakref.finalize(self, _remove, self.path, lock, os.getpid())


class Column:
    """An array of a known length that is filled from the front, part by part."""

    def __init__(
        self, name: str, shape: tuple[int, ...], dtype: DTypeLike, spill: Spill | None
    ) -> None:
        """Keep `shape` values in memory, or in a file of `spill` without mapping it yet."""
        self.name, self.shape, self.dtype = name, shape, np.dtype(dtype)
        self._filled = 0
        self._array = np.empty(shape, self.dtype) if spill is None else None
        # Written, not mapped: pages of a file that is written are not this process's memory.
        self._file = (
            None if spill is None else (spill.path / name.replace("/", "-")).open("xb", buffering=0)
        )

    def append(self, part: NDArray[Any]) -> None:
        """Add the next values: an array of the column's shape but for its length.

        Raises:
            FormatError: There are more than were counted.
            StorageError: The disk is full.
        """
        begin, self._filled = self._filled, self._filled + len(part)
        if self._filled > self.shape[0]:
            raise _other_length(self)
        if self._array is not None:
            self._array[begin : self._filled] = part
        if self._file is not None:
            data = np.ascontiguousarray(part, self.dtype).reshape(-1).view(np.uint8).data
            with storage_errors(f"write {self._file.name}"):
                while data:
                    data = data[self._file.write(data) :]

    def done(self) -> NDArray[Any]:
        """Return the array, which must be full; one in a file is mapped, for reading.

        Raises:
            FormatError: There are fewer values than were counted.
        """
        if self._filled != self.shape[0]:
            raise _other_length(self)
        if self._array is not None:
            return self._array
        assert self._file is not None
        self._file.close()
        return np.memmap(self._file.name, self.dtype, mode="r", shape=self.shape)

    def close(self) -> None:
        """Let go of the file, if there is one."""
        if self._file is not None:
            self._file.close()


def nbytes(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    """Return the bytes of an array."""
    return math.prod(shape) * np.dtype(dtype).itemsize


def _other_length(column: Column) -> FormatError:
    return FormatError(
        f"the manifest has other rows than were counted in it ({column.shape[0]}); it changed "
        "while it was read: open the dataset again"
    )


def _locked_directory(above: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=above))
        lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if (path / _LOCK).exists():  # else another process swept it before it was locked
            return path, lock
        os.close(lock)


def _remove(path: Path, lock: int, owner: int) -> None:
    """Delete a directory; not in a child that was forked, which has the same finalizer."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _sweep(parent: Path) -> None:
    """Delete the directories that processes left that could not clean up."""
    for left in parent.glob(f"{PREFIX}*"):
        try:
            lock = os.open(left / _LOCK, os.O_RDWR)
        except OSError:
            continue  # another user's, or being made this moment
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
