"""The cache: bounded, verified, shared by processes, and in nobody's way when the disk is full."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmearth.catalog.errors import FormatError, IntegrityError, MMEarthWarning, StorageError
from mmearth.loaders.fetch.cache import Cache, default_directory, fetched
from mmearth.loaders.fetch.evict import make_room
from mmearth.loaders.fetch.remote import Patience, RemoteRoot
from mmearth.loaders.fetch.root import LocalRoot
from mmearth.tests.range_server import Fault, RangeServer, serving

QUICK = Patience(attempts=3, first_wait_s=0.01, timeout_s=2)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _filled(cache: Cache, *items: bytes) -> None:
    """Put items, each used a second after the one before, long ago."""
    for i, data in enumerate(items):
        cache.put(_sha(data), data)
        path = cache.get(_sha(data))
        assert path is not None
        os.utime(path, (1e9 + i, 1e9 + i))


def _kept(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_what_is_put_is_found_by_its_hash(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000)
    assert cache.get(_sha(b"one")) is None
    cache.put(_sha(b"one"), b"one")
    cache.put(_sha(b"two"), memoryview(b"two"))
    for again in (cache, Cache(tmp_path / "cache", 1000), pickle.loads(pickle.dumps(cache))):
        path = again.get(_sha(b"one"))
        assert path is not None
        assert path.read_bytes() == b"one"
    cache.drop(_sha(b"one"))
    assert cache.get(_sha(b"one")) is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    a, b, c, d = (bytes([i]) * 300 for i in range(4))
    cache = Cache(tmp_path, 1000)
    _filled(cache, a, b, c)
    cache.get(_sha(a))
    cache.put(_sha(d), d)  # 1,200 bytes: b and c go, so that at most 750 are left
    assert [data[0] for data in (a, b, c, d) if cache.get(_sha(data))] == [0, 3]


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    _filled(cache, b"a" * 300)
    cache.put(_sha(b"b" * 1001), b"b" * 1001)
    assert [path.stat().st_size for path in _kept(tmp_path)] == [300]


def test_what_is_no_file_is_no_entry(tmp_path: Path) -> None:
    data = b"a" * 100
    path = tmp_path / _sha(data)[:2] / _sha(data)
    for make in (Path.mkdir, os.mkfifo):
        cache = Cache(tmp_path, 1000)
        path.parent.mkdir(exist_ok=True)
        make(path)
        assert cache.get(_sha(data)) is None and cache.hold(_sha(data)) is None
        path.rmdir() if path.is_dir() else path.unlink()
        cache.put(_sha(data), data)
        assert cache.get(_sha(data)) == path
        path.unlink()


def test_a_hash_that_is_a_path_is_none(server: RangeServer, tmp_path: Path) -> None:
    """Else a server could name a file of this machine as a damaged entry, which is deleted."""
    (tmp_path / "mine").write_bytes(b"x")
    cache = Cache(tmp_path / "cache" / "a")
    for digest in ("../../../mine", str(tmp_path / "mine"), "", "a" * 63, "A" * 64):
        with pytest.raises(FormatError, match=r"expected the SHA-256 of dataset\.json"):
            fetched(RemoteRoot(server.url), "dataset.json", digest, cache)
    assert (tmp_path / "mine").read_bytes() == b"x"
    assert server.n_requests == 0


def test_an_evicted_file_can_still_be_read_by_who_has_it_open(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    _filled(cache, b"a" * 600)
    path = cache.get(_sha(b"a" * 600))
    assert path is not None
    with path.open("rb") as stream:
        os.utime(path, (1e9, 1e9))
        cache.put(_sha(b"b" * 600), b"b" * 600)
        assert not path.exists()
        assert stream.read() == b"a" * 600


def test_a_held_file_stays_while_its_process_lives(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mmearth.loaders.fetch.cache import Cache\n"
        "print(Cache(Path(sys.argv[1]), 1000).hold(sys.argv[2]), flush=True); sys.stdin.read()"
    )
    cache = Cache(tmp_path, 1000)
    a, b, c = (bytes([i]) * 600 for i in range(3))
    _filled(cache, a)
    holder = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path, _sha(a)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert _sha(a) in holder.stdout.readline().decode()
    os.utime(tmp_path / _sha(a)[:2] / _sha(a), (1e9, 1e9))
    _filled(cache, b)
    assert [bool(cache.get(_sha(data))) for data in (a, b)] == [True, True]
    holder.communicate()
    os.utime(tmp_path / _sha(a)[:2] / _sha(a), (1e9, 1e9))
    cache.put(_sha(c), c)
    assert [bool(cache.get(_sha(data))) for data in (a, c)] == [False, True]


_WRITER = """
import hashlib, sys
from pathlib import Path
from mmearth.loaders.fetch.cache import Cache
cache, n = Cache(Path(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3])
print("ready", flush=True)
for i in range(n):
    data = bytes([i % 251, int(sys.argv[4]) % 251]) * 50_000
    sha = hashlib.sha256(data).hexdigest()
    cache.put(sha, data)
    path = cache.get(sha)
    try:
        found = None if path is None else path.read_bytes()
    except FileNotFoundError:
        found = None
    assert found in (None, data), "a wrong entry"
"""


def _writer(directory: Path, limit: int, n: int, seed: int) -> subprocess.Popen[bytes]:
    arguments = [str(directory), str(limit), str(n), str(seed)]
    return subprocess.Popen([sys.executable, "-c", _WRITER, *arguments], stdout=subprocess.PIPE)


def test_processes_fill_one_cache_within_its_limit(tmp_path: Path) -> None:
    limit = 2_000_000
    writers = [_writer(tmp_path, limit, 120, seed) for seed in range(3)]
    largest = 0
    while any(writer.poll() is None for writer in writers):
        sizes = []
        for path in _kept(tmp_path):
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        largest = max(largest, sum(sizes))
        time.sleep(0.01)
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    # Three processes that see room at once may each add an entry of 100 kB.
    assert 500_000 < largest <= limit + 300_000


def test_a_killed_writer_leaves_no_wrong_entry(tmp_path: Path) -> None:
    for delay_s in (0.01, 0.05, 0.2):
        writer = _writer(tmp_path, 1 << 30, 100_000, int(delay_s * 1000))
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    entries = [path for path in _kept(tmp_path) if not path.name.endswith(".tmp")]
    assert entries
    assert all(_sha(path.read_bytes()) == path.name for path in entries)


def test_what_a_killed_writer_left_is_removed_later(tmp_path: Path) -> None:
    old, new = tmp_path / "ab" / ".one.tmp", tmp_path / "ab" / ".two.tmp"
    old.parent.mkdir()
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (1e9, 1e9))
    Cache(tmp_path, 1000).put(_sha(b"one"), b"one")
    assert [old.exists(), new.exists()] == [False, True]


def test_a_full_disk_is_warned_of_once() -> None:
    code = """
import hashlib, resource, sys, tempfile, warnings
from pathlib import Path
from mmearth.loaders.fetch.cache import Cache
with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    cache = Cache(Path(directory), 10**9)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    for i in range(3):
        data = bytes([i]) * 2000
        cache.put(hashlib.sha256(data).hexdigest(), data)
        assert cache.get(hashlib.sha256(data).hexdigest()) is None
    assert not [p for p in Path(directory).rglob("*") if p.is_file()]
    for warning in seen:
        print(warning.category.__name__, warning.message)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = ended.stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("MMEarthWarning the cache in ")
    assert "no space is left" in lines[0]


def test_a_directory_that_cannot_be_made_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Cache(tmp_path / "file", 1000)
    with pytest.warns(MMEarthWarning, match="keeps nothing more"):
        cache.put(_sha(b"one"), b"one")
    assert cache.get(_sha(b"one")) is None


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MMEARTH_CACHE", raising=False)
    assert default_directory() == Path("/home/me/.cache/mmearth")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert default_directory() == Path("/fast/mmearth")
    monkeypatch.setenv("MMEARTH_CACHE", "~/here")
    assert default_directory() == Path("/home/me/here")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.json").write_bytes(b"content")
    with serving(tmp_path / "set") as running:
        yield running


def test_a_remote_file_is_fetched_once(server: RangeServer, tmp_path: Path) -> None:
    root, cache = RemoteRoot(server.url, QUICK), Cache(tmp_path / "cache", 1000)
    for _ in range(2):
        path = fetched(root, "a.json", _sha(b"content"), cache)
        assert path.read_bytes() == b"content"
    assert server.n_requests == 1
    path.write_bytes(b"Content")  # a flipped bit
    assert fetched(root, "a.json", _sha(b"content"), cache).read_bytes() == b"content"
    path.write_bytes(b"con")
    assert fetched(root, "a.json", _sha(b"content"), cache).read_bytes() == b"content"
    assert server.n_requests == 3


def test_a_remote_file_damaged_on_the_way_is_asked_for_again(
    server: RangeServer, tmp_path: Path
) -> None:
    root, cache = RemoteRoot(server.url, QUICK), Cache(tmp_path / "cache", 1000)
    server.faults.append(Fault("flip", times=1))
    assert fetched(root, "a.json", _sha(b"content"), cache).read_bytes() == b"content"
    with pytest.raises(IntegrityError, match=r"a\.json: found SHA-256 .* expected"):
        fetched(root, "a.json", _sha(b"other"), cache)
    assert server.n_requests == 4


def test_a_remote_file_that_finds_no_room(server: RangeServer, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"limit 3 bytes.*MMEARTH_CACHE"):
        fetched(RemoteRoot(server.url, QUICK), "a.json", _sha(b"content"), Cache(tmp_path / "c", 3))


@pytest.mark.filterwarnings("ignore::mmearth.catalog.errors.MMEarthWarning")
def test_a_damaged_entry_of_somebody_else_is_not_believed(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = RemoteRoot(server.url, QUICK), Cache(tmp_path / "cache", 1000)
    fetched(root, "a.json", _sha(b"content"), cache).write_bytes(b"Content")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match=r"a\.json has 7 bytes.*MMEARTH_CACHE"):
        fetched(root, "a.json", _sha(b"content"), cache)


def test_an_entry_that_may_not_be_read_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, 1000)
    _filled(cache, b"one")

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        assert cache.hold(_sha(b"one")) is None
        make_room(tmp_path, 10, 10, 10)
    monkeypatch.setattr(Path, "stat", refuse)
    assert cache.get(_sha(b"one")) is None
    monkeypatch.undo()
    assert cache.get(_sha(b"one")) is not None


def test_a_local_file_stays_where_it_is(server: RangeServer, tmp_path: Path) -> None:
    root, cache = LocalRoot(tmp_path / "set"), Cache(tmp_path / "cache", 1000)
    assert fetched(root, "a.json", _sha(b"content"), cache) == tmp_path / "set" / "a.json"
    with pytest.raises(IntegrityError, match="expected"):
        fetched(root, "a.json", _sha(b"other"), cache)
    with pytest.raises(FormatError, match="is not there"):
        fetched(root, "b.json", _sha(b"other"), cache)
    assert not (tmp_path / "cache").exists()
