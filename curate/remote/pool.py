"""One pool of connections a process, with the proxies of the environment and no hidden retries."""

from __future__ import annotations

import logging
import os
import re
import socket
import urllib.request
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import urllib3

from mmearth.curate.keepalive import keep_alive

REDIRECTS = urllib3.Retry(
    total=None, connect=0, read=0, status=0, other=0, redirect=3, respect_retry_after_header=False
)
"""Redirections are followed; all else is ours to try again."""
_CONNECT_S = 10.0
_KEEP_ALIVE = keep_alive(idle_s=30, interval_s=10, count=3)
_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *_KEEP_ALIVE]


class _WithoutQueries(logging.Filter):
    """Takes the queries of addresses, which may sign them, out of urllib3's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = re.sub(r"\?\S+", "?…", record.getMessage())
        record.args = ()
        return True


def pool(url: str, in_flight: int) -> Any:
    """Return the connections to a host of this process.

    Args:
        url: An address there.
        in_flight: Most connections that are kept open.
    """
    parts = urlsplit(url)
    return _pool(os.getpid(), parts.scheme, parts.hostname or "", in_flight)


def timeout(seconds: float) -> urllib3.Timeout:
    """Return how long a silence is waited out."""
    return urllib3.Timeout(connect=min(_CONNECT_S, seconds), read=seconds)


@lru_cache(maxsize=256)
def _pool(pid: int, scheme: str, host: str, in_flight: int) -> Any:
    proxy = urllib.request.getproxies().get(scheme)
    if proxy is not None and urllib.request.proxy_bypass(host):
        proxy = None
    return _manager(pid, proxy, in_flight)


@lru_cache(maxsize=8)
def _manager(pid: int, proxy: str | None, in_flight: int) -> Any:
    for name in ("urllib3.connectionpool", "urllib3.util.retry", "urllib3.poolmanager"):
        logging.getLogger(name).addFilter(_WithoutQueries())
    given: dict[str, Any] = {"maxsize": in_flight, "socket_options": _OPTIONS}
    certificates = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if certificates:
        given["ca_certs"] = certificates
    if proxy is not None:
        return urllib3.ProxyManager(proxy, **given)
    return urllib3.PoolManager(**given)
