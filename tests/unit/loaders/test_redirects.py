"""Whom a server may send us on to: itself, whom the user named, what its service uses."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.errors import ConfigError, RefusedError, UnavailableError
from mmearth.loaders.fetch.http import REDIRECTS, allowed
from mmearth.loaders.fetch.remote import Patience, RemoteRoot
from mmearth.tests.range_server import Fault, Kind, RangeServer, serving

QUICK = Patience(attempts=2, first_wait_s=0.01, timeout_s=2.0)
LETTERS = b"abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RangeServer, RangeServer]]:
    """A dataset's server and another one."""
    (tmp_path / "a").write_bytes(LETTERS)
    with serving(tmp_path) as one, serving(tmp_path) as other:
        yield one, other


def test_another_host_is_not_asked_unless_the_user_named_it(
    servers: tuple[RangeServer, RangeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = servers
    root = RemoteRoot(one.url, QUICK)
    for status in (301, 302, 303, 307, 308):
        one.forget()
        one.faults.append(Fault("status", status=status, location=f"{other.url}/a", times=1))
        with pytest.raises(RefusedError, match=f"another host; if that is right, set {REDIRECTS}="):
            root.read_range("a", 0, 3)
        assert (one.n_requests, other.n_requests) == (1, 0)
    monkeypatch.setenv(REDIRECTS, "cdn.example.org, 127.0.0.1")
    one.faults.append(Fault("status", status=302, location=f"{other.url}/a", times=1))
    assert root.read_range("a", 2, 5) == b"cde"
    assert other.asked == [("/a", "bytes=2-4")]


def test_the_same_server_may_send_us_on(servers: tuple[RangeServer, RangeServer]) -> None:
    one, _ = servers
    root = RemoteRoot(one.url, QUICK)
    for location in ("/a", "a", f"{one.url}/a", f"{one.url}/a?signed=1#part"):
        one.faults.append(Fault("status", "/old", status=302, location=location, times=1))
        assert root.read_range("old", 0, 3) == b"abc"
    one.faults.append(Fault("status", "/old", status=302, location="/old"))
    with pytest.raises(RefusedError, match="without end"):
        root.read_range("old", 0, 3)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:6379/",
        "http://localhost/a",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/a",
        "http://[::ffff:127.0.0.1]/",
        "http://10.0.0.1/a",
        "http://192.168.1.1/a",
        "http://2130706433/a",
        "http://0x7f.1/a",
        "http://metadata.google.internal/a",
        "https://evil.example/a",
        "//evil.example/a",
        "https://data.example.org.evil.example/a",
        "https://data.example.org@evil.example/a",
        "https://me:secret@data.example.org/a",
        "https://data.example.org:8443/a",
        "http://data.example.org/a",
        "ftp://data.example.org/a",
        "file:///etc/passwd",
        "gopher://data.example.org/",
        "data:text/plain,a",
        "https://[::1/a",
        "https://data.example.org:port/a",
    ],
)
def test_where_nobody_is_sent(location: str) -> None:
    root = "https://data.example.org/set"
    with pytest.raises(RefusedError, match="the server sends us on to"):
        allowed(root, f"{root}/a", location)


@pytest.mark.parametrize(
    ("asked", "location", "to"),
    [
        ("https://a.org/x/y", "z", "https://a.org/x/z"),
        ("https://a.org/x", "https://A.org:443/z", "https://A.org:443/z"),
        ("http://a.org/x", "https://a.org/x", "https://a.org/x"),
        ("http://a.org:8080/x", "/z?a=b", "http://a.org:8080/z?a=b"),
    ],
)
def test_where_one_is_sent(asked: str, location: str, to: str) -> None:
    assert allowed("https://a.org", asked, location) == to


def test_hosts_that_the_user_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REDIRECTS, "cdn.example.org,*.my.net")
    root = "https://a.org"
    for host in ("cdn.example.org", "x.my.net", "x.y.my.net"):
        assert allowed(root, root, f"https://{host}/a") == f"https://{host}/a"
    for host in ("example.org", "xcdn.example.org", "my.net", "evilmy.net", "x.my.net.evil"):
        with pytest.raises(RefusedError, match="another host"):
            allowed(root, root, f"https://{host}/a")
    with pytest.raises(RefusedError, match="expected https"):
        allowed(root, root, "http://cdn.example.org/a")


def test_hugging_face_keeps_its_files_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = {"cdn-lfs.hf.co": "8.8.8.8", "rebound.hf.co": "192.168.0.1", "six.hf.co": "fd00::1"}

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (addresses[host], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    root = "https://huggingface.co/datasets/me/set/resolve/main"
    to = "https://cdn-lfs.hf.co/repos/a?X-Amz-Signature=b"
    assert allowed(root, f"{root}/a", to) == to
    for host in ("rebound.hf.co", "six.hf.co"):
        with pytest.raises(RefusedError, match="in a private network"):
            allowed(root, f"{root}/a", f"https://{host}/a")
    for host in ("hf.co.evil.org", "evilhf.co", "s3.amazonaws.com"):
        with pytest.raises(RefusedError, match="another host"):
            allowed(root, f"{root}/a", f"https://{host}/a")
    with pytest.raises(RefusedError, match="another host"):
        allowed("https://a.org", "https://a.org/a", to)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("encoded", "sends ranges as gzip, and not the bytes of the file"),
        ("shift", "the range 'bytes 3-4/26' where one from byte 2 was asked for"),
        ("ignore_range", "the server ignores ranges"),
    ],
)
def test_an_answer_that_is_no_range(
    servers: tuple[RangeServer, RangeServer], kind: Kind, said: str
) -> None:
    servers[0].faults.append(Fault(kind))
    with pytest.raises(RefusedError, match=said) as raised:
        RemoteRoot(servers[0].url, QUICK).read_range("a", 2, 5)
    assert f"{servers[0].url}/a" in str(raised.value)
    assert servers[0].n_requests == 1


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 206 OK\r\nX: ", b"HTTP/1.1 206 OK\r\nContent-Length: 9\r\n%b\r\n\r\n"]
)
def test_a_server_that_sends_a_byte_now_and_then(answer: bytes) -> None:
    head = answer.replace(b"%b", b"Content-Range: bytes 0-8/9")

    def drip(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), connection:
                    connection.recv(4096)
                    connection.sendall(head)
                    while True:
                        connection.sendall(b"x")
                        time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(UnavailableError, match="was not answered in 2 attempts"):
            RemoteRoot(url, Patience(2, 0.01, 0.3)).read_range("a", 0, 9)
        assert time.monotonic() - begin < 5


def test_an_s3_store_without_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "one"),
        ("AWS_SECRET_ACCESS_KEY", "two"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
    with pytest.raises(ConfigError, match="needs AWS_ALLOW_HTTP=true"):
        RemoteRoot("s3://bucket/set", QUICK).read("dataset.json")
