"""A loopback HTTP server of a directory: answers ranges, counts what it sends, misbehaves."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

Kind = Literal["status", "truncate", "reset", "hang", "ignore_range", "flip", "shift", "encoded"]
Answer = tuple[int, bytes, dict[str, str]]
"""Status, body and headers."""
Route = Callable[[str, str, bytes], Answer]
"""(path, query, body) → what is answered."""
_STAMP = "Mon, 01 Jan 2024 00:00:00 GMT"


@dataclass
class Fault:
    """One way to misbehave."""

    kind: Kind
    """What happens: an error status, half a body, a reset connection, silence, a whole file in
    place of a range, a body whose last byte is wrong, a range that is said to begin elsewhere, or
    one that is said to be compressed."""
    match: str = ""
    """Of requests whose path has this in it."""
    times: int = -1
    """How often; -1 is for ever."""
    status: int = 503
    """Of kind `status`."""
    retry_after_s: int | str | None = None
    """Goes with the status: seconds, or a date."""
    location: str | None = None
    """Goes with the status, too."""


@dataclass
class RangeServer:
    """A running server."""

    directory: Path
    """What it serves."""
    faults: list[Fault] = field(default_factory=list)
    """How it misbehaves; the first that matches is taken."""
    latency_s: float = 0.0
    """How long it sleeps before each answer."""
    bytes_per_s: float = float("inf")
    """How fast it sends, all answers together."""
    free_at: float = 0.0
    """When it has sent what it was asked for before."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and range of each request."""
    n_bytes: int = 0
    """Bytes of the bodies that it sent."""
    url: str = ""
    """Where it listens."""
    routes: dict[str, Route] = field(default_factory=dict)
    """Beginnings of paths that are no files → who answers them."""
    guard: Callable[[str, str], int | None] | None = None
    """(path, query) of a file → the status with which it is refused; None lets it through."""
    versions: dict[str, str] = field(default_factory=dict)
    """ETags by path; the length unless given."""
    lengths: list[int] = field(default_factory=list)
    """Bytes of each body that was sent."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Of the counters."""
    closing: threading.Event = field(default_factory=threading.Event)
    """Ends the silences."""

    @property
    def n_requests(self) -> int:
        """Requests so far."""
        return len(self.asked)

    def forget(self) -> None:
        """Begin to count anew, without faults."""
        with self.lock:
            self.asked.clear()
            self.lengths.clear()
            self.faults.clear()
            self.n_bytes = 0

    def wait_to_send(self, nbytes: int) -> None:
        """Sleep until a body has gone over a line of `bytes_per_s`."""
        with self.lock:
            self.free_at = max(self.free_at, time.monotonic()) + nbytes / self.bytes_per_s
            wait = self.free_at - time.monotonic()
        time.sleep(max(wait, 0.0))

    def take_fault(self, path: str) -> Fault | None:
        """Return what goes wrong with a request, if anything."""
        with self.lock:
            for fault in self.faults:
                if fault.match in path and fault.times:
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def serving(directory: Path, bytes_per_s: float = float("inf")) -> Iterator[RangeServer]:
    """Serve a directory on a free port of 127.0.0.1 until the block ends."""
    server = RangeServer(directory, bytes_per_s=bytes_per_s)
    with _Listener(server) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.closing.set()
            http.shutdown()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, server: RangeServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ranges = server

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        ours, path = self.server.ranges, unquote(urlsplit(self.path).path)
        with ours.lock:
            ours.asked.append((path, None))
        time.sleep(ours.latency_s)
        file = ours.directory / path.lstrip("/")
        self.send_response(200 if file.is_file() or path == "/" else 404)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(file.stat().st_size if file.is_file() else 0))
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        ours, path = self.server.ranges, unquote(urlsplit(self.path).path)
        asked = self.headers.get("Range")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with ours.lock:
            ours.asked.append((path, asked))
        time.sleep(ours.latency_s)
        fault = ours.take_fault(path)
        kind = fault.kind if fault else None
        if kind == "hang":
            ours.closing.wait(30)
            self.close_connection = True
        elif kind == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
        elif fault is not None and kind == "status":
            headers = {}
            if fault.retry_after_s is not None:
                headers["Retry-After"] = str(fault.retry_after_s)
            if fault.location is not None:
                headers["Location"] = fault.location
            self._send(fault.status, b"", headers)
        elif route := next((r for p, r in ours.routes.items() if path.startswith(p)), None):
            self._send(*route(path, urlsplit(self.path).query, body))
        elif ours.guard and (status := ours.guard(path, urlsplit(self.path).query)):
            self._send(status, b"", {})
        else:
            self._serve(path, asked, kind)

    def _serve(self, path: str, asked: str | None, kind: Kind | None) -> None:
        file = self.server.ranges.directory / path.lstrip("/")
        if not file.is_file():
            self._send(404, b"", {})
            return
        size = file.stat().st_size
        begin, end = 0, size
        if asked is not None and kind != "ignore_range":
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first or 0), min(int(last) + 1 if last else size, size)
            if not first:  # the last so many bytes
                begin, end = max(size - int(last), 0), size
            if begin >= size:
                self._send(416, b"", {"Content-Range": f"bytes */{size}"})
                return
        with file.open("rb") as stream:
            stream.seek(begin)
            body = stream.read(end - begin)
        version = self.server.ranges.versions.get(path, str(size))
        headers = {"ETag": f'"{version}"', "Last-Modified": _STAMP}
        partial = asked is not None and kind != "ignore_range"
        if partial:
            said = begin + 1 if kind == "shift" else begin
            headers["Content-Range"] = f"bytes {said}-{end - 1}/{size}"
        if kind == "encoded":
            headers["Content-Encoding"] = "gzip"
        if kind == "flip":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self._send(206 if partial else 200, body, headers, cut=kind == "truncate")

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: bool = False) -> None:
        sent = body[: len(body) // 2] if cut else body
        with self.server.ranges.lock:
            self.server.ranges.n_bytes += len(sent)
            self.server.ranges.lengths.append(len(sent))
        self.server.ranges.wait_to_send(len(sent))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = self.close_connection or cut


if __name__ == "__main__":  # a directory, and how many bytes it sends a second
    with serving(Path(sys.argv[1]), float(sys.argv[2])) as running:
        sys.stdout.write(f"{running.url}\n")
        sys.stdout.flush()
        threading.Event().wait()
