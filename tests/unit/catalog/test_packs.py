"""Packs: bytes that are added, where they are, and what is refused when they are not there."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mmearth.catalog.errors import FormatError, IntegrityError, StorageError
from mmearth.catalog.store import BEFORE, PACKS, Location, PackWriter, StoreReader
from mmearth.tests.collected import read_location


def test_members_stand_one_after_the_other(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path)
    first, second = writer.add(b"abc"), writer.add(b"defgh")
    assert first == Location(first.path, 0, 3, hashlib.sha256(b"abc").hexdigest())
    assert (second.path, second.byte_offset, second.nbytes) == (first.path, 3, 5)
    # Whoever looks sees them at once: nothing waits in the process.
    assert (tmp_path / first.path).read_bytes() == b"abcdefgh"
    assert Path(first.path).parent.as_posix() == PACKS
    assert read_location(tmp_path, second, "x") == b"defgh"


def test_a_full_pack_is_followed_by_another(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path, most_bytes=6)
    places = [writer.add(data) for data in (b"abc", b"defg", b"hij")]
    assert [at.byte_offset for at in places] == [0, 3, 0]
    assert places[0].path == places[1].path != places[2].path
    with StoreReader(tmp_path) as reader:
        assert [reader.read(at, "x") for at in places] == [b"abc", b"defg", b"hij"]


def test_threads_share_a_writer_and_writers_share_no_file(tmp_path: Path) -> None:
    writer, other = PackWriter(tmp_path), PackWriter(tmp_path)
    found: dict[bytes, Location] = {}

    def add(first: int) -> None:
        for i in range(first, first + 50):
            data = bytes([i]) * (i + 1)
            found[data] = writer.add(data)

    threads = [threading.Thread(target=add, args=(first,)) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.add(b"x").path not in {at.path for at in found.values()}
    assert len(found) == 200
    with StoreReader(tmp_path) as reader:
        assert all(reader.read(at, "x") == data for data, at in found.items())


def test_after_a_failure_nothing_is_added_to_the_torn_file(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path)
    before = writer.add(b"abc")
    full = os.open("/dev/full", os.O_WRONLY)
    assert writer._file is not None
    os.dup2(full, writer._file.fileno())
    os.close(full)
    with pytest.raises(StorageError, match="no space is left"):
        writer.add(b"defgh")
    after = writer.add(b"defgh")
    assert after.path != before.path
    assert (tmp_path / before.path).read_bytes() == b"abc"


def test_a_file_that_was_moved_aside_is_found(tmp_path: Path) -> None:
    at = PackWriter(tmp_path).add(b"abc")
    aside = tmp_path / BEFORE / at.path
    aside.parent.mkdir(parents=True)
    (tmp_path / at.path).rename(aside)
    assert read_location(tmp_path, at, "x") == b"abc"
    # Another file stands under the name already: the one with the right bytes is meant.
    for other in (b"ab", b"xyz"):
        (tmp_path / at.path).write_bytes(other)
        assert read_location(tmp_path, at, "x") == b"abc"
    aside.write_bytes(b"abX")
    with pytest.raises(IntegrityError, match=r"x in .* is not what was collected \(sha256"):
        read_location(tmp_path, at, "x")


def test_each_damage_is_one_sentence(tmp_path: Path) -> None:
    at = PackWriter(tmp_path).add(b"abc")
    path = tmp_path / at.path
    for wrong in ({"byte_offset": 1}, {"byte_offset": -1}, {"nbytes": 4}, {"nbytes": -1}):
        with pytest.raises(FormatError, match=r"it has 3 bytes, and the range .* is asked for"):
            read_location(tmp_path, replace(at, **wrong), "x")
    with pytest.raises(FormatError, match="there is no such file; run the build again"):
        read_location(tmp_path, replace(at, path=f"{PACKS}/other.pack"), "x")
    path.write_bytes(b"abX")
    with pytest.raises(IntegrityError):
        read_location(tmp_path, at, "x")


def test_nothing_but_a_file_of_the_dataset_is_opened(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    at = PackWriter(root).add(b"abc")
    (tmp_path / "secret").write_bytes(b"abc")
    outside = ("../secret", str(tmp_path / "secret"))
    for name in outside:
        with pytest.raises(FormatError, match="which is outside of"):
            read_location(root, replace(at, path=name), "x")
    path = root / at.path
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="which is outside of"):
        read_location(root, at, "x")
    path.unlink()
    os.mkfifo(path)  # to open it would wait for ever
    with pytest.raises(FormatError, match="is a named pipe"):
        read_location(root, at, "x")
    path.unlink()
    path.mkdir()
    with pytest.raises(FormatError, match="is a directory"):
        read_location(root, at, "x")


def test_a_reader_keeps_few_files_open(tmp_path: Path) -> None:
    places = [PackWriter(tmp_path).add(bytes([i])) for i in range(50)]
    with StoreReader(tmp_path) as reader:
        assert [reader.read(at, "x") for at in places] == [bytes([i]) for i in range(50)]
        assert len(reader._files) == 32
        assert reader.read(places[0], "x") == b"\x00"
