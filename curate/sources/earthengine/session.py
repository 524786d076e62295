"""The client's session: signed in once a process, one pool of connections, no hidden retries."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import ee
import google_auth_httplib2
import httplib2
import requests
import requests.adapters
import requests.utils

from mmearth.catalog.errors import RefusedError
from mmearth.curate.keepalive import keep_alive
from mmearth.curate.sources.earthengine.access import PIXELS, VALUE, Access
from mmearth.curate.sources.earthengine.advice import UNNAMED, network_advice
from mmearth.curate.sources.earthengine.sign_in import find_sign_in

_CONNECT_S = 10.0
_KNOCK_S = 30.0
"""Longest silence after the smallest question."""
_KEEP_ALIVE = keep_alive(idle_s=30, interval_s=10, count=3)
"""A network that went away is noticed in a minute: the service is silent for up to five."""
_CHUNK_BYTES = 1 << 20
_ONE = '{"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}}'
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name certificates, as requests reads them."""
_lock = threading.Lock()
_open: list[Session] = []


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections that notice when the other end is gone."""

    _options: ClassVar = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *_KEEP_ALIVE]

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, socket_options=self._options)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, socket_options=self._options)


class Transport:
    """Carries the client's requests, in httplib2's manner, over a pool that all threads share."""

    def __init__(self, access: Access) -> None:
        adapter = _Adapter(pool_maxsize=access.in_flight + 1)
        self._proxies: dict[str, dict[str, str]] = {}
        self._session = requests.Session()
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        # What requests would look up in the environment for every request anew.
        self._session.verify = _certificates()
        self._session.trust_env = False
        self._timeout_s = access.timeout_s

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
        redirections: int | None = None,
        connection_type: Any = None,
        timeout_s: float | None = None,
    ) -> tuple[httplib2.Response, bytes]:
        """Send one request; see httplib2.Http.request.

        Raises:
            requests.RequestException: No whole reply came.
        """
        about: dict[str, Any] = {"data": body, "headers": headers, "stream": True}
        about["timeout"] = (_CONNECT_S, timeout_s or self._timeout_s)
        about["proxies"] = self._proxies_to(uri)
        with self._session.request(method, uri, **about) as reply:
            # Of its own accord requests reads 10 kB at a time: a hundred rounds for a tile.
            content = b"".join(reply.iter_content(_CHUNK_BYTES))
        return httplib2.Response({**reply.headers, "status": reply.status_code}), content

    def _proxies_to(self, uri: str) -> dict[str, str]:
        """Return the proxies to a host, looked up once: NO_PROXY may name tokens' hosts alone."""
        host = urlsplit(uri).netloc
        if host not in self._proxies:
            self._proxies[host] = requests.utils.get_environ_proxies(uri)
        return self._proxies[host]


def _certificates() -> str | bool:
    """Return where the certificates are that are believed; True for those of requests."""
    name = next((name for name in _CERTIFICATES if os.environ.get(name)), None)
    if name is not None and not Path(os.environ[name]).exists():
        raise RefusedError(f"{name}={os.environ[name]} is not there; name a file of certificates")
    return True if name is None else os.environ[name]


@dataclass(frozen=True, slots=True)
class Session:
    """A process signed in."""

    access: Access
    """How the service is reached."""
    project: str
    """What is metered."""
    http: Any
    """Adds the token to each request, and renews it."""

    def post(self, route: str, body: str, headers: dict[str, str]) -> tuple[Any, bytes]:
        """Send one question; return the reply's head and content.

        Args:
            route: `value:compute`, `image:computePixels` or `table:computeFeatures`
                (developers.google.com/earth-engine/reference/rest).
            body: JSON.
            headers: Beside the usual.

        Raises:
            requests.RequestException: No whole reply came.
            GoogleAuthError: The token cannot be renewed.
        """
        usual = {"content-type": "application/json", "x-goog-user-project": self.project}
        url = f"{self.access.endpoint(route)}/v1/projects/{self.project}/{route}"
        head, content = self.http.request(url, "POST", body, {**usual, **headers})
        return head, content

    def get(self, route: str) -> tuple[Any, bytes]:
        """Ask for a resource; return the reply's head and content.

        Args:
            route: Below `/v1/`, with its query.

        Raises:
            requests.RequestException: As `post`.
            GoogleAuthError: As `post`.
        """
        usual = {"x-goog-user-project": self.project}
        head, content = self.http.request(f"{self.access.url}/v1/{route}", "GET", None, usual)
        return head, content

    def knock(self, url: str) -> int:
        """Ask the smallest question there is at an endpoint; return the status of the reply.

        Raises:
            requests.RequestException: As `post`.
            GoogleAuthError: As `post`.
        """
        usual = {"content-type": "application/json", "x-goog-user-project": self.project}
        short = {"timeout_s": min(_KNOCK_S, self.access.timeout_s)}
        url = f"{url}/v1/projects/{self.project}/{VALUE}"
        head, _ = self.http.request(url, "POST", _ONE, usual, **short)
        return int(head["status"])


def connect(access: Access, send: Callable[[Callable[[], None]], object]) -> Session:
    """Return the process's session; sign in unless it is.

    The client's state is one for a process: another access takes its place.

    Args:
        access: How the service is reached.
        send: Carries out a call that makes requests; what it raises is passed on.
    """
    with _lock:
        if not _open or _open[0].access != access:
            _open.clear()
            send(lambda: _open.append(_initialize(access)))
        return _open[0]


def knock(access: Access) -> int:
    """Ask the smallest question there is at each endpoint; return the worst status of the replies.

    Each, since one may be out of reach alone: behind a firewall that knows only the other.

    Raises:
        requests.RequestException: No whole reply came.
        GoogleAuthError: The token cannot be renewed.
    """
    signed_in = next((each for each in _open if each.access == access), None)
    if signed_in is not None:
        urls = dict.fromkeys(map(access.endpoint, (VALUE, PIXELS)))
        return max(signed_in.knock(url) for url in urls)
    # Who is not signed in yet may read what the service understands.
    short = Transport(replace(access, timeout_s=min(_KNOCK_S, access.timeout_s)))
    head, _ = short.request(f"{access.url}/$discovery/rest?version=v1")
    return int(head["status"])


def _initialize(access: Access) -> Session:
    found = find_sign_in()
    project = access.project or found.project
    if not project:
        raise RefusedError(UNNAMED)
    transport = Transport(access)
    # Requests name the project themselves, and one set of credentials needs one token.
    sending = found.credentials.with_quota_project(None)
    ee.data.setMaxRetries(0)  # its own are asleep for a minute, and nobody can wake them
    try:
        ee.Initialize(
            credentials=sending, project=project, url=access.url, http_transport=transport
        )
    except requests.ConnectionError as exc:
        # Who was signed in before may have come to a network whose gate will open.
        what = network_advice(str(exc))
        if what is None:
            raise
        raise RefusedError(f"no way leads to {access.url}: {what}") from exc
    # The client sends nothing more than its start: see docs/decisions/0016.
    authorized: Any = google_auth_httplib2.AuthorizedHttp
    return Session(access, project, authorized(sending, http=transport))


def close() -> None:
    """Forget the session, so that the next request signs in anew."""
    with _lock:
        _open.clear()
        ee.Reset()
