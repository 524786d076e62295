"""TCP keep-alive: a peer that vanished is missed, one that only takes its time is not."""

from __future__ import annotations

import socket

Option = tuple[int, int, int]
"""Level, name and value, as `socket.setsockopt` takes them."""


def keep_alive(idle_s: int, interval_s: int, count: int) -> list[Option]:
    """Return socket options that end a connection whose peer answers nothing any more.

    The peer's operating system answers for it, so that no reply is too slow.

    Args:
        idle_s: Silence before the first question.
        interval_s: Between two questions.
        count: How many stay unanswered before the connection is lost.

    Source:
        tcp(7); macOS calls the first `TCP_KEEPALIVE`.
    """
    most_ms = 1000 * (idle_s + interval_s * count)
    named = {
        "TCP_KEEPIDLE": idle_s,
        "TCP_KEEPALIVE": idle_s,
        "TCP_KEEPINTVL": interval_s,
        "TCP_KEEPCNT": count,
        "TCP_USER_TIMEOUT": most_ms,  # what was sent and never acknowledged is not asked about
    }
    found = [
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in named.items()
        if hasattr(socket, name)
    ]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *found]
