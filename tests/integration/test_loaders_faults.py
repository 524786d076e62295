"""Reading over HTTP: what is asked for and sent, and what happens when things go wrong."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmearth.catalog.errors import (
    FormatError,
    IntegrityError,
    MMEarthError,
    MMEarthWarning,
    RefusedError,
    UnavailableError,
)
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.cache import Cache
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.fetch.remote import Patience, RemoteRoot
from mmearth.tests.hand_index import copy_to_read, destinations, hand_index, nbytes, tar_members
from mmearth.tests.range_server import Fault, Kind, RangeServer, serving

QUICK = Patience(attempts=3, first_wait_s=0.01, timeout_s=2)
CHOSEN = ("sentinel2", "sentinel1", "esa_worldcover")
ROWS = np.array([6, 1, 3, 4])


@pytest.fixture
def place(small_dataset: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return copy_to_read(small_dataset, tmp_path / "set", "soil_pH")


@pytest.fixture
def server(place: Path) -> Iterator[RangeServer]:
    with serving(place) as running:
        yield running


@pytest.fixture
def index(place: Path) -> Index:
    return hand_index(place, "soil_pH", CHOSEN)


@pytest.fixture
def tar(place: Path) -> dict[str, bytes]:
    return tar_members(place, "soil_pH")


def _members(
    server: RangeServer, index: Index, gap: int = 0, cache: Cache | None = None
) -> Members:
    said = json.loads((server.directory / "dataset.json").read_bytes())
    return Members(RemoteRoot(server.url, QUICK), index, said["dataset_hash"], "all", gap, cache)


def _fill(members: Members, index: Index, rows: NDArray[np.int64] = ROWS) -> list[bytes]:
    into = destinations(index, len(rows))
    members.fill(rows, into)
    return [into[name][i].tobytes() for i in range(len(rows)) for name in CHOSEN]


def _expected(tar: dict[str, bytes], index: Index) -> list[bytes]:
    """Return the members' values; zeros where one is absent."""
    return [
        tar.get(f"{key}.{name}.npy", bytes(128 + nbytes(name)))[128:]
        for key in index.keys(ROWS)
        for name in CHOSEN
    ]


def _shard_requests(server: RangeServer) -> list[str]:
    return [str(asked) for path, asked in server.asked if path.startswith("/shards/")]


def _n_chosen(tar: dict[str, bytes], index: Index) -> tuple[int, int]:
    """Return how many members the rows have, and their bytes."""
    names = [f"{key}.{name}.npy" for key in index.keys(ROWS) for name in CHOSEN]
    sizes = [len(tar[name]) for name in names if name in tar]
    return len(sizes), sum(sizes)


def test_without_a_gap_only_the_members_are_sent(
    server: RangeServer, index: Index, tar: dict[str, bytes]
) -> None:
    assert _fill(_members(server, index, gap=0), index) == _expected(tar, index)
    n_members, n_bytes = _n_chosen(tar, index)
    assert len(_shard_requests(server)) == n_members
    said = (server.directory / "dataset.json").stat().st_size
    assert server.n_bytes == n_bytes + said <= 1.05 * n_bytes
    assert server.n_requests == n_members + 1


def test_with_a_gap_neighbours_are_one_request(
    server: RangeServer, index: Index, tar: dict[str, bytes]
) -> None:
    assert _fill(_members(server, index, gap=64 << 10), index) == _expected(tar, index)
    _, n_bytes = _n_chosen(tar, index)
    # Sentinel-2 and Sentinel-1 are neighbours; WorldCover comes after four other members.
    assert len(_shard_requests(server)) == 2 * len(ROWS)
    assert server.n_bytes <= 1.05 * n_bytes


def test_with_a_large_gap_there_are_few_requests(
    server: RangeServer, index: Index, tar: dict[str, bytes]
) -> None:
    assert _fill(_members(server, index, gap=4 << 20), index) == _expected(tar, index)
    assert len(_shard_requests(server)) <= len(ROWS)


def test_the_first_batch_of_a_cold_shard_is_there_within_a_second(
    server: RangeServer, index: Index, tar: dict[str, bytes], tmp_path: Path
) -> None:
    server.latency_s = 0.02
    members = _members(server, index, 64 << 10, Cache(tmp_path / "cache", 1 << 30))
    began = time.perf_counter()
    found = _fill(members, index)
    assert time.perf_counter() - began < 1
    assert found == _expected(tar, index)


def test_requests_are_made_side_by_side(server: RangeServer, index: Index) -> None:
    server.latency_s = 0.2
    members = _members(server, index, gap=0)
    began = time.perf_counter()
    _fill(members, index)
    # dataset.json, then 12 requests, 8 at a time: 3 × 0.2 s and not 13 × 0.2 s.
    assert time.perf_counter() - began < 1.8


def test_what_is_in_the_cache_is_not_asked_for(
    server: RangeServer, index: Index, tar: dict[str, bytes], tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache", 1 << 30)
    members = _members(server, index, cache=cache)
    assert _fill(members, index) == _expected(tar, index)
    server.forget()
    for reader in (members, members, _members(server, index, cache=cache)):
        assert _fill(reader, index) == _expected(tar, index)
    assert server.n_requests == 0


@pytest.mark.parametrize("damage", ["flip", "truncate", "longer", "header", "gone"])
def test_a_damaged_entry_of_the_cache_is_fetched_again(
    server: RangeServer, index: Index, tar: dict[str, bytes], tmp_path: Path, damage: str
) -> None:
    cache = Cache(tmp_path / "cache", 1 << 30)
    _fill(_members(server, index, cache=cache), index)
    key = index.keys(ROWS)[0]
    whole = tar[f"{key}.sentinel2.npy"]
    entry = cache.get(hashlib.sha256(whole).hexdigest())
    assert entry is not None
    if damage == "gone":
        entry.unlink()
    else:
        changed = {
            "flip": whole[:999] + bytes([whole[999] ^ 1]) + whole[1000:],
            "truncate": whole[:5000],
            "longer": whole + b"more",  # as many bytes as before are right: nothing to fetch
            "header": b"?" + whole[1:],
        }
        entry.write_bytes(changed[damage])
    server.forget()
    assert _fill(_members(server, index, cache=cache), index) == _expected(tar, index)
    assert len(_shard_requests(server)) == (0 if damage == "longer" else 1)
    assert entry.read_bytes().startswith(whole)


def test_an_entry_of_the_cache_that_is_written_into_is_compared_again(
    server: RangeServer, index: Index, tar: dict[str, bytes], tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache", 1 << 30)
    members = _members(server, index, cache=cache)
    for _ in range(3):  # fetched, compared, believed
        assert _fill(members, index) == _expected(tar, index)
    whole = tar[f"{index.keys(ROWS)[0]}.sentinel2.npy"]
    entry = cache.get(hashlib.sha256(whole).hexdigest())
    assert entry is not None
    before = entry.stat()
    with entry.open("r+b") as stream:
        stream.seek(5000)
        stream.write(bytes([whole[5000] ^ 1]))
    os.utime(entry, ns=(before.st_atime_ns, before.st_mtime_ns))
    server.forget()
    assert _fill(members, index) == _expected(tar, index)
    assert len(_shard_requests(server)) == 1
    assert entry.read_bytes() == whole


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", "/shards/", 2, 503),
        Fault("status", "/shards/", 2, 429, retry_after_s=1),
        Fault("truncate", "/shards/", 2),
        Fault("reset", "/shards/", 2),
        Fault("flip", "/shards/", 1),  # of two, both may hit one member, which is refused
        Fault("hang", "/shards/", 1),
        Fault("status", "/dataset.json", 2, 503),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_what_passes_costs_only_time(
    server: RangeServer, index: Index, tar: dict[str, bytes], fault: Fault
) -> None:
    times, fault = fault.times, replace(fault)
    server.faults.append(fault)
    assert _fill(_members(server, index, gap=64 << 10), index) == _expected(tar, index)
    assert fault.times == 0
    assert server.n_requests >= 1 + 2 * len(ROWS) + times


@pytest.mark.parametrize(
    ("kind", "status", "error", "words"),
    [
        ("status", 404, FormatError, "is not there"),
        ("status", 403, RefusedError, "may not be read"),
        ("status", 503, UnavailableError, "not answered in 3 attempts: 503"),
        ("truncate", 0, UnavailableError, "not answered in 3 attempts"),
        ("ignore_range", 0, RefusedError, "ignores ranges"),
        ("flip", 0, IntegrityError, "found SHA-256 .* the manifest says"),
    ],
)
def test_what_does_not_pass_names_shard_modality_and_sample(
    server: RangeServer,
    index: Index,
    kind: Kind,
    status: int,
    error: type[MMEarthError],
    words: str,
) -> None:
    server.faults.append(Fault(kind, "/shards/", status=status))
    with pytest.raises(error, match=words) as caught:
        _fill(_members(server, index), index, np.array([5]))
    assert type(caught.value) is error
    key = index.keys(np.array([5]))[0]
    shard = index.shards[int(index.shard[5])]
    said = rf"^{server.url}/{shard}: \w+ of sample {key}: "
    assert re.search(said, str(caught.value)), caught.value


def test_a_truncated_shard_is_not_a_wrong_sample(server: RangeServer, index: Index) -> None:
    row = int(np.argmax(index.offset["esa_worldcover"] * (index.shard == index.shard[0])))
    shard = server.directory / index.shards[int(index.shard[row])]
    os.truncate(shard, int(index.offset["esa_worldcover"][row]) + 1000)
    with pytest.raises(IntegrityError, match=r"esa_worldcover of sample .* truncated"):
        _fill(_members(server, index), index, np.array([row]))


@pytest.mark.parametrize("begun", [True, False])
def test_a_dataset_rebuilt_on_the_server(server: RangeServer, index: Index, begun: bool) -> None:
    members = _members(server, index)
    if begun:
        _fill(members, index, np.array([0]))
    for shard in server.directory.rglob("*.tar"):
        data = bytearray(shard.read_bytes())
        shard.write_bytes(bytes(1024) + data)  # everything is at another place
    (server.directory / "dataset.json").write_text(json.dumps({"dataset_hash": "0" * 64}))
    with pytest.raises(IntegrityError, match=r"was rebuilt while it was read.*open it again"):
        _fill(members, index, np.array([1]))
    (server.directory / "dataset.json").unlink()
    with pytest.raises(IntegrityError, match="or is being rebuilt"):
        _fill(members, index, np.array([1]))


def test_after_an_error_the_next_batch_is_right(
    server: RangeServer, index: Index, tar: dict[str, bytes]
) -> None:
    members = _members(server, index)
    server.faults.append(Fault("status", "/shards/", times=1, status=404))
    with pytest.raises(FormatError):
        _fill(members, index)
    assert _fill(members, index) == _expected(tar, index)


@pytest.mark.filterwarnings("always::mmearth.catalog.errors.MMEarthWarning")
def test_a_cache_that_cannot_be_written_is_done_without(
    server: RangeServer, index: Index, tar: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    members = _members(server, index, cache=Cache(tmp_path / "file", 1 << 30))
    with pytest.warns(MMEarthWarning, match="keeps nothing more") as seen:
        assert _fill(members, index) == _expected(tar, index)
        assert _fill(members, index) == _expected(tar, index)
    assert len(seen) == 1


def _in_a_process(
    members: Members, index: Index, answer: multiprocessing.SimpleQueue[list[bytes]]
) -> None:
    answer.put(_fill(members, index))


def test_a_spawned_process_reads_on(
    server: RangeServer, index: Index, tar: dict[str, bytes], tmp_path: Path
) -> None:
    members = _members(server, index, cache=Cache(tmp_path / "cache", 1 << 30))
    _fill(members, index, np.array([0]))
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.SimpleQueue[list[bytes]] = context.SimpleQueue()
    process = context.Process(target=_in_a_process, args=(members, index, answer))
    process.start()
    assert answer.get() == _expected(tar, index)
    process.join(20)


_READER = """
import json, sys
from pathlib import Path
import numpy as np
from mmearth.loaders.fetch.cache import Cache
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.fetch.remote import RemoteRoot
from mmearth.tests.hand_index import destinations, hand_index
root, url, cache = Path(sys.argv[1]), sys.argv[2], Cache(Path(sys.argv[3]), 1 << 30)
index = hand_index(root, "soil_pH", ("sentinel2", "sentinel1", "esa_worldcover"))
said = json.loads((root / "dataset.json").read_bytes())["dataset_hash"]
members = Members(RemoteRoot(url), index, said, 'all', 0, cache)
print("ready", flush=True)
for row in range(len(index)):
    members.fill(np.array([row]), destinations(index, 1))
print("read", flush=True)
"""


def test_readers_killed_at_any_time_leave_a_right_cache(
    server: RangeServer, index: Index, tar: dict[str, bytes], tmp_path: Path
) -> None:
    arguments = [sys.executable, "-c", _READER, str(server.directory), server.url]
    for delay_s in (0.05, 0.2, 0.5):
        reader = subprocess.Popen([*arguments, str(tmp_path / "cache")], stdout=subprocess.PIPE)
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"ready\n"
        time.sleep(delay_s)
        reader.send_signal(signal.SIGKILL)
        reader.communicate()
    entries = [path for path in (tmp_path / "cache").rglob("*") if len(path.name) == 64]
    assert entries
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in entries)
    cache = Cache(tmp_path / "cache", 1 << 30)
    assert _fill(_members(server, index, cache=cache), index) == _expected(tar, index)
