"""A TCP server that has a thread only for those who have told its token."""

from __future__ import annotations

import hmac
import json
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

TELL_WITHIN_S = 10.0
"""How long a client may stay silent before it tells the token."""
MOST_SILENT = 256
"""Clients that have not told it yet; one more takes the place of the first of them."""


def greeting(token: str) -> bytes:
    """Return the line that a client begins with."""
    return json.dumps({"token": token}).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class _Silent:
    address: Any
    """Of the client."""
    until: float
    """When it is turned away, by the monotonic clock."""


class TokenServer(ThreadingTCPServer):
    """Reads the first line of every client in the thread that accepts them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512  # all workers may come at once

    def __init__(self, host: str, handler: Callable[..., BaseRequestHandler], token: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._greeting = greeting(token)
        self._silent = selectors.DefaultSelector()
        super().__init__((host, 0), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Have a new client wait until it has told the token."""
        waiting = self._waiting()
        if len(waiting) >= MOST_SILENT:
            self._turn_away(waiting[0].fileobj)
        request.setblocking(False)
        until = time.monotonic() + TELL_WITHIN_S
        self._silent.register(request, selectors.EVENT_READ, _Silent(client_address, until))

    def service_actions(self) -> None:
        """Let in who has told the token; turn away who told another, or nothing for too long."""
        for key, _ in self._silent.select(0):
            told = self._told(key.fileobj)
            if told:
                self._silent.unregister(key.fileobj)
                key.fileobj.setblocking(True)  # type: ignore[union-attr]
                super().process_request(key.fileobj, key.data.address)  # type: ignore[arg-type]
            elif told is not None:
                self._turn_away(key.fileobj)
        now = time.monotonic()
        for key in self._waiting():
            if key.data.until <= now:
                self._turn_away(key.fileobj)

    def server_close(self) -> None:
        """Accept nobody any more; turn away who has told nothing yet."""
        super().server_close()
        for key in self._waiting():
            self._turn_away(key.fileobj)
        self._silent.close()

    def _waiting(self) -> list[selectors.SelectorKey]:
        return list(self._silent.get_map().values())

    def _told(self, client: Any) -> bool | None:
        """Return whether a client has told the token; None where its line is not whole yet."""
        length = len(self._greeting)
        try:
            line = client.recv(length, socket.MSG_PEEK)
            if line and len(line) < length and b"\n" not in line:
                return None
            return hmac.compare_digest(client.recv(length), self._greeting)
        except OSError:
            return False

    def _turn_away(self, client: Any) -> None:
        self._silent.unregister(client)
        with suppress(OSError):
            self.shutdown_request(client)
