"""One rate limiter for a whole cluster: kept by the driver, asked by the workers over TCP.

A message is a line of JSON. A client's first line is the token; `begin` is answered when the
request may begin, what holds for everyone when it does, `end` and `answered` not at all. A
connection holds one permit, and its end is the permit's end: what a dead worker held comes back by
itself.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from socketserver import StreamRequestHandler
from typing import Any
from urllib.parse import urlsplit

from mmearth.catalog.errors import ConfigError, QuotaError, UnavailableError
from mmearth.curate.keepalive import keep_alive
from mmearth.curate.limit import LocalLimit, Permit, Purse
from mmearth.curate.meter import Meter
from mmearth.curate.outage import OutOfReachError, Patience
from mmearth.curate.token_server import TokenServer, greeting

_LINE = 4096  # bytes of the longest message of a client
_CONNECT_S = 10.0
_LOOK_EVERY_S = 0.02  # a new client's token is read after so long at most
_KEEP_ALIVE = keep_alive(idle_s=15, interval_s=5, count=3)
"""A machine that vanishes without a word is missed after half a minute."""

_REFUSALS: dict[str, type[QuotaError] | type[OutOfReachError]] = {
    "spent": QuotaError,
    "out_of_reach": OutOfReachError,
}
"""Errors that cross the connection, by the name of what they say."""

_TELLS: dict[str, Callable[[LocalLimit, str, dict[str, Any]], bool | list[str] | None]] = {
    "slow_down": lambda limit, _, told: limit.slow_down(told.get("retry_after_s")),
    "restricted": lambda limit, *_: limit.restricted(),
    "lost": lambda limit, _, told: limit.lost(str(told.get("reason"))),
    "found": lambda limit, *_: limit.found(),
    "give_up": lambda limit, *_: limit.give_up(),
    "is_given_up": lambda limit, *_: limit.is_given_up(),
    "refused": lambda limit, kind, _: limit.refused(kind),
    "profiled": lambda limit, kind, told: limit.profiled(kind, str(told["profile"])),
    "charge": lambda limit, kind, told: limit.charge(kind, int(told["n"]), float(told["eecu_s"])),
}
"""What a client tells and waits for, by its name."""


@dataclass(frozen=True, slots=True)
class SharedLimit:
    """A limit that the driver keeps for many processes; it travels to them by pickle."""

    host: str
    """Address of the driver."""
    port: int
    """Where it listens."""
    token: str = field(repr=False)
    """Who does not know it is not answered."""
    part: tuple[tuple[str, int, float], ...] = ()
    """The way to a limit of its own: name and pace of each step; see `Limit.of`."""

    def of(self, name: str, max_in_flight: int, per_second: float) -> SharedLimit:
        """See `Limit.of`."""
        return replace(self, part=(*self.part, (name, max_in_flight, per_second)))

    @contextmanager
    def permit(self, kind: str = "", n_bytes: int = 0) -> Iterator[Permit]:
        """See `Limit.permit`.

        Raises:
            QuotaError: The budget of requests is spent.
            OutOfReachError: See `Limit.permit`.
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            answer = connection.ask(do="begin", kind=kind, n_bytes=n_bytes)
            for name, error in _REFUSALS.items():
                if name in answer:
                    raise error(answer[name])
            try:
                yield Permit(**answer)
            finally:
                with suppress(UnavailableError):  # then the lost connection gives it back
                    connection.tell(do="end")

    def slow_down(self, retry_after_s: float | None) -> None:
        """See `Limit.slow_down`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            connection.ask(do="slow_down", retry_after_s=retry_after_s)

    def answered(self, kind: str = "", seconds: float | None = None) -> None:
        """See `Limit.answered`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            connection.tell(do="answered", kind=kind, seconds=seconds)

    def restricted(self) -> None:
        """See `Limit.restricted`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            connection.ask(do="restricted")

    def lost(self, reason: str) -> None:
        """See `Limit.lost`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            connection.ask(do="lost", reason=reason)

    def found(self) -> None:
        """See `Limit.found`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            connection.ask(do="found")

    def give_up(self) -> None:
        """See `Limit.give_up`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            connection.ask(do="give_up")

    def is_given_up(self) -> bool:
        """See `Limit.is_given_up`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            return bool(connection.ask(do="is_given_up")["due"])

    def refused(self, kind: str) -> None:
        """See `Limit.refused`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            connection.ask(do="refused", kind=kind)

    def profiled(self, kind: str, profile: str) -> list[str]:
        """See `Limit.profiled`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            return list(connection.ask(do="profiled", kind=kind, profile=profile)["due"])

    def charge(self, kind: str, n: int, eecu_s: float) -> None:
        """See `Limit.charge`.

        Raises:
            UnavailableError: Nobody keeps the limit any more.
        """
        with self._connected() as connection:
            connection.ask(do="charge", kind=kind, n=n, eecu_s=eecu_s)

    @contextmanager
    def _connected(self) -> Iterator[_Connection]:
        """Lend a connection of this process that nobody uses, or a new one."""
        idle = _IDLE.setdefault((os.getpid(), self), [])
        try:
            connection = idle.pop()
        except IndexError:
            connection = _Connection(self)
        try:
            yield connection
        finally:
            if connection.in_step:
                idle.append(connection)
            else:
                connection.close()


class _Connection:
    """One connection to who keeps a shared limit."""

    def __init__(self, limit: SharedLimit) -> None:
        self._where = f"{limit.host}:{limit.port}"
        self._part = {"part": limit.part} if limit.part else {}
        self.in_step = False
        """Every question was answered: the next one who has it finds it as if it were new."""
        with self._errors():
            self._socket = socket.create_connection((limit.host, limit.port), _CONNECT_S)
            self._socket.settimeout(None)
            _keep_alive(self._socket)
            self._answers = self._socket.makefile("rb")
            self._socket.sendall(greeting(limit.token))
            self.in_step = True

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message, wait until it is answered and return the answer."""
        self.tell(**message)
        self.in_step = False  # until the answer is there: an interrupt may come first
        with self._errors():
            line = self._answers.readline()
            if not line:
                raise ConnectionResetError("closed")
        self.in_step = True
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, **message: Any) -> None:
        """Send a message."""
        with self._errors():
            self._socket.sendall(json.dumps(self._part | message).encode() + b"\n")

    def close(self) -> None:
        """End the connection, and the permit that it may hold."""
        self._answers.close()
        self._socket.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            self.in_step = False
            raise UnavailableError(
                f"nobody at {self._where} says how fast the source may be asked ({exc}): the build "
                "that these workers belong to has ended; run it again"
            ) from exc


_IDLE: dict[tuple[int, SharedLimit], list[_Connection]] = {}  # by process, for those that fork


class _Server(TokenServer):
    def __init__(self, host: str, limit: LocalLimit, token: str) -> None:
        super().__init__(host, _Handler, token)
        self.limit = limit
        self.clients: set[socket.socket] = set()
        self.ended = False

    def end(self) -> None:
        """Accept nobody any more and let go of all who are there."""
        self.ended = True
        self.shutdown()
        self.server_close()
        for client in list(self.clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


class _Handler(StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self.server.clients.add(self.connection)
        with suppress(OSError), ExitStack() as held:
            _keep_alive(self.connection)
            while message := self._message():
                self._obey(message, held)

    def finish(self) -> None:
        self.server.clients.discard(self.connection)
        super().finish()

    def _obey(self, message: dict[str, Any], held: ExitStack) -> None:
        limit, do, kind = self.server.limit, message.get("do"), str(message.get("kind", ""))
        for name, most, per_second in message.get("part", ()):
            limit = limit.of(str(name), int(most), float(per_second))
        if do == "begin":
            answer: dict[str, Any] = {}
            try:
                answer = asdict(held.enter_context(limit.permit(kind, message.get("n_bytes", 0))))
            except tuple(_REFUSALS.values()) as exc:
                name = next(name for name, error in _REFUSALS.items() if isinstance(exc, error))
                answer[name] = str(exc)
            if self.server.ended:  # the permit came back from who was let go just before
                raise ConnectionAbortedError
            self.wfile.write(json.dumps(answer).encode() + b"\n")
        elif do == "end":
            held.close()
        elif do == "answered":
            limit.answered(kind, message.get("seconds"))
        elif do in _TELLS:
            answer = {"due": _TELLS[do](limit, kind, message)}
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    def _message(self) -> dict[str, Any]:
        """Return the next message; an empty one where there is none, or no message."""
        try:
            message = json.loads(self.rfile.readline(_LINE))
        except ValueError:
            return {}
        return message if isinstance(message, dict) else {}


@contextmanager
def serve_limit(
    max_in_flight: int,
    per_second: float,
    host: str,
    budget: int | None = None,
    patience: Patience | None = None,
    meter: Meter | None = None,
    purse: Purse | None = None,
) -> Iterator[SharedLimit]:
    """Keep a limit for other processes until the block ends.

    Args:
        max_in_flight: See `LocalLimit`; of all processes together.
        per_second: See `LocalLimit`; of all processes together.
        host: An address of this machine that the others reach: `127.0.0.1` for those beside this
            one, `address_towards(scheduler)` for a cluster.
        budget: See `LocalLimit`; of all processes together.
        patience: See `LocalLimit`.
        meter: See `LocalLimit`.
        purse: See `LocalLimit`.

    Yields:
        What the others ask.

    Raises:
        ConfigError: The address is not one of this machine.
    """
    token = secrets.token_hex(16)
    limit = LocalLimit(max_in_flight, per_second, budget, patience, meter, purse)
    try:
        server = _Server(host, limit, token)
    except OSError as exc:
        raise ConfigError(
            f"cannot listen at {host} for the workers ({exc}); expected an address of this machine"
        ) from exc
    thread = threading.Thread(target=server.serve_forever, args=(_LOOK_EVERY_S,), daemon=True)
    thread.start()
    shared = SharedLimit(host, int(server.server_address[1]), token)
    try:
        yield shared
    finally:
        server.end()
        thread.join()
        for pid, each in list(_IDLE):
            if (pid, each.port, each.token) == (os.getpid(), shared.port, shared.token):
                for connection in _IDLE.pop((pid, each), []):
                    connection.close()


def address_towards(url: str) -> str:
    """Return the address of this machine by which whoever is at `tcp://host:port` sees it.

    Raises:
        ConfigError: The host is not known.
    """
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)  # a datagram socket sends nothing yet
            return str(probe.getsockname()[0])
    except (OSError, ValueError) as exc:
        raise ConfigError(f"no way leads to {url} ({exc}); expected tcp://host:port") from exc


def _keep_alive(connection: socket.socket) -> None:
    """Send small messages at once, and notice a peer that has vanished."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in _KEEP_ALIVE:
        connection.setsockopt(*option)
