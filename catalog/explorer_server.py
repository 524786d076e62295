"""A server of one directory to this machine alone: answers byte ranges, which Python's does not."""

from __future__ import annotations

import mimetypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mmearth.catalog.errors import FormatError, StorageError
from mmearth.catalog.files import open_regular

_HOSTS = {"127.0.0.1", "localhost"}
_TYPES = {".js": "text/javascript", ".parquet": "application/vnd.apache.parquet"}
_BLOCK = 1 << 20  # bytes that are sent at once


@contextmanager
def listening(root: Path, page: dict[str, bytes], port: int) -> Iterator[ThreadingHTTPServer]:
    """Listen on 127.0.0.1; the caller serves, with `serve_forever`.

    Args:
        root: A dataset's directory; its files are at `/`.
        page: Files by name, at `/explorer/`, in place of those of the dataset.
        port: To listen on; 0 is any free one.

    Raises:
        StorageError: The port is taken, or not this user's to take.
    """
    try:
        server = _Server(root, page, port)
    except OSError as exc:
        raise StorageError(
            f"cannot listen on 127.0.0.1:{port} ({exc.strerror}); choose another --port"
        ) from exc
    with server:
        yield server


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path, page: dict[str, bytes], port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.root, self.page = root, page

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that went away; of anything else, as always."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, with_body: bool) -> None:
        # A page of another host, to whose name this address was given, is not answered.
        if self.headers.get("Host", "").rpartition(":")[0] not in _HOSTS:
            self._send(421, 0, {})
            return
        path = unquote(urlsplit(self.path).path)
        if path == "/":
            self._send(302, 0, {"Location": "/explorer/"})
            return
        name = path.removeprefix("/explorer/") or "index.html"
        if path.startswith("/explorer/") and name in self.server.page:
            content = self.server.page[name]
            self._send(200, len(content), {"Content-Type": _kind(name)})
            if with_body:
                self.wfile.write(content)
        else:
            self._file(path, with_body)

    def _file(self, path: str, with_body: bool) -> None:
        root = self.server.root
        if "\0" in path or ".." in path.split("/"):
            self._send(404, 0, {})
            return
        try:
            stream = open_regular(root / path.lstrip("/"), root)
        except (OSError, FormatError, StorageError):
            self._send(404, 0, {})
            return
        with stream:
            size = stream.seek(0, 2)
            begin, end = _span(self.headers.get("Range"), size)
            if begin >= end and size:
                self._send(416, 0, {"Content-Range": f"bytes */{size}"})
                return
            partial = self.headers.get("Range") is not None
            headers = {"Content-Type": _kind(path), "Accept-Ranges": "bytes"}
            if partial:
                headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
            self._send(206 if partial else 200, end - begin, headers)
            stream.seek(begin)
            while with_body and begin < end and (block := stream.read(min(_BLOCK, end - begin))):
                self.wfile.write(block)
                begin += len(block)

    def _send(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()


def _kind(name: str) -> str:
    suffix = Path(name).suffix
    return _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _span(asked: str | None, size: int) -> tuple[int, int]:
    """Return the first byte and the one behind the last; an empty span where there is none."""
    if asked is None:
        return 0, size
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.strip())
    if found is None or found.group(0) == "bytes=-":
        return size, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1, size) if last else size
