"""A dataset behind a URL: ranges over HTTP, S3 and Google Cloud Storage, asked for with patience.

`http.py` asks over HTTP, obstore the other two. Neither repeats a request: which answers are worth
another try, and how long to wait, is decided here, alike for every store.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mmearth.catalog.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    MMEarthError,
    RefusedError,
    UnavailableError,
)
from mmearth.catalog.extras import needing
from mmearth.catalog.hub_url import token_for
from mmearth.loaders.fetch.root import relative

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from mmearth.loaders.fetch.http import Http

PIECE_BYTES = 8 << 20
"""The most that one request asks for, so that one time-out fits all requests."""
_BUSY = frozenset({408, 425, 429, *range(500, 600)})
"""HTTP statuses that may pass. Source: RFC 9110 §15, RFC 6585 §4, RFC 8470 §5.2."""
_CONNECTIONS = 16
_asked_in: int | None = None  # the process that has the connections and obstore's threads


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a place may take to answer."""

    attempts: int = 5
    """How often a request is made before it is given up."""
    first_wait_s: float = 0.25
    """Before the second attempt; then three times as long each time, and up to a quarter more by
    chance, so that many workers do not come back at once."""
    timeout_s: float = 60.0
    """Of one request, from its beginning to its last byte."""


class RemoteRoot:
    """A dataset behind a URL."""

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        """Take a URL apart; nothing is asked yet.

        Args:
            url: `http://`, `https://`, `s3://bucket/prefix` or `gs://bucket/prefix`.
            patience: How long it may take to answer.

        Raises:
            ConfigError: It is no URL, carries a secret or names no host; obstore is not installed.
        """
        try:
            parts = urlsplit(url)
            _ = parts.port  # which is read when it is asked for
        except ValueError as exc:
            raise ConfigError(
                f"{url} is no URL ({exc}); expected one with a host and a path"
            ) from exc
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"a URL with a password, `?` or `#` on {parts.hostname} was given; expected a "
                "plain one: credentials come from the environment (docs/loaders.md)"
            )
        if not parts.hostname:
            raise ConfigError(f"{url} names no host or bucket; expected one after ://")
        _check_installed()
        self.url = url
        self.patience = patience or Patience()
        self._store: ObjectStore | Http | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteRoot, (self.url, self.patience)

    def __repr__(self) -> str:
        return f"RemoteRoot({self.url!r})"

    def path(self, name: str) -> None:
        """Return None: it is not on this machine."""

    def read(self, name: str) -> bytes:
        """Return a whole file, fetched in pieces.

        Raises:
            MMEarthError: As `Root` says.
        """
        first, size = self._get(name, 0, PIECE_BYTES)
        rest = (
            self.read_range(name, begin, min(begin + PIECE_BYTES, size))
            for begin in range(len(first), size, PIECE_BYTES)
        )
        return b"".join((first, *rest))

    def read_range(self, name: str, begin: int, end: int) -> bytes | bytearray:
        """Return the bytes from `begin` until before `end`; exactly so many.

        Raises:
            MMEarthError: As `Root` says.
        """
        found, size = self._get(name, begin, end)
        if len(found) != end - begin:
            raise IntegrityError(
                f"{self._where(name)} has {size} bytes, expected {end} or more: it is truncated; "
                "publish it again"
            )
        return found

    def _get(self, name: str, begin: int, end: int) -> tuple[bytes | bytearray, int]:
        """Return a range, clipped at the file's end, and the file's size."""
        wait_s = self.patience.first_wait_s
        for attempt in range(self.patience.attempts):
            if attempt:
                # Retry-After is not looked at: obstore does not show an answer's headers.
                time.sleep(wait_s * (1 + secrets.randbelow(1000) / 4000))
                wait_s *= 3
            try:
                return self._ask(relative(name), begin, end)
            except UnavailableError as exc:
                refusal = exc
        raise refusal

    def _ask(self, name: str, begin: int, end: int) -> tuple[bytes | bytearray, int]:
        from mmearth.loaders.fetch.http import Http, NotAnsweredError

        store = self._open()
        if not isinstance(store, Http):
            return self._ask_store(store, name, begin, end)
        try:
            return store.get(name, begin, end)
        except NotAnsweredError as exc:
            raise self._of_status(name, exc.status, exc.reason) from exc
        except RefusedError as exc:
            raise RefusedError(f"{self._where(name)}: {exc}") from exc

    def _ask_store(self, store: ObjectStore, name: str, begin: int, end: int) -> tuple[bytes, int]:
        import obstore
        from obstore.exceptions import BaseError

        try:
            answer = obstore.get(store, name, options={"range": (begin, end)})
            return answer.bytes().to_bytes(), answer.meta["size"]
        except FileNotFoundError as exc:
            raise self._of_status(name, 404, "") from exc
        except BaseError as exc:
            raise self._refusal(name, exc) from exc

    def _open(self) -> ObjectStore | Http:
        global _asked_in  # noqa: PLW0603 — obstore's threads are the process's own
        if _asked_in not in {None, os.getpid()}:
            # Without this it would wait for ever for a thread that was not copied, or share a
            # connection with its parent.
            raise ConfigError(
                f"{self.url} was read before this process was forked, and cannot be read after "
                "it; start worker processes with the method `spawn` or `forkserver`"
            )
        if self._store is None:
            self._store = self._new_store()
        _asked_in = os.getpid()
        return self._store

    def _new_store(self) -> ObjectStore | Http:
        if urlsplit(self.url).scheme.lower() in {"http", "https"}:
            from mmearth.loaders.fetch.http import Http

            return Http(self.url, self.patience.timeout_s, _CONNECTIONS, token_for(self.url))
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        # Options given here hide the environment's, of which this one must be kept.
        allowed = any(os.environ.get(f"{who}_ALLOW_HTTP") == "true" for who in ("AWS", "GOOGLE"))
        try:
            return from_url(
                self.url.rstrip("/"),
                client_options={
                    "allow_http": allowed,
                    "timeout": timedelta(seconds=self.patience.timeout_s),
                    "connect_timeout": timedelta(seconds=min(10.0, self.patience.timeout_s)),
                },
                retry_config={"max_retries": 0},
            )
        except (BaseError, ValueError) as exc:
            raise ConfigError(
                f"{self.url} cannot be opened: {_first_line(exc)}; check the URL and the "
                "environment variables of its store"
            ) from exc

    def _where(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def _refusal(self, name: str, exc: Exception) -> MMEarthError:
        """Return what an error of obstore means; it tells some of them only in words."""
        where, kind, text = self._where(name), type(exc).__name__, str(exc)
        found = re.search(r"status(?: code)?: (\d{3})", text)
        status = int(found.group(1)) if found else None
        if "169.254.169.254" in text or "metadata.google" in text:
            return RefusedError(
                f"{where}: no credentials were found in the environment; set the store's own "
                "variables, or AWS_SKIP_SIGNATURE=true or GOOGLE_SKIP_SIGNATURE=true for a public "
                "bucket"
            )
        if kind in {"PermissionDeniedError", "UnauthenticatedError"}:
            return self._of_status(name, status or 403, kind)
        if kind == "NotSupportedError":
            return RefusedError(
                f"{where}: the server ignores ranges and would send whole shards; copy the "
                "dataset to this machine or to a server that answers `Range`"
            )
        if "StartTooLarge" in text:
            return self._of_status(name, 416, text)
        if status is None and "builder error" in text:
            return ConfigError(
                f"{where} cannot be asked for: {_first_line(exc)}; check the store's variables: "
                "one without encryption (AWS_ENDPOINT_URL=http://…) needs AWS_ALLOW_HTTP=true"
            )
        return self._of_status(name, status, _first_line(exc))

    def _of_status(self, name: str, status: int | None, reason: str) -> MMEarthError:
        """Return what an HTTP status means, or that there was none."""
        where = self._where(name)
        if status == 404:
            return FormatError(
                f"{where} is not there (404); expected a complete dataset at {self.url}: check the "
                "URL"
            )
        if status in {401, 403}:
            return RefusedError(
                f"{where} may not be read with the credentials of this environment ({status}); "
                "sign in, or ask its owner"
            )
        if status == 416:
            return IntegrityError(f"{where} is shorter than expected: it is truncated")
        if status is not None and status not in _BUSY:
            return FormatError(f"{where}: found HTTP status {status}, expected the file")
        return UnavailableError(
            f"{where} was not answered in {self.patience.attempts} attempts: "
            f"{status or reason}; try again later"
        )


def _check_installed() -> None:
    with needing("cloud"):
        import obstore  # noqa: F401 - only whether it is there


def _first_line(exc: Exception) -> str:
    return str(exc).split("\n", maxsplit=1)[0].strip()
