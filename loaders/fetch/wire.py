"""One connection to an HTTP/1.1 server: a GET, the head of its answer and as much as is wanted.

`http.client` opens it, through a proxy too. What is asked and answered is a few lines of text, for
which its own classes and other libraries take several times as long.
"""

from __future__ import annotations

import base64
import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

PORTS = {"http": 80, "https": 443}
_HEAD_BYTES = 1 << 16  # of a status and its headers; of a line of a chunked body likewise
_RECEIVED = 1 << 16  # bytes that are asked of the system for a head
_KEPT = "!$%&'()*+,;=:@~/-._"
"""Characters of a path that stay as they are. Source: RFC 3986 §3.3; % is of what is quoted."""


class BrokenAnswerError(OSError):
    """What came is no answer of HTTP, or not all of it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer says before its body."""

    status: int
    """Its number."""
    headers: Mapping[str, str]
    """By name, in small letters."""


class Wire:
    """One connection; its caller closes it, unless it `is_free`."""

    def __init__(self, url: SplitResult, context: ssl.SSLContext, timeout_s: float) -> None:
        """Connect to a URL's server.

        Args:
            url: Its scheme is http or https.
            context: Of what is encrypted.
            timeout_s: Of the connecting.

        Raises:
            OSError, HTTPException, ValueError: There is no connection, or no such host.
        """
        proxy = _proxy_of(url)
        # A proxy that only leads to an encrypted server is spoken to by `http.client` alone.
        is_asked = proxy is not None and url.scheme == "http"
        self._place = f"{url.scheme}://{_authority(url)}" if is_asked else ""
        headers = {} if proxy is None else _authorization(proxy)
        self._more = "".join(f"{k}: {v}\r\n" for k, v in headers.items() if is_asked)
        at = url if proxy is None else proxy
        host, port = at.hostname or "", at.port or PORTS.get(at.scheme, 80)
        connection: HTTPConnection
        if url.scheme == "https":
            connection = HTTPSConnection(host, port, timeout=timeout_s, context=context)
            if proxy is not None:
                connection.set_tunnel(url.hostname or "", url.port or PORTS["https"], headers)
        else:
            connection = HTTPConnection(host, port, timeout=timeout_s)
        connection.connect()
        self._socket: socket.socket = connection.sock
        self._rest = b""  # what came behind a head
        self.is_free = False
        """Whether all of the last answer was read, and another may be asked for."""

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def is_dropped(self) -> bool:
        """Say whether the server ended a connection that was free, or says something unasked."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def ask(self, url: SplitResult, headers: str, deadline: float) -> Head:
        """Ask for a URL of the server and return the head of the answer.

        Args:
            url: Whose path and query are quoted where they must be.
            headers: Lines, each with its end.
            deadline: As `time.monotonic` counts, for all of the head.

        Raises:
            OSError: It did not come, or is none.
        """
        self.is_free = False
        path = quote(url.path or "/", safe=_KEPT) + (
            f"?{quote(url.query, safe=_KEPT + '?')}" if url.query else ""
        )
        request = (
            f"GET {self._place}{path} HTTP/1.1\r\nHost: {_authority(url)}\r\n"
            f"User-Agent: mmearth\r\nAccept: */*\r\n{self._more}{headers}\r\n"
        )
        self._wait_until(deadline)
        self._socket.sendall(request.encode("ascii"))
        while (head := self._head(deadline)).status < 200:  # it only says that one will come
            pass
        return head

    def body(self, head: Head, nbytes: int, deadline: float) -> bytearray:
        """Return the first bytes of an answer's body.

        Args:
            head: Of the answer that was asked for last.
            nbytes: Exactly so many; what a server sends beyond them is not listened to.
            deadline: As for `ask`.

        Raises:
            OSError: They did not come.
        """
        found = bytearray(nbytes)
        into = memoryview(found)
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            while into:
                size = self._chunk_size(deadline)
                self._read(into[:size], deadline)
                into = into[size:]
                if into:
                    self._line(deadline)
            return found
        length = head.headers.get("content-length", "")
        if length.isdecimal() and int(length) < nbytes:
            raise BrokenAnswerError(f"found {length} bytes of {nbytes}")
        self._read(into, deadline)
        is_kept = head.headers.get("connection", "").lower() != "close"
        self.is_free = is_kept and length == str(nbytes) and not self._rest
        return found

    def _head(self, deadline: float) -> Head:
        lines = [self._line(deadline)]
        first = re.fullmatch(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?", lines[0])
        if first is None:
            raise BrokenAnswerError(f"found {lines[0][:40]!r}; expected the status of an answer")
        n_bytes = 0
        while line := self._line(deadline):
            lines.append(line)
            n_bytes += len(line)
            if n_bytes > _HEAD_BYTES:
                raise BrokenAnswerError("the headers have no end")
        parts = (line.decode("latin-1").partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in parts}
        if first[1] == b"0":
            headers["connection"] = "close"
        return Head(int(first[2]), headers)

    def _line(self, deadline: float) -> bytes:
        """Return a line without its end."""
        while (end := self._rest.find(b"\n")) < 0:
            if len(self._rest) > _HEAD_BYTES:
                raise BrokenAnswerError("a line of the answer has no end")
            self._wait_until(deadline)
            came = self._socket.recv(_RECEIVED)
            if not came:
                raise BrokenAnswerError("the answer ended early")
            self._rest += came
        line, self._rest = self._rest[:end], self._rest[end + 1 :]
        return line.removesuffix(b"\r")

    def _chunk_size(self, deadline: float) -> int:
        line = self._line(deadline).partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", line) or not int(line, 16):
            raise BrokenAnswerError("the answer ended early")
        return int(line, 16)

    def _read(self, into: memoryview, deadline: float) -> None:
        """Fill memory with what comes next."""
        n = min(len(into), len(self._rest))
        into[:n], self._rest = self._rest[:n], self._rest[n:]
        while n < len(into):
            self._wait_until(deadline)
            came = self._socket.recv_into(into[n:])
            if not came:
                raise BrokenAnswerError("the answer ended early")
            n += came

    def _wait_until(self, deadline: float) -> None:
        """Have the next call of the socket wait no longer."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("it took too long")
        self._socket.settimeout(left)


def _authority(url: SplitResult) -> str:
    """Return a URL's host and port as they are said to its server."""
    host = url.hostname or ""
    host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    if re.search(r"[\0-\x20\x7f]", host):
        raise BrokenAnswerError(f"{host!r} is no host")
    return host if url.port in {None, PORTS[url.scheme]} else f"{host}:{url.port}"


def _proxy_of(url: SplitResult) -> SplitResult | None:
    """Return the proxy of the environment for a URL; itself it is always spoken to in the open."""
    said = None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)
    if said is None:
        return None
    return urlsplit(said if "://" in said else f"http://{said}")


def _authorization(proxy: SplitResult) -> dict[str, str]:
    """Return the header that a proxy with a user's name and password wants."""
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


UNANSWERED = (OSError, HTTPException, ValueError)
"""What goes wrong on the way: no connection, no answer, half of one, a host that cannot be."""
