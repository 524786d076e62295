"""Ranges of files over HTTP: whom a server may send us on to is decided here.

A dataset's server may be a stranger's. What it answers is compared with checksums; what it must not
do is make this machine ask another one, such as a service that only this network reaches.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
import time
from contextlib import suppress
from functools import cache
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from mmearth.catalog.errors import RefusedError
from mmearth.loaders.fetch.wire import PORTS, UNANSWERED, Head, Wire

REDIRECTS = "MMEARTH_REDIRECT_HOSTS"
"""Environment variable of hosts to which any server may send us on: `cdn.example.org,*.my.net`."""
KNOWN = {"huggingface.co": ("huggingface.co", "*.huggingface.co", "*.hf.co")}
"""Host → where it keeps what it serves. Source: huggingface.co, "Network requirements" (Hub)."""
_MOST_HOPS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
"""Statuses that send one elsewhere. Source: RFC 9110 §15.4."""


class NotAnsweredError(Exception):
    """An answer that is none: its HTTP status, or what went wrong before there was one."""

    def __init__(self, status: int | None, reason: str) -> None:
        """Keep both."""
        super().__init__(reason)
        self.status, self.reason = status, reason


class Http:
    """One server, for several threads."""

    def __init__(
        self, url: str, timeout_s: float, n_connections: int, token: str | None = None
    ) -> None:
        """Ask nothing yet.

        Args:
            url: Below which all files are.
            timeout_s: Of one request, from its beginning to its last byte.
            n_connections: Kept open.
            token: Told to this server, and to no other that it sends us on to.
        """
        first = urlsplit(url)
        self._home = first.scheme, first.netloc
        self._secret = f"Authorization: Bearer {token}\r\n" if token else ""
        self._url, self._timeout_s, self._most = url.rstrip("/"), timeout_s, n_connections
        self._free: dict[tuple[str, str], list[Wire]] = {}

    def get(self, name: str, begin: int, end: int) -> tuple[bytearray, int]:
        """Return a range of a file, clipped at its end, and the file's size.

        Raises:
            NotAnsweredError: There was no such answer.
            RefusedError: The server sends us on to where we do not go.
        """
        url = f"{self._url}/{quote(name, safe='/~')}"
        headers = f"Range: bytes={begin}-{end - 1}\r\nAccept-Encoding: identity\r\n"
        deadline = time.monotonic() + self._timeout_s
        try:
            for _ in range(_MOST_HOPS):
                parts = urlsplit(url)
                wire = self._wire(parts)
                try:
                    is_home = (parts.scheme, parts.netloc) == self._home
                    head = wire.ask(parts, headers + self._secret * is_home, deadline)
                    if head.status not in _MOVED:
                        size = _checked(head, begin)
                        return wire.body(head, min(end, size) - begin, deadline), size
                    url = allowed(self._url, url, head.headers.get("location", ""))
                finally:
                    self._leave(parts, wire)
        except UNANSWERED as exc:
            raise NotAnsweredError(None, str(exc)) from exc
        raise RefusedError(f"{url}: the server sends from one place to the next without end")

    def _wire(self, url: SplitResult) -> Wire:
        """Return a connection to a URL's server: one that is free, or a new one."""
        free = self._free.setdefault((url.scheme, url.netloc), [])
        while free:
            with suppress(IndexError):  # another thread took it
                wire = free.pop()
                if not wire.is_dropped():
                    return wire
                wire.close()
        return Wire(url, _encryption(), min(10.0, self._timeout_s))

    def _leave(self, url: SplitResult, wire: Wire) -> None:
        """Keep a connection that is free for the next request, close one with something left."""
        free = self._free[url.scheme, url.netloc]
        if wire.is_free and len(free) < self._most:
            free.append(wire)
        else:
            wire.close()


@cache
def _encryption() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


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
        ports = new.port or PORTS.get(new.scheme), old.port or PORTS.get(old.scheme)
    except ValueError:
        raise RefusedError(f"{asked}: the server sends us on to {location!r}, no URL") from None
    host = (new.hostname or "").lower()
    if new.scheme not in PORTS or new.username or (old.scheme, new.scheme) == ("https", "http"):
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


def _is_one_of(host: str, patterns: tuple[str, ...] | list[str]) -> bool:
    return any(
        host == each or (each.startswith("*.") and host.endswith(each[1:])) for each in patterns
    )


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def _checked(head: Head, begin: int) -> int:
    """Return the size of the file of which an answer is a range.

    Raises:
        NotAnsweredError: It is something else.
        RefusedError: The server does not answer ranges of bytes as they are.
    """
    if head.status == 200:
        raise RefusedError(
            "the server ignores ranges and would send whole shards; copy the dataset to this "
            "machine or to a server that answers `Range`"
        )
    if head.status != 206:
        raise NotAnsweredError(head.status, f"HTTP status {head.status}")
    encoding = head.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise RefusedError(
            f"the server sends ranges as {encoding}, and not the bytes of the file; switch its "
            "compression off for the dataset"
        )
    told = head.headers.get("content-range", "")
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", told.strip())
    if found is None or int(found[1]) != begin or not int(found[2]) < int(found[3]):
        raise RefusedError(
            f"the server answers with the range {told!r} where one from byte {begin} was asked for"
        )
    return int(found[3])
