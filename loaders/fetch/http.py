"""Ranges of files over HTTP, with urllib3: whom a server may send us on to is decided here.

A dataset's server may be a stranger's. What it answers is compared with checksums; what it must not
do is make this machine ask another one, such as a service that only this network reaches.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from mmearth.catalog.errors import RefusedError

REDIRECTS = "MMEARTH_REDIRECT_HOSTS"
"""Environment variable of hosts to which any server may send us on: `cdn.example.org,*.my.net`."""
KNOWN = {"huggingface.co": ("huggingface.co", "*.huggingface.co", "*.hf.co")}
"""Host → where it keeps what it serves. Source: huggingface.co, "Network requirements" (Hub)."""
_MOST_HOPS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
"""Statuses that send one elsewhere. Source: RFC 9110 §15.4."""
_PORTS = {"http": 80, "https": 443}
_PIECE = 1 << 18  # bytes that are read before the clock is looked at


class NotAnsweredError(Exception):
    """An answer that is none: its HTTP status, or what went wrong before there was one."""

    def __init__(self, status: int | None, reason: str) -> None:
        """Keep both."""
        super().__init__(reason)
        self.status, self.reason = status, reason


class _Bounded:
    """A connection whose headers take no longer than its timeout, all together.

    urllib3 bounds the wait for each byte; a server may send one now and then for ever.
    """

    def getresponse(self: Any) -> Any:
        late = threading.Event()
        timer = threading.Timer(float(self.timeout), _shut, [self.sock, late])
        timer.daemon = True
        timer.start()
        try:
            answer = super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()
        if late.is_set():  # what came until then may look like an answer
            raise TimeoutError("the headers took too long")
        return answer


class _Plain(_Bounded, HTTPConnection): ...


class _Encrypted(_Bounded, HTTPSConnection): ...


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Encrypted


class Http:
    """One server, for several threads."""

    def __init__(self, url: str, timeout_s: float, n_connections: int) -> None:
        """Ask nothing yet.

        Args:
            url: Below which all files are.
            timeout_s: Of one request, from its beginning to its last byte.
            n_connections: Kept open.
        """
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._timeout = urllib3.Timeout(connect=min(10.0, timeout_s), read=timeout_s)
        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        self._pool = (
            urllib3.ProxyManager(proxy, maxsize=n_connections)
            if proxy
            else urllib3.PoolManager(maxsize=n_connections)
        )
        self._pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}

    def get(self, name: str, begin: int, end: int) -> tuple[bytes, int]:
        """Return a range of a file, clipped at its end, and the file's size.

        Raises:
            NotAnsweredError: There was no such answer.
            RefusedError: The server sends us on to where we do not go.
        """
        url = f"{self._url}/{quote(name, safe='/~')}"
        deadline = time.monotonic() + self._timeout_s
        try:
            for _ in range(_MOST_HOPS):
                answer = self._ask(url, begin, end)
                try:
                    if answer.status in _MOVED:
                        url = allowed(self._url, url, answer.headers.get("Location", ""))
                        continue
                    size = _checked(answer, begin)
                    found = _body(answer, min(end, size) - begin, deadline)
                    answer.read1(1)  # at its end the connection is free for the next request
                    return found, size
                finally:
                    answer.close()  # and with it a connection on which something is left
        except (HTTPError, OSError) as exc:
            raise NotAnsweredError(None, str(exc)) from exc
        raise RefusedError(f"{url}: the server sends from one place to the next without end")

    def _ask(self, url: str, begin: int, end: int) -> urllib3.BaseHTTPResponse:
        headers = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        return self._pool.request(
            "GET",
            url,
            headers=headers,
            timeout=self._timeout,
            retries=False,
            redirect=False,
            preload_content=False,
        )


def allowed(root: str, asked: str, location: str) -> str:
    """Return where a server sends us on to, if we go there.

    Args:
        root: The dataset's URL, which the user wrote.
        asked: What answered.
        location: What it said.

    Raises:
        RefusedError: It is another host, which neither the user named nor the dataset's service is
            known to use, an address of a private network, or no longer encrypted.
    """
    try:
        to = urljoin(asked, location).partition("#")[0]
        old, new, first = urlsplit(asked), urlsplit(to), urlsplit(root)
        ports = new.port or _PORTS.get(new.scheme), old.port or _PORTS.get(old.scheme)
    except ValueError:
        raise RefusedError(f"{asked}: the server sends us on to {location!r}, no URL") from None
    host = (new.hostname or "").lower()
    if new.scheme not in _PORTS or new.username or (old.scheme, new.scheme) == ("https", "http"):
        raise RefusedError(
            f"{asked}: the server sends us on to {to}; expected https:// without a password"
        )
    # The same server; another port of it only to begin to encrypt.
    upgraded = (old.scheme, new.scheme) == ("http", "https") and ports == (443, 80)
    if host == (old.hostname or "").lower() and (ports[0] == ports[1] or upgraded):
        return to
    named = [each.strip().lower() for each in os.environ.get(REDIRECTS, "").split(",")]
    if _is_one_of(host, named):
        return to
    if not _is_one_of(host, KNOWN.get((first.hostname or "").lower(), ())):
        raise RefusedError(
            f"{asked}: the server sends us on to {host}, another host; if that is right, set "
            f"{REDIRECTS}={host}"
        )
    if any(not address.is_global for address in _addresses(host)):
        raise RefusedError(f"{asked}: the server sends us on to {host}, in a private network")
    return to


def _shut(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _is_one_of(host: str, patterns: tuple[str, ...] | list[str]) -> bool:
    return any(
        host == each or (each.startswith("*.") and host.endswith(each[1:])) for each in patterns
    )


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def _checked(answer: urllib3.BaseHTTPResponse, begin: int) -> int:
    """Return the size of the file of which an answer is a range.

    Raises:
        NotAnsweredError: It is something else.
        RefusedError: The server does not answer ranges of bytes as they are.
    """
    if answer.status == 200:
        raise RefusedError(
            "the server ignores ranges and would send whole shards; copy the dataset to this "
            "machine or to a server that answers `Range`"
        )
    if answer.status != 206:
        raise NotAnsweredError(answer.status, f"HTTP status {answer.status}")
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise RefusedError(
            f"the server sends ranges as {encoding}, and not the bytes of the file; switch its "
            "compression off for the dataset"
        )
    told = answer.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", told.strip())
    if found is None or int(found[1]) != begin or not int(found[2]) < int(found[3]):
        raise RefusedError(
            f"the server answers with the range {told!r} where one from byte {begin} was asked for"
        )
    return int(found[3])


def _body(answer: urllib3.BaseHTTPResponse, nbytes: int, deadline: float) -> bytes:
    """Return exactly so many bytes; a server that sends more is not listened to further."""
    parts = bytearray()
    while len(parts) < nbytes:
        if time.monotonic() > deadline:
            raise NotAnsweredError(None, "it took too long")
        part = answer.read1(min(_PIECE, nbytes - len(parts)), decode_content=False)
        if not part:
            raise NotAnsweredError(None, "the answer ended early")
        parts += part
    return bytes(parts)
