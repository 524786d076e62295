"""Files are either complete or not there."""

from __future__ import annotations

import errno
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmearth.catalog.errors import StorageError, storage_errors
from mmearth.catalog.files import (
    atomic_path,
    remove_temporaries,
    sha256_bytes,
    sha256_file,
    write_atomic,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_bytes(b"half of the new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_digests(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    path = tmp_path / "file"
    write_atomic(path, data)
    assert sha256_file(path) == sha256_bytes(data) == hashlib.sha256(data).hexdigest()
    assert sha256_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    leftover, kept = tmp_path / "a" / ".x.tar.123.tmp", tmp_path / "a" / "x.tar"
    leftover.touch()
    kept.touch()
    folder = tmp_path / "a" / ".8.tmp"
    folder.mkdir()
    (folder / ".0.parquet.1.tmp").touch()
    remove_temporaries(tmp_path)
    assert list((tmp_path / "a").iterdir()) == [kept]
    assert not leftover.exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EACCES, "choose a directory you may write to"),
        (errno.ENOTDIR, "cannot write x: .*; move away what stands there"),
        (errno.EIO, "cannot write x: refused; the disk fails"),
    ],
)
def test_the_disks_refusal_is_one_sentence(code: int, said: str) -> None:
    with pytest.raises(StorageError, match=said), storage_errors("write x"):
        raise OSError(code, "Refused")
    with pytest.raises(FileNotFoundError), storage_errors("write x"):
        raise FileNotFoundError(errno.ENOENT, "no such file")


def test_many_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    # As when two machines make one visit: their process ids may be equal, and threads share one.
    path, data = tmp_path / "a.tif", bytes(1 << 16)
    with ThreadPoolExecutor(8) as pool:
        for written in [pool.submit(write_atomic, path, data) for _ in range(400)]:
            written.result()
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]
