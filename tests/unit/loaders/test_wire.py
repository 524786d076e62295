"""What goes over one connection: the request's text, and answers of every form and of none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from mmearth.catalog.errors import RefusedError
from mmearth.loaders.fetch.http import Http, NotAnsweredError

RANGE = b"Content-Range: bytes 2-5/26\r\n"
WHOLE = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\n" + RANGE + b"\r\ncdef"


class Server:
    """Answers the n-th request, on whatever connection, with the n-th bytes; ends where told."""

    def __init__(self, answers: Sequence[bytes], ends: bool) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.asked: list[bytes] = []
        self.n_connections = 0
        self._answers, self._ends = iter(answers), ends
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.n_connections += 1
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            came = b""
            while data := connection.recv(4096):
                came += data
                if came.endswith(b"\r\n\r\n"):
                    self.asked.append(came)
                    came = b""
                    connection.sendall(next(self._answers))
                    if self._ends:
                        return


@contextmanager
def answering(*answers: bytes, ends: bool = False) -> Iterator[Server]:
    server = Server(answers, ends)
    yield server
    server.listening.close()


def get(server: Server, name: str = "a b", timeout_s: float = 2.0) -> tuple[bytes, int]:
    data, size = Http(f"{server.url}/set", timeout_s, 4).get(name, 2, 6)
    return bytes(data), size


def test_what_is_asked() -> None:
    with answering(WHOLE) as server:
        assert get(server) == (b"cdef", 26)
    host = server.url.removeprefix("http://").encode()
    lines = server.asked[0].split(b"\r\n")
    assert lines[0] == b"GET /set/a%20b HTTP/1.1"
    assert {b"Host: " + host, b"Range: bytes=2-5", b"Accept-Encoding: identity"} <= set(lines)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + WHOLE,
        WHOLE.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked").replace(
            b"cdef", b"1\r\nc\r\n3;x=y\r\ndef\r\n0\r\n\r\n"
        ),
        WHOLE.replace(b"Content-Length: 4\r\n", b""),  # until the connection ends
        WHOLE.replace(b"HTTP/1.1 206 Partial Content", b"HTTP/1.0 206"),
        WHOLE.replace(b"\r\n", b"\n"),
        WHOLE.replace(b"Content-", b"CONTENT-").replace(b": ", b":"),
        WHOLE.replace(b"Length: 4", b"Length: 9") + b"ghijk",  # more than was asked for
    ],
)
def test_answers_of_every_form(answer: bytes) -> None:
    with answering(answer, ends=True) as server:
        assert get(server) == (b"cdef", 26)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 206\r\n\r\n",
        b"HTTP/1.1 2060\r\n\r\n",
        WHOLE[:-1],
        WHOLE[:40],
        WHOLE.replace(b"Length: 4", b"Length: 3"),
        WHOLE.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked"),
        WHOLE.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked")[:-4] + b"0\r\n\r\n",
        b"HTTP/1.1 206\r\n" + b"A: b\r\n" * 20_000,
        b"HTTP/1.1 206\r\nA: " + b"b" * 100_000,
    ],
)
def test_what_is_no_answer(answer: bytes) -> None:
    with answering(answer, ends=True) as server, pytest.raises(NotAnsweredError):
        get(server)


def test_one_connection_is_used_again_until_something_is_left_on_it() -> None:
    more = WHOLE.replace(b"Length: 4", b"Length: 5") + b"g"
    closing = WHOLE.replace(b"Content-Length", b"Connection: close\r\nContent-Length")
    with answering(WHOLE, WHOLE, more, WHOLE, closing, WHOLE) as server:
        http = Http(server.url, 2.0, 4)
        seen = []
        for _ in range(6):
            assert http.get("a", 2, 6) == (b"cdef", 26)
            seen.append(server.n_connections)
    assert seen == [1, 1, 1, 2, 2, 3]


def test_a_connection_that_the_server_ended_is_replaced() -> None:
    with answering(WHOLE, WHOLE, ends=True) as server:
        http = Http(server.url, 2.0, 4)
        assert http.get("a", 2, 6) == (b"cdef", 26)
        time.sleep(0.1)
        assert http.get("a", 2, 6) == (b"cdef", 26)
    assert server.n_connections == 2


def test_a_server_writes_no_request_of_ours() -> None:
    moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n"
    with answering(moved % b"/x y\xe9?q=a b\tHTTP/1.1", WHOLE) as server:
        assert get(server) == (b"cdef", 26)
    line = server.asked[1].split(b"\r\n")[0]
    assert line == b"GET /x%20y%C3%A9?q=a%20bHTTP/1.1 HTTP/1.1"
    with answering(moved % b"http://a b/", WHOLE) as server:
        with pytest.raises((RefusedError, NotAnsweredError)):
            get(server)
        assert len(server.asked) == 1


def test_the_whole_answer_has_one_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    for byte in WHOLE * 100:
                        connection.sendall(bytes([byte]))
                        time.sleep(0.05)
                except OSError:
                    return

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(NotAnsweredError, match=r"took too long|timed out"):
            Http(f"http://127.0.0.1:{listening.getsockname()[1]}", 0.4, 4).get("a", 2, 6)
        assert time.monotonic() - began < 1.5


def test_by_way_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with answering(WHOLE, refused, ends=True) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("://", "://me:s%40y@"))
        monkeypatch.setenv("https_proxy", proxy.url.removeprefix("http://"))
        monkeypatch.setenv("no_proxy", "")
        assert Http("http://data.example/set", 2.0, 4).get("a", 2, 6) == (b"cdef", 26)
        with pytest.raises(NotAnsweredError, match="403"):
            Http("https://data.example/set", 2.0, 4).get("a", 2, 6)
    first, second = (asked.split(b"\r\n") for asked in proxy.asked)
    assert first[:2] == [b"GET http://data.example/set/a HTTP/1.1", b"Host: data.example"]
    assert b"Proxy-Authorization: Basic bWU6c0B5" in first
    assert second[0].startswith(b"CONNECT data.example:443 ")
