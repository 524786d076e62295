"""Files that are complete or not there: atomic writing, syncing, wary reading, checksums."""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from mmearth.catalog.errors import FormatError, StorageError, storage_errors

TEMPORARY = ".tmp"
"""Suffix of a file that is being written; whoever finds one after a crash may delete it."""
_SMALL = 1 << 20  # bytes that are hashed in one piece: a block of their own would cost more
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
SMALL_FILE = 64 << 20
"""Bytes of the largest file that is read as a whole, such as a JSON document; ours are smaller."""
_MOST_HOLES = 1 << 30  # bytes of a file that may never have been written; zeros of ours are fewer
LINKS = "MMEARTH_LINK_DIRS"
"""Environment variable of directories into which symlinks of any dataset may lead, with `:` between
them: a cache of DVC's elsewhere, such as a shared one."""
_STORES = (".dvc/cache", ".git/annex/objects")
"""Where DVC and git-annex keep the files of a directory below, by their digests."""
_SYNCING = 8  # threads: a journalling file system commits what they wait for together


@contextmanager
def atomic_path(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place when the block succeeds.

    The rename is atomic on one file system, so a reader sees the old file, the new file or none.
    The temporary name is drawn at random: several machines that write the same file do not mix.

    Args:
        path: Where the complete file shall be; its directory is made.
        durable: Return only when the file survives a power cut. Without it the caller syncs what
            it wrote (`sync_files`) before anything else says that it is there.

    Yields:
        The path to write to.

    Raises:
        StorageError: The disk is full, the directory cannot be written, or the path names no file.
    """
    if not path.name:
        raise StorageError(f"'{path}' is a directory; name a file in it to write")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        with storage_errors(f"write {path}"):
            if not path.parent.is_dir():  # to ask costs a tenth of making what is there
                path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if durable:
                sync(temporary)
            os.replace(temporary, path)
            if durable:
                sync(path.parent)
    except BaseException:
        with suppress(OSError):  # not there, or on a disk where nothing can be deleted either
            temporary.unlink()
        raise


def write_atomic(path: Path, data: bytes | memoryview, durable: bool = False) -> None:
    """Write `data` to `path` so that a crash leaves the old file or the new one, never a part.

    Args:
        path: The file; its directory is made.
        data: All of its bytes.
        durable: See `atomic_path`.

    Raises:
        StorageError: The disk is full or the directory cannot be written.
    """
    with atomic_path(path, durable) as temporary:
        temporary.write_bytes(data)


def check_regular(path: Path, root: Path | None = None) -> os.stat_result:
    """Return the status of a dataset's file, which may come from a stranger, before it is opened.

    To open a named pipe may wait for ever, to open a device may do something, and a symlink may
    lead to a file that is not the dataset's.

    Args:
        path: The file.
        root: The dataset's directory; a symlink below it must lead to a file below it. None: any
            regular file will do.

    Raises:
        FileNotFoundError: It is not there; NotADirectoryError where a part of its path is a file.
        FormatError: It is no regular file, or a symlink leads out of the dataset.
        StorageError: It may not be looked at.
    """
    with _refusals(path):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(path, status)
    if root is not None:
        check_inside(path, root)
    return status


def check_inside(path: Path, root: Path) -> None:
    """Refuse a path that symlinks, or `..`, lead out of a dataset.

    Raises:
        FormatError: It is outside.
    """
    target = Path(os.path.realpath(path))
    if not _is_inside(target, root):
        raise FormatError(
            f"{path} leads to {target}, which is outside of {root}; expected it in the dataset: "
            f"copy it to its place, or name the directory that it leads into in {LINKS}"
        )


def open_regular(path: Path, root: Path | None = None) -> io.FileIO:
    """Open a dataset's file to read, unbuffered; it is what `check_regular` looked at.

    Raises:
        FileNotFoundError, NotADirectoryError, FormatError, StorageError: As `check_regular` says.
    """
    check_regular(path, root)
    with _refusals(path):
        # Between the two it may have become a pipe: not to wait for a writer is O_NONBLOCK.
        stream = io.FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            stream.close()
            raise _not_regular(path, status)
    return stream


def read_regular(path: Path, root: Path | None = None, most: int = SMALL_FILE) -> bytes:
    """Return a dataset's whole file, in bounded memory.

    Args:
        path: The file.
        root: As for `check_regular`.
        most: Bytes that it may have.

    Raises:
        FileNotFoundError, NotADirectoryError, StorageError: As `check_regular` says.
        FormatError: As `check_regular` says, or the file is larger than `most`.
    """
    with open_regular(path, root) as stream:
        nbytes = os.fstat(stream.fileno()).st_size
        if nbytes > most:
            raise FormatError(
                f"{path} has {nbytes / 1e6:.1f} MB, expected {most / 1e6:.1f} MB at most; fetch "
                "it again"
            )
        return stream.readall()


def check_written(stream: io.FileIO, path: Path) -> None:
    """Refuse an open file of which more than a gigabyte was never written: zeros, for hours.

    Raises:
        FormatError: It is one.
    """
    size = os.fstat(stream.fileno()).st_size
    if size > _MOST_HOLES and _holes(stream.fileno(), size) > _MOST_HOLES:
        raise FormatError(
            f"{path} claims {size} bytes of which most were never written; expected a whole "
            "file: fetch it again, or run the build again"
        )


def _holes(file: int, size: int) -> int:
    """Return the bytes of an open file that take no room on the disk and read as zeros.

    It stops when they are too many; a file system that does not tell has none.
    """
    found = at = 0
    try:
        while at < size and found <= _MOST_HOLES:
            begin = os.lseek(file, at, os.SEEK_HOLE)
            try:
                at = os.lseek(file, begin, os.SEEK_DATA)
            except OSError:  # no data behind it
                at = size
            found += max(at - begin, 0)
    except OSError:
        return 0
    finally:
        os.lseek(file, 0, os.SEEK_SET)
    return found


def _not_regular(path: Path, status: os.stat_result) -> FormatError:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
    return FormatError(
        f"{path} is {kind}; expected a regular file: fetch it again, or build the dataset again"
    )


def _is_inside(target: Path, root: Path) -> bool:
    """Say whether a resolved path is the dataset's own."""
    real = Path(os.path.realpath(root))
    # Hugging Face's cache: snapshots/<commit>/… are symlinks to blobs/<hash> of the repository.
    blobs = real.parent.parent / "blobs" if real.parent.name == "snapshots" else real
    if target.is_relative_to(real) or target.parent == blobs:
        return True
    stores = [above / store for above in (real, *real.parents) for store in _STORES]
    named = [Path(each) for each in os.environ.get(LINKS, "").split(os.pathsep) if each]
    return any(target.is_relative_to(os.path.realpath(each)) for each in (*stores, *named))


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a path, other than that it is not there."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except PermissionError as exc:
        raise StorageError(
            f"cannot read {path}: {str(exc.strerror).lower()}; ask for the permission to read it"
        ) from exc
    except (OSError, ValueError) as exc:  # a loop of symlinks, a name too long or with a NUL
        raise FormatError(
            f"{path} cannot be opened ({getattr(exc, 'strerror', None) or exc}); fetch it again"
        ) from exc


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a directory's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(root: Path, names: Iterable[str]) -> None:
    """Wait until files are on the disk, and every directory that leads to them from `root`.

    Args:
        root: A directory.
        names: Files below it, relative to it.

    Raises:
        StorageError: The disk is full: some file systems find that out only now.
    """
    files = [root / name for name in names]
    folders = {folder for file in files for folder in _ancestors(file, root)}
    with storage_errors(f"write {root}"), ThreadPoolExecutor(_SYNCING) as pool:
        for _ in pool.map(sync, files):  # to the end, so that an error is raised here
            pass
        for _ in pool.map(sync, folders):
            pass


def _ancestors(path: Path, root: Path) -> list[Path]:
    """Return the directories from `path` up to `root`, both ends' directories included."""
    above = list(path.parents)
    return above[: above.index(root) + 1]


def is_sha256(text: object) -> bool:
    """Say whether something is 64 hexadecimal digits, as `sha256_bytes` returns them."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path, root: Path | None = None) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it once in blocks.

    Raises:
        FileNotFoundError, NotADirectoryError, FormatError, StorageError: As `check_regular` says.
        FormatError: More than a gigabyte of it was never written: to read zeros would take hours.
    """
    with open_regular(path, root) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size <= _SMALL:
            return hashlib.sha256(stream.read()).hexdigest()
        check_written(stream, path)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_temporaries(directory: Path) -> None:
    """Delete what an interrupted writer left below `directory`."""
    for leftover in list(directory.rglob(f".*{TEMPORARY}")):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
