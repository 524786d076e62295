"""The HTTP side of a loopback Earth Engine: the client's own routes, counters and misbehaviour."""

from __future__ import annotations

import json
import socket
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import ee

from mmearth.tests.earthengine import signatures
from mmearth.tests.earthengine.counters import Counters, body_hash
from mmearth.tests.earthengine.evaluate import charges
from mmearth.tests.earthengine.faults import FAULTS, PASSING, Fault, Faults
from mmearth.tests.earthengine.model import ServiceError

TOKEN = "loopback"
_WHEEL = Path(ee.__file__).parent / "tests"
_TRUNCATED_BY = 100


class Evaluator(Protocol):
    """Answers the three questions of the service."""

    def value(self, graph: Mapping[str, Any]) -> Any:
        """Return what an expression comes to, as JSON."""

    def pixels(self, graph: Mapping[str, Any], grid: Mapping[str, Any], file_format: str) -> bytes:
        """Return an image on a grid, encoded."""

    def features(
        self, graph: Mapping[str, Any], page_size: int, page_token: str | None
    ) -> dict[str, Any]:
        """Return one page of a table."""

    def assets(self, folder: str, page_size: int, page_token: str | None) -> dict[str, Any]:
        """Return one page of what a public folder holds."""


@dataclass
class Server:
    """A running loopback service."""

    evaluate: Evaluator
    """What answers."""
    faults: Faults = field(default_factory=Faults)
    """How it misbehaves."""
    is_down: bool = False
    """Whether every connection is reset, as when a network is cut."""
    latency_s: float = 0.0
    """How long it sleeps before each answer."""
    users: Mapping[str, str] = field(default_factory=lambda: {TOKEN: "somebody"})
    """The access tokens that it accepts, and whose they are."""
    refuses: str | None = None
    """A key of FAULTS: how it answers everybody, the client's start included, as the service does
    where a project is not registered; None for nobody."""
    is_restricted: bool = False
    """Whether its replies say that the project's month is spent, as the client's own code reads
    them (ee/data.py: _handle_response_headers)."""
    per_minute: int | None = None
    """Beyond so many by one user in a minute it answers 429, whichever token he uses; None for no
    limit."""
    minute_s: float = 60.0
    """How long its minutes last."""
    check: bool = True
    """Whether every graph is held against the signatures."""
    most_in_flight: int | None = None
    """Beyond so many at once it answers 429; None for no limit."""
    per_second: float | None = None
    """Beyond so many in a second it answers 429; None for no limit."""
    counters: Counters = field(default_factory=Counters)
    """What it was asked."""
    replies: dict[str, bytes] | None = None
    """Replies by hash of the request: used where there is one, and kept where not; None for
    neither."""
    costs: dict[str, float] = field(default_factory=dict)
    """EECU-seconds of what was answered, by hash of the request; kept beside `replies`."""
    hash: Callable[[str, bytes], str] = body_hash
    """(path, body) → what tells requests apart."""
    crashes: list[str] = field(default_factory=list)
    """Tracebacks of what the evaluator should not have raised."""
    url: str = ""
    """Where it listens."""

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Listen on a free port of 127.0.0.1 until the block ends."""
        with _Listener(("127.0.0.1", 0), self) as http:
            self.url = f"http://127.0.0.1:{http.server_port}"
            thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                http.shutdown()
                thread.join()

    def answer(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Return the reply to a POST.

        Raises:
            ServiceError: The request is wrong.
        """
        graph = body.get("expression")
        if graph is None:
            raise ServiceError(400, "INVALID_ARGUMENT", "expression: must be given")
        if self.check:
            signatures.check(graph)
        if path.endswith("value:compute"):
            return json.dumps({"result": self.evaluate.value(graph)}).encode()
        if path.endswith("image:computePixels"):
            return self.evaluate.pixels(graph, body["grid"], body["fileFormat"])
        if path.endswith("table:computeFeatures"):
            size, token = int(body.get("pageSize", 1000)), body.get("pageToken")
            return json.dumps(self.evaluate.features(graph, size, token)).encode()
        raise ServiceError(404, "NOT_FOUND", f"no route {path}")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], service: Server) -> None:
        self.service = service
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # One segment a reply: headers and body in two would wait for the client's acknowledgement.
    wbufsize = -1
    server: _Listener
    _in_flight = False

    def log_message(self, *_: Any) -> None:
        """Write no log."""

    def do_GET(self) -> None:
        """Serve the documents that the client starts with, and the counters."""
        service = self.server.service
        if service.is_down:
            self._reset()
        elif self.path.startswith("/stats"):
            self._send(200, json.dumps(service.counters.to_json()).encode())
        elif "/$discovery/" in self.path and service.refuses in PASSING:
            self._misbehave(FAULTS[service.refuses], b"")
        elif "/$discovery/" in self.path:
            document = json.loads((_WHEEL / "cloud_api_discovery_document.json").read_text())
            address = {"rootUrl": f"{service.url}/", "baseUrl": f"{service.url}/"}
            self._send(200, json.dumps({**document, **address, "servicePath": ""}).encode())
        elif "/algorithms" in self.path:
            if self._is_known():
                self._send(200, (_WHEEL / "algorithms.json").read_bytes())
        elif ":listAssets" in self.path:
            if self._is_known():
                self._list()
        else:
            self._fail(404, "NOT_FOUND", f"no route {self.path}")

    def _list(self) -> None:
        place = urllib.parse.urlsplit(self.path)
        folder = place.path.partition("/assets/")[2].removesuffix(":listAssets")
        query = dict(urllib.parse.parse_qsl(place.query))
        size, token = int(query.get("pageSize", 1000)), query.get("pageToken")
        self.server.service.counters.listed += 1
        try:
            page = self.server.service.evaluate.assets(folder, size, token)
        except ServiceError as exc:
            self._fail(exc.status, exc.reason, exc.message)
        else:
            self._send(200, json.dumps(page).encode())

    def do_POST(self) -> None:
        """Count, misbehave if it is planned, else answer."""
        service = self.server.service
        if service.is_down:
            self._reset()
            return
        length = int(self.headers["content-length"])
        in_flight, in_second = service.counters.arrived(self.path, length)
        self._in_flight = True
        try:
            raw = self.rfile.read(length)
            key = service.hash(self.path, raw)
            service.counters.seen(key)
            if not self._is_known():
                return
            if service.latency_s:
                time.sleep(service.latency_s)
            fault = service.faults.next(key)
            if fault is not None:
                self._misbehave(fault, raw)
            elif _exceeds(self._in_minute(), service.per_minute):
                service.counters.limited += 1
                self._fail(429, "RESOURCE_EXHAUSTED", FAULTS["per-minute"].message)
            elif _exceeds(in_flight, service.most_in_flight) or _exceeds(
                in_second, service.per_second
            ):
                service.counters.limited += 1
                self._fail(429, "RESOURCE_EXHAUSTED", "Too many requests: rate limit")
            else:
                self._answer(key, raw)
        finally:
            self._landed()

    def _landed(self) -> None:
        """Count the request as answered, before its last byte: the client may ask again at once."""
        if self._in_flight:
            self._in_flight = False
            self.server.service.counters.landed()

    def _answer(self, key: str, raw: bytes) -> None:
        service = self.server.service
        known = service.replies if service.replies is not None else {}
        try:
            if key not in known:
                with charges.charging(service.costs) as charge:
                    known[key] = service.answer(self.path.partition("?")[0], json.loads(raw))
                service.costs[key] = charge.eecu_s
            reply = known[key]
            service.counters.charged(service.costs.get(key, 0.0))
        except ServiceError as exc:
            self._fail(exc.status, exc.reason, exc.message)
        except Exception as exc:  # noqa: BLE001 - a crash of the double must reach the test
            service.crashes.append(traceback.format_exc())
            self._fail(500, "INTERNAL", f"the loopback service crashed: {exc!r}")
        else:
            self._send(200, reply, key=key)

    def _user(self) -> str | None:
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        return self.server.service.users.get(token)

    def _in_minute(self) -> int:
        """Count a request of its user; return how many he sent in this minute."""
        service = self.server.service
        minute = int(time.monotonic() / service.minute_s)
        return service.counters.by_user(str(self._user()), minute)

    def _is_known(self) -> bool:
        """Return whether the user may ask; say so if not."""
        if self._user() is not None:
            refuses = self.server.service.refuses
            if refuses is not None:
                self._misbehave(FAULTS[refuses], b"")
            return refuses is None
        sentence = "Request had invalid authentication credentials."
        self._fail(401, "UNAUTHENTICATED", sentence)
        return False

    def _misbehave(self, fault: Fault, raw: bytes) -> None:
        if fault.kind == "reset":
            self._reset()
        elif fault.kind == "hang":
            time.sleep(fault.seconds)
            self.close_connection = True
        elif fault.kind == "truncated":
            self._head(200, len(raw) + _TRUNCATED_BY)
            self.wfile.write(raw)
            self.close_connection = True
        else:
            self._fail(fault.status, fault.reason, fault.message, fault.headers)

    def _reset(self) -> None:
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, 0 seconds: close sends RST
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def _fail(
        self, status: int, reason: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        error = {"code": status, "message": message, "status": reason}
        self._send(status, json.dumps({"error": error}).encode(), headers)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> None:
        if self.server.service.is_down:
            self._landed()
            self._reset()
            return
        asked = "x-earth-engine-computation-profiling" in self.headers and key is not None
        profile = {"x-earth-engine-computation-profile": str(key)} if asked else {}
        restricted = self.server.service.is_restricted
        quota = {"x-earth-engine-quota-status": "parallelism_restricted=true"} if restricted else {}
        self._head(status, len(body), {**(headers or {}), **profile, **quota})
        self._landed()
        self.wfile.write(body)
        self.server.service.counters.sent(status, len(body))

    def _head(self, status: int, length: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json; charset=UTF-8")
        self.send_header("content-length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()


def _exceeds(found: float, limit: float | None) -> bool:
    return limit is not None and found > limit
