"""What stands in the place of a dataset's file is opened only if it is a file of the dataset."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mmearth.catalog.documents import parse_json, read_json
from mmearth.catalog.errors import FormatError, MMEarthError, StorageError
from mmearth.catalog.files import (
    check_regular,
    open_regular,
    read_regular,
    sha256_file,
    write_atomic,
)


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has 107 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "is a named pipe; expected a regular file"),
        (Path.mkdir, "is a directory; expected a regular file"),
        (_socket, "is a socket; expected a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device; expected a regular file"),
        (lambda path: path.symlink_to(path), "cannot be opened"),
        (lambda path: path.symlink_to("/etc/passwd"), "leads to /etc/passwd, which is outside of"),
    ],
    ids=["pipe", "directory", "socket", "device", "loop", "symlink out"],
)
@pytest.mark.parametrize("read", [check_regular, open_regular, read_regular, sha256_file])
def test_no_file_of_the_dataset(
    make: Callable[[Path], None], said: str, read: Callable[..., object], tmp_path: Path
) -> None:
    path = tmp_path / "dataset.json"
    make(path)
    with pytest.raises(FormatError, match=said):
        read(path, tmp_path)


def test_symlinks_within_the_dataset_and_of_hugging_faces_cache(tmp_path: Path) -> None:
    root, blobs = tmp_path / "snapshots" / "c0ffee", tmp_path / "blobs"
    (root / "deep").mkdir(parents=True)
    blobs.mkdir()
    (root / "a").write_bytes(b"mine")
    (root / "deep" / "b").symlink_to("../a")
    (blobs / "0123").write_bytes(b"a blob")
    (root / "c").symlink_to("../../blobs/0123")
    assert read_regular(root / "deep" / "b", root) == b"mine"
    assert read_regular(root / "c", root) == b"a blob"
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(root)
    assert read_regular(elsewhere / "a", elsewhere) == b"mine"  # the root itself may be one
    (tmp_path / "other").write_bytes(b"not mine")
    (root / "d").symlink_to("../../other")
    with pytest.raises(FormatError, match="which is outside of"):
        read_regular(root / "d", root)
    (root / "out").symlink_to(tmp_path)  # a folder on the way
    with pytest.raises(FormatError, match="which is outside of"):
        read_regular(root / "out" / "other", root)
    assert read_regular(root / "out" / "other") == b"not mine"  # the user's own word


@pytest.mark.parametrize("store", [".dvc/cache/files/md5/0a", ".git/annex/objects/Kx/3q/KEY"])
def test_symlinks_into_the_store_of_a_directory_above(store: str, tmp_path: Path) -> None:
    root, kept = tmp_path / "work" / "data" / "set", tmp_path / "work" / store
    root.mkdir(parents=True)
    kept.mkdir(parents=True)
    (kept / "1234").write_bytes(b"kept")
    (root / "a").symlink_to(kept / "1234")
    assert read_regular(root / "a", root) == b"kept"
    (tmp_path / "work" / ".git" / "config").parent.mkdir(exist_ok=True)
    (tmp_path / "work" / ".git" / "config").write_bytes(b"not of the store")
    (root / "b").symlink_to(tmp_path / "work" / ".git" / "config")
    with pytest.raises(FormatError, match="which is outside of"):
        read_regular(root / "b", root)
    beside = tmp_path / "beside" / store  # of another directory
    beside.mkdir(parents=True)
    (beside / "1234").write_bytes(b"another's")
    (root / "c").symlink_to(beside / "1234")
    with pytest.raises(FormatError, match="which is outside of"):
        read_regular(root / "c", root)


def test_symlinks_into_a_directory_that_the_user_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = tmp_path / "set", tmp_path / "cache"
    root.mkdir()
    cache.mkdir()
    (cache / "a").write_bytes(b"cached")
    (root / "a").symlink_to(cache / "a")
    with pytest.raises(FormatError, match="or name the directory that it leads into in MMEARTH_LI"):
        read_regular(root / "a", root)
    monkeypatch.setenv("MMEARTH_LINK_DIRS", f"{tmp_path / 'nothing'}:{cache}")
    assert read_regular(root / "a", root) == b"cached"


def test_absent_forbidden_and_too_large(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none", tmp_path)
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(FormatError, match=r"has 1099511\.6 MB, expected 67\.1 MB at most"):
        read_regular(path, tmp_path)
    if os.geteuid():
        path.chmod(0)
        with pytest.raises(StorageError, match="ask for the permission"):
            open_regular(path, tmp_path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'"\xff"', "is not JSON"),
        (b"", "is not JSON"),
        (b"[" + b"9" * 10_000 + b"]", "is not JSON"),
    ],
)
def test_what_is_no_document(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=said):
        parse_json(data, "x.json")
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(FormatError, match=said):
        read_json(tmp_path / "x.json", tmp_path)


def test_a_name_cannot_command_the_terminal() -> None:
    found = FormatError("a\nb\x1b[2J\u202e\udcff ° é is wrong")
    assert str(found) == r"a\nb\x1b[2J\u202e\udcff ° é is wrong"
    again = pickle.loads(pickle.dumps(found))
    assert (type(again), str(again)) == (FormatError, str(found))
    assert str(MMEarthError()) == ""


def test_a_file_that_was_never_written(tmp_path: Path) -> None:
    huge, small = tmp_path / "huge", tmp_path / "small"
    for path, size in ((huge, 200 << 30), (small, 2 << 20)):
        path.write_bytes(b"begins well")
        os.truncate(path, size)
    with pytest.raises(FormatError, match="of which most were never written"):
        sha256_file(huge)
    assert sha256_file(small) == hashlib.sha256(b"begins well".ljust(2 << 20, b"\0")).hexdigest()


def test_no_name_is_no_file_to_write() -> None:
    with pytest.raises(StorageError, match="name a file"):
        write_atomic(Path(), b"")
