"""One request to a host: limited, signed, tried again when it may pass, told without secrets."""

from __future__ import annotations

import datetime
import email.utils
import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from urllib3.exceptions import HTTPError, ProtocolError

from mmearth.catalog.errors import (
    NoDataError,
    QuotaError,
    RefusedError,
    SourceError,
    UnavailableError,
)
from mmearth.curate.limit import Limit
from mmearth.curate.outage import OutOfReachError
from mmearth.curate.remote.access import RemoteAccess
from mmearth.curate.remote.address import host_of, is_signed, public, reachable, signed
from mmearth.curate.remote.pool import REDIRECTS, pool, timeout
from mmearth.curate.remote.sign import container, signatures

_BUSY = frozenset({429, 503})
_PASSING = frozenset({408, 425, 500, 502, 504})
_GONE = frozenset({404, 410})
_SMALL = 1 << 16
"""Bytes of a file that is taken as a whole where a part was asked for."""
_MOST_JSON = 256 << 20
_LOG = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class ServerError(UnavailableError):
    """The host answered with a status of its own failure: less at once may pass."""


class MissingError(NoDataError):
    """The host has no such file."""


class _DeniedError(SourceError):
    """The host lets nobody read the file who signs as we did."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a file."""

    begin: int
    """Where they begin."""
    data: bytes
    """Them."""
    length: int
    """Of the whole file."""
    version: str
    """ETag, or the time of the last change: another one, another file; empty where neither is said.
    """


@dataclass(frozen=True, slots=True)
class Client:
    """Asks hosts. Travels to worker processes; connections and signatures are of each process."""

    access: RemoteAccess
    """How they are asked."""
    limit: Limit
    """Shared by all workers; each host has a limit of its own there."""
    sas: Mapping[str, str] = field(default_factory=dict)
    """What the addresses of a container begin with → the service that signs them."""
    key: str | None = field(default=None, repr=False)
    """Of an account at the service of signatures."""

    def part(self, url: str, begin: int, end: int) -> Part:
        """Return bytes of a file, fewer where it ends before.

        Args:
            url: Its address; where it is signed, and no service signs it anew, as it is.
            begin: First byte.
            end: After the last byte.

        Raises:
            MissingError: There is no such file.
            SourceError: It may not be read, or not in parts.
            UnavailableError: Nobody answered, however often it was asked, or the address that was
                found signed is good no more.
            QuotaError: The budget is spent.
            RefusedError: A person must act before it is signed.
        """
        where = reachable(url, self.access.s3_url)
        headers = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        service = self._service(where)
        was_signed = is_signed(where)
        if service is not None and was_signed:  # by who told it; that may be long ago
            where = public(where)
        token = None if service is None else self._token(service, where)

        def ask(used: str | None) -> Part:
            reply = self._open("GET", where if used is None else signed(where, used), headers)
            with reply:
                return _part_of(reply, public(where), begin, end)

        try:
            return self._send(where, lambda: ask(token), end - begin)
        except _DeniedError as exc:
            if service is None and was_signed:
                raise UnavailableError(f"{exc}: its signature has ended") from None
            if service is None or token is None:
                raise
            other = self._token(service, where, token)
            return self._send(where, lambda: ask(other), end - begin)

    def json(
        self,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        tries: int | None = None,
    ) -> Any:
        """Return the JSON that an address answers with, to a POST where there is a body.

        Args:
            url: The address.
            body: What is posted as JSON.
            headers: Beside the usual.
            tries: How often it is sent at most; as the access says unless given.

        Raises:
            ServerError: The host failed at this question each time.
            MissingError: As `part`.
            SourceError: As `part`, or it is no JSON.
            UnavailableError: As `part`.
            QuotaError: As `part`.
        """
        usual = {"Accept": "application/geo+json, application/json", **(headers or {})}
        data = None
        if body is not None:
            usual["Content-Type"], data = "application/json", json.dumps(body).encode()

        def ask() -> Any:
            with self._open("POST" if data else "GET", url, usual, data) as reply:
                _check(reply, public(url))
                return _document(_read(reply, public(url), _MOST_JSON + 1), public(url))

        return self._send(url, ask, 0, tries)

    def _service(self, url: str) -> str | None:
        return self.sas.get(container(url) or "")

    def _token(self, service: str, url: str, refused: str | None = None) -> str | None:
        headers = {"Ocp-Apim-Subscription-Key": self.key} if self.key else {}

        def ask(where: str) -> Any:
            try:
                return self.json(where, headers=headers)
            except (_DeniedError, MissingError) as exc:
                raise RefusedError(
                    f"{public(where)} gives no signature ({exc}); set PC_SDK_SUBSCRIPTION_KEY to "
                    "that of an account, or leave what needs one out of modalities:"
                ) from None

        return signatures(service).token(url, ask, refused)

    def _open(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> Any:
        connections = pool(url, self.access.in_flight)
        about = {"timeout": timeout(self.access.timeout_s), "retries": REDIRECTS}
        return connections.request(
            method, url, body=data, headers=headers, preload_content=False, **about
        )

    def _send(
        self, url: str, ask: Callable[[], Answer], n_bytes: int, tries: int | None = None
    ) -> Answer:
        """Ask until there is an answer, or an error that does not pass."""
        host = host_of(url)
        limit = self.limit.of(host, self.access.in_flight, self.access.per_second)
        most, missed = tries or self.access.tries, False
        for attempt in range(1, most + 1):
            try:
                return self._once(limit, url, ask, n_bytes)
            except (OutOfReachError, QuotaError):
                raise
            except (UnavailableError, MissingError) as exc:
                is_missing = isinstance(exc, MissingError)
                # A file may be missing for a moment, no longer.
                if attempt >= most or (is_missing and missed) or limit.is_given_up():
                    raise
                missed = missed or is_missing
                _LOG.info("try %d failed, asking again: %s", attempt, exc)
            # No byte of the data depends on this number; it keeps workers from knocking in step.
            longest = min(self.access.pause_s * 2 ** (attempt - 1), self.access.longest_pause_s)
            time.sleep(longest * (0.5 + 0.5 * random.random()))
        raise AssertionError("a request is sent once at least")

    def _once(self, limit: Limit, url: str, ask: Callable[[], Answer], n_bytes: int) -> Answer:
        """Ask once; first, for as long as the host is out of reach, a small question."""
        while True:
            with limit.permit(host_of(url), n_bytes) as permit:
                if permit.is_trial:
                    self._look(limit, url)
                    continue
                begin = time.perf_counter()
                try:
                    answer = ask()
                except _BusyError as exc:
                    limit.slow_down(exc.retry_after_s(self.access.longest_pause_s))
                    raise UnavailableError(str(exc)) from None
                except HTTPError as exc:
                    reason = f"{host_of(url)} did not answer ({_reason(exc)})"
                    if not isinstance(getattr(exc, "reason", exc), ProtocolError):
                        limit.lost(reason)  # nobody was there; else a connection was cut
                    raise UnavailableError(reason) from None
            limit.answered(host_of(url), time.perf_counter() - begin)
            return answer

    def _look(self, limit: Limit, url: str) -> None:
        """Knock, and tell all whether somebody is there, whatever the answer."""
        root = url.partition("?")[0].partition("://")
        address = f"{root[0]}://{root[2].partition('/')[0]}/"
        try:
            with self._open("HEAD", address, {}) as reply:
                is_there = reply.status < 500
        except HTTPError as exc:
            limit.lost(f"{host_of(url)} did not answer ({_reason(exc)})")
            return
        if is_there:
            limit.found()
        else:
            limit.lost(f"{host_of(url)} is busy (status {reply.status})")


class _BusyError(UnavailableError):
    """Too many requests; the reply's `Retry-After` is a note of it."""

    def retry_after_s(self, longest_s: float) -> float | None:
        """Return how long nobody may ask."""
        return seconds_of((getattr(self, "__notes__", None) or [""])[0], longest_s)


def seconds_of(retry_after: str, longest_s: float) -> float | None:
    """Return the seconds of a `Retry-After`, in either of its forms; None where it is none.

    Args:
        retry_after: Seconds, or a date of HTTP.
        longest_s: A greater number is taken for five times this at most.
    """
    text = retry_after.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    else:
        try:
            when = email.utils.parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
        seconds = (when - datetime.datetime.now(datetime.UTC)).total_seconds()
    return min(max(seconds, 0.0), 5 * longest_s)


def _check(reply: Any, name: str) -> None:
    """Raise what a status means that is not of success."""
    status = int(reply.status)
    if status in (200, 206):
        return
    told = f"{name} answered with status {status}"
    if status in _BUSY:
        error = _BusyError(told)
        error.add_note(reply.headers.get("Retry-After", ""))
        raise error
    if status in _PASSING:
        raise ServerError(told)
    if status in _GONE:
        raise MissingError(f"{name} is not there (status {status})")
    if status in (401, 403):
        raise _DeniedError(f"{name} may not be read (status {status})")
    raise SourceError(f"{told}: {_message(reply)}")


def _message(reply: Any) -> str:
    return " ".join(reply.read(300, decode_content=True).decode(errors="replace").split())


def _part_of(reply: Any, name: str, begin: int, end: int) -> Part:
    """Return the bytes of a reply, which must be those that were asked for, all of them."""
    if int(reply.status) == 416:
        raise SourceError(f"{name} ends before byte {begin}; it is not the file it was")
    _check(reply, name)
    version = reply.headers.get("ETag") or reply.headers.get("Last-Modified") or ""
    if int(reply.status) == 200:
        return _whole(reply, name, begin, end, version)
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", reply.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != begin or reply.headers.get("Content-Encoding"):
        raise SourceError(f"{name}: the host sent another part than was asked for")
    length = int(found[3])
    expected = min(end, length) - begin
    data = _read(reply, name, expected + 1)
    if len(data) != expected:
        raise UnavailableError(f"{name}: {len(data)} of {expected} bytes came")
    return Part(begin, data, length, version)


def _whole(reply: Any, name: str, begin: int, end: int, version: str) -> Part:
    """Return a part of a whole file that was sent, if it is a small one."""
    length = int(reply.headers.get("Content-Length") or _SMALL + 1)
    if length > max(_SMALL, end - begin):
        reply.close()  # before gigabytes come
        raise SourceError(
            f"the host of {name} sends files as a whole only; download it and name the local file"
        )
    data = _read(reply, name, length + 1)
    if len(data) != length:
        raise UnavailableError(f"{name}: {len(data)} of {length} bytes came")
    return Part(begin, data[begin:end], length, version)


def _read(reply: Any, name: str, most: int) -> bytes:
    """Return a body of fewer bytes than `most`."""
    # At once where the length is told: by parts megabytes are copied three times.
    told = None if reply.headers.get("Content-Encoding") else reply.length_remaining
    is_short = told is not None and told < most
    data: bytes = reply.read(None if is_short else most, decode_content=True)
    if len(data) >= most:
        reply.close()
        raise SourceError(f"{name}: the host sent more than was asked for")
    reply.drain_conn()
    return data


def _document(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise UnavailableError(f"{name} sent {len(data)} bytes that are no JSON") from None


def _reason(exc: BaseException) -> str:
    """Return what a client's error says, without addresses that may be signed."""
    text = " ".join(str(exc).split())
    return re.sub(r"\?\S+", "?…", text)[:200]
