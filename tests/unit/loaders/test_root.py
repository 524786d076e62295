"""Where a dataset lies: files and ranges, from a directory and over the loopback."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmearth.catalog import checksums
from mmearth.catalog.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    MMEarthError,
    RefusedError,
    UnavailableError,
)
from mmearth.loaders.fetch.remote import PIECE_BYTES, Patience, RemoteRoot
from mmearth.loaders.fetch.root import DATASET, LocalRoot, Root, open_root
from mmearth.tests.range_server import Fault, Kind, RangeServer, serving

QUICK = Patience(attempts=4, first_wait_s=0.01, timeout_s=1)
LETTERS = b"abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    (tmp_path / "set" / "shards").mkdir(parents=True)
    (tmp_path / "set" / "shards" / "a b.tar").write_bytes(LETTERS)
    with serving(tmp_path) as running:
        yield running


def _remote(server: RangeServer) -> RemoteRoot:
    return RemoteRoot(f"{server.url}/set", QUICK)


def test_both_kinds_give_the_same_bytes(server: RangeServer, tmp_path: Path) -> None:
    roots: list[Root] = [open_root(tmp_path / "set"), _remote(server)]
    for root in roots:
        assert root.read("shards/a b.tar") == LETTERS
        assert root.read_range("shards/a b.tar", 2, 5) == b"cde"
        assert root.read_range("shards/a b.tar", 25, 26) == b"z"
        with pytest.raises(IntegrityError, match=r"a b\.tar.*truncated"):
            root.read_range("shards/a b.tar", 20, 27)
        with pytest.raises(FormatError, match=r"gone\.tar is not there"):
            root.read("shards/gone.tar")
        with pytest.raises(FormatError, match="no file of a dataset"):
            root.read("../secret")
    assert roots[0].path("x/y") == tmp_path / "set" / "x" / "y"
    assert roots[1].path("x/y") is None


def test_a_range_far_beyond_the_end_is_a_truncated_file(server: RangeServer) -> None:
    with pytest.raises(IntegrityError, match="truncated"):
        _remote(server).read_range("shards/a b.tar", 100, 120)
    assert server.n_requests == 1


def test_there_is_one_name_for_what_makes_a_dataset_complete() -> None:
    assert checksums.DATASET == DATASET


def test_what_is_no_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a directory"):
        open_root(tmp_path / "nowhere").read("dataset.json")
    with pytest.raises(ConfigError, match="begins with ftp://"):
        open_root("ftp://somewhere/data")
    with pytest.raises(ConfigError, match="names no host"):
        open_root("s3://")
    for url in ("https://me:secret@host/data", "https://host/data?sig=secret"):
        with pytest.raises(ConfigError, match="credentials come from the environment") as caught:
            open_root(url)
        assert "secret" not in str(caught.value)


def test_a_file_url_is_a_directory(server: RangeServer, tmp_path: Path) -> None:
    root = open_root(f"file://{tmp_path}/set")
    assert isinstance(root, LocalRoot)
    assert root.read("shards/a b.tar") == LETTERS


@pytest.mark.parametrize(
    ("kind", "status"),
    [("status", 503), ("status", 500), ("status", 429), ("truncate", 0), ("reset", 0), ("hang", 0)],
)
def test_what_passes_is_asked_again(server: RangeServer, kind: Kind, status: int) -> None:
    server.faults.append(Fault(kind, times=2, status=status, retry_after_s=1))
    assert _remote(server).read_range("shards/a b.tar", 0, 26) == LETTERS
    assert server.n_requests == 3


@pytest.mark.parametrize("kind", ["status", "hang"])
def test_what_does_not_pass_is_given_up(server: RangeServer, kind: Kind) -> None:
    server.faults.append(Fault(kind))
    with pytest.raises(UnavailableError, match=r"a b\.tar was not answered in 4 attempts"):
        _remote(server).read_range("shards/a b.tar", 0, 26)
    assert server.n_requests == 4


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault("status", status=404), FormatError, "is not there"),
        (Fault("status", status=410), FormatError, "HTTP status 410"),
        (Fault("status", status=401), RefusedError, "may not be read"),
        (Fault("status", status=403), RefusedError, "may not be read"),
        (Fault("ignore_range"), RefusedError, "the server ignores ranges"),
    ],
)
def test_what_will_not_pass_is_asked_once(
    server: RangeServer, fault: Fault, error: type[MMEarthError], words: str
) -> None:
    server.faults.append(fault)
    with pytest.raises(error, match=words) as caught:
        _remote(server).read_range("shards/a b.tar", 0, 3)
    assert type(caught.value) is error
    assert server.n_requests == 1


def test_nobody_listens() -> None:
    root = RemoteRoot("http://127.0.0.1:9", QUICK)
    with pytest.raises(UnavailableError, match="try again later"):
        root.read("dataset.json")


def test_a_large_file_comes_in_pieces(server: RangeServer, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(PIECE_BYTES + 1000)
    (tmp_path / "set" / "large").write_bytes(data)
    assert _remote(server).read("large") == data
    assert [asked for _, asked in server.asked] == [
        f"bytes=0-{PIECE_BYTES - 1}",
        f"bytes={PIECE_BYTES}-{PIECE_BYTES + 999}",
    ]


def test_a_pickled_root_reads_on(server: RangeServer) -> None:
    root = _remote(server)
    root.read("shards/a b.tar")
    again = pickle.loads(pickle.dumps(root))
    assert again.url == root.url
    assert again.patience == QUICK
    assert again.read("shards/a b.tar") == LETTERS


def test_s3_with_the_environments_settings(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", server.url)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "two")
    assert RemoteRoot("s3://set/shards/", QUICK).read_range("a b.tar", 1, 3) == b"bc"
    assert server.asked == [("/set/shards/a b.tar", "bytes=1-2")]


def test_google_storage_with_the_environments_settings(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_BASE_URL", server.url)
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    assert RemoteRoot("gs://set/shards", QUICK).read("a b.tar") == LETTERS


def _in_a_fork(root: RemoteRoot, answer: multiprocessing.SimpleQueue[str]) -> None:
    try:
        root.read("shards/a b.tar")
        answer.put("read")
    except ConfigError as exc:
        answer.put(str(exc))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_says_so_and_does_not_hang(server: RangeServer) -> None:
    root = _remote(server)
    root.read("shards/a b.tar")
    context = multiprocessing.get_context("fork")
    answer: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    process = context.Process(target=_in_a_fork, args=(root, answer))
    process.start()
    process.join(20)
    alive = process.is_alive()
    process.kill()
    assert not alive
    assert "`spawn` or `forkserver`" in answer.get()


@pytest.mark.parametrize("url", ["http://[::1", "https://h:port/x", "http://h:99999/x"])
def test_what_only_looks_like_a_url(url: str) -> None:
    with pytest.raises(ConfigError, match="is no URL"):
        open_root(url)
