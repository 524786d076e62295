"""A shard that is truncated, in place, while it is copied: an error, and the process lives."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mmearth
from mmearth.catalog.errors import IntegrityError, StorageError
from mmearth.loaders.fetch.gather import (
    IS_COMPILED,
    Words,
    copy_one,
    gather,
    gather_and_look,
    guard,
)
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.fetch.shards import Mapped, Shards
from mmearth.tests.hand_index import copy_to_read, destinations

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="NumPy's copy ends the process")
NBYTES, CUT = 1 << 20, 300_000
ZERO = np.zeros(1, np.int64)


def _mapped(path: Path, nbytes: int = NBYTES) -> Words:
    path.write_bytes(np.arange(nbytes // 8, dtype=np.uint64).tobytes())
    with path.open("rb") as stream:
        return np.frombuffer(mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ), np.uint64)


def _look(source: Words, into: Words) -> None:
    valid = np.zeros((1, 8, 256, 256), np.bool_)
    gather_and_look(source, ZERO, into, ZERO, NBYTES, np.uint16(0), valid)


WAYS = {
    "gather": lambda source, into: gather(source, ZERO, into, ZERO, NBYTES),
    "one": lambda source, into: copy_one(source, 0, into[0]),
    "look": _look,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_page_that_has_gone_is_an_error(way: str, tmp_path: Path) -> None:
    copy, into = WAYS[way], np.zeros((1, NBYTES // 8), np.uint64)
    guard()
    for name in ("first", "second"):
        source = _mapped(tmp_path / name)
        os.truncate(tmp_path / name, CUT)
        with pytest.raises(OSError, match="Input/output error"):
            copy(source, into)
        assert into[0, :4096].tolist() == list(range(4096))  # which the file still has
        whole = _mapped(tmp_path / "whole")
        copy(whole, into)
        assert (into[0] == whole).all()


def test_each_thread_has_errors_of_its_own(tmp_path: Path) -> None:
    sources = [_mapped(tmp_path / str(i)) for i in range(8)]
    guard()
    for i in range(0, 8, 2):
        os.truncate(tmp_path / str(i), CUT)

    def copied(i: int) -> int:
        into, n_lost = np.zeros((1, NBYTES // 8), np.uint64), 0
        for _ in range(100):
            try:
                gather(sources[i], ZERO, into, ZERO, NBYTES)
            except OSError:
                n_lost += 1
        return n_lost

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(copied, range(8))) == [100, 0] * 4


_OTHERS = """
import faulthandler, mmap, os, signal, sys
import numpy as np
from mmearth.loaders.fetch.gather import gather, guard
told = []
signal.signal(signal.SIGBUS, lambda *_: told.append(1))
zero, into = np.zeros(1, np.int64), np.zeros((1, 1 << 17), np.uint64)
def lost():
    pages = mmap.mmap(stream.fileno(), 1 << 20, prot=mmap.PROT_READ)
    os.truncate(sys.argv[1], 0)
    guard()
    try:
        gather(np.frombuffer(pages, np.uint64), zero, into, zero, 1 << 20)
    except OSError:
        print("refused", flush=True)
    os.truncate(sys.argv[1], 1 << 20)
    return pages
stream = open(sys.argv[1], "w+b")
stream.truncate(1 << 20)
lost()
os.kill(os.getpid(), signal.SIGBUS)  # by somebody: whoever asked for it before is told
print(len(told), flush=True)
lost()
faulthandler.enable()  # and whoever asks for it later
pages = lost()
os.truncate(sys.argv[1], 0)
pages[0]
"""


def test_what_others_do_of_the_signal_they_still_do(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OTHERS, tmp_path / "file"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["refused", "1", "refused", "refused"], done.stderr
    assert done.returncode == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in done.stderr


@pytest.fixture
def place(small_dataset: Path, tmp_path: Path) -> Path:
    return copy_to_read(small_dataset, tmp_path / "set", "biomass")


def _cut_after_looking(monkeypatch: pytest.MonkeyPatch, path: Path, size: int) -> None:
    look = Shards.at

    def looked(self: Shards, shard: int) -> Mapped:
        mapped = look(self, shard)
        monkeypatch.setattr(Shards, "at", look)
        os.truncate(path, size)
        return mapped

    monkeypatch.setattr(Shards, "at", looked)


@pytest.mark.parametrize("n_before", [0, 1, 2])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_shard_that_is_cut_while_it_is_copied(
    n_before: int, left: float, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = mmearth.open(place).select("biomass")
    members = Members(chosen.dataset.root, chosen.index, chosen.dataset.hash)
    shard = int(chosen.index.shard[0])
    rows = np.flatnonzero(chosen.index.shard == shard)
    path = place / chosen.index.shards[shard]
    for _ in range(n_before):  # never read, read and compared, read again
        members.fill(rows, destinations(chosen.index, len(rows)))
    members._here()._ahead.left = 0  # type: ignore[attr-defined]  # which looks once more
    _cut_after_looking(monkeypatch, path, int(path.stat().st_size * left))
    with pytest.raises(IntegrityError, match=r"changed from \d+ to \d+ bytes while it was"):
        members.fill(rows, destinations(chosen.index, len(rows)))


def test_zeros_of_a_last_page_that_was_cut_are_noticed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file ends within a page, the rest of it reads as zeros and no signal comes."""
    chosen = mmearth.open(place).select("biomass")
    members = Members(chosen.dataset.root, chosen.index, chosen.dataset.hash)
    path = place / chosen.index.shards[int(chosen.index.shard[0])]
    rows = np.zeros(1, np.int64)
    members.fill(rows, destinations(chosen.index, 1))
    members._here()._ahead.left = 0  # type: ignore[attr-defined]
    end = max(int(offset[0]) for offset in chosen.index.offset.values())
    cut = (path.stat().st_size - 1) // mmap.PAGESIZE * mmap.PAGESIZE + 8
    assert cut > end
    _cut_after_looking(monkeypatch, path, cut)
    with pytest.raises(IntegrityError, match="changed from"):
        members.fill(rows, destinations(chosen.index, 1))


def test_a_disk_that_loses_a_page_is_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("mmearth.loaders.fetch.members_local.copy_one", refuse)
    chosen = mmearth.open(place).select("biomass")
    members = Members(chosen.dataset.root, chosen.index, chosen.dataset.hash)
    with pytest.raises(StorageError, match="the disk or the network has lost a part of it"):
        members.fill(np.arange(2), destinations(chosen.index, 2))
