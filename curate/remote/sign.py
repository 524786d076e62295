"""Planetary Computer's signatures: one a container, renewed in time, told to nobody."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mmearth.catalog.errors import UnavailableError

_AZURE = ".blob.core.windows.net"
_EARLY_S = 300.0
"""So long before its end a signature is renewed."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    until: float
    """Of `time.time()`: from when on it is not used."""


@dataclass(slots=True)
class Signatures:
    """Of one service: the signatures of this process."""

    url: str
    """Its endpoint: `<url>/<account>/<container>` gives a signature."""
    _tokens: dict[tuple[str, str], _Token] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asking: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)

    def token(self, url: str, ask: Callable[[str], Any], refused: str | None = None) -> str | None:
        """Return the signature of an address; None where it lies in no container.

        Args:
            url: Of a file.
            ask: Sends a question to an address and returns the JSON of its answer.
            refused: A signature that was refused: another one is asked for.

        Raises:
            UnavailableError: The service gave none.
            RefusedError: A person must act.
        """
        key = _container(url)
        if key is None:
            return None
        with self._lock:
            asking = self._asking.setdefault(key, threading.Lock())
        with asking:  # one asks, the others wait for what it gets
            known = self._tokens.get(key)
            if known is None or known.text == refused or time.time() >= known.until:
                known = self._tokens[key] = _token(ask(f"{self.url}/{key[0]}/{key[1]}"))
            return known.text


_KNOWN: dict[str, Signatures] = {}
_lock = threading.Lock()


def signatures(url: str) -> Signatures:
    """Return the signatures of a service that this process has."""
    with _lock:
        return _KNOWN.setdefault(url.rstrip("/"), Signatures(url.rstrip("/")))


def forget() -> None:
    """Forget all signatures."""
    with _lock:
        _KNOWN.clear()


def container(url: str) -> str | None:
    """Return what the addresses of a file's container begin with; None where it lies in none."""
    key = _container(url)
    if key is None:
        return None
    parts = urlsplit(url)
    account = "" if (parts.hostname or "").endswith(_AZURE) else f"{key[0]}/"
    return f"{parts.scheme}://{parts.netloc}/{account}{key[1]}/"


def _container(url: str) -> tuple[str, str] | None:
    """Return account and container: of Azure, or of a server that has them in its paths."""
    parts = urlsplit(url)
    host, path = parts.hostname or "", parts.path.strip("/").split("/")
    if host.endswith(_AZURE) and len(path) > 1:
        return host.removesuffix(_AZURE), path[0]
    is_local = host in ("127.0.0.1", "::1", "localhost")
    return (path[0], path[1]) if is_local and len(path) > 2 else None


def _token(answer: Any) -> _Token:
    """Return a signature, used until 5 minutes, or half its life, before it ends."""
    try:
        end = datetime.datetime.fromisoformat(str(answer["msft:expiry"]).replace("Z", "+00:00"))
        text = str(answer["token"])
    except (KeyError, TypeError, ValueError):
        raise UnavailableError(
            "the service of signatures sent an answer without token and msft:expiry"
        ) from None
    until = end if end.tzinfo else end.replace(tzinfo=datetime.UTC)
    left = until.timestamp() - time.time()
    return _Token(text, time.time() + max(left - _EARLY_S, left / 2))
