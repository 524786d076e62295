"""Where each question goes, over which connections, and what it is called in the bill."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import ee
import pytest
import requests

from mmearth.catalog.errors import ConfigError, RefusedError
from mmearth.catalog.tile import Tile
from mmearth.curate.limit import LocalLimit
from mmearth.curate.outage import Patience
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.sources.earthengine.access import (
    HIGH_VOLUME,
    STANDARD,
    Access,
    access_of_environment,
)
from mmearth.curate.sources.earthengine.advice import network_advice
from mmearth.curate.sources.earthengine.service import Service
from mmearth.curate.sources.earthengine.source import workload_tag
from mmearth.tests.earthengine.server import TOKEN, Server
from mmearth.tests.earthengine.told import Told


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server]]:
    """A service for what aggregates, and another for pixels."""
    monkeypatch.setenv(sign_in.TOKEN, TOKEN)
    with Server(Told()).running() as values, Server(Told()).running() as pixels:
        yield values, pixels
    session.close()


def test_pixels_go_to_the_one_and_the_rest_to_the_other(servers: tuple[Server, Server]) -> None:
    values, pixels = servers
    service = Service(Access("demo", values.url, pixels.url), LocalLimit(4, 1000.0))
    service.value(service.made(lambda: ee.Number(1).add(2)))
    list(service.features(service.made(lambda: ee.FeatureCollection("x/y"))))
    service.pixels(service.made(lambda: ee.Image.constant(7).toUint16()), Tile(32633, 0, 0))
    assert dict(values.counters.requests) == {"value:compute": 1, "table:computeFeatures": 2}
    assert dict(pixels.counters.requests) == {"image:computePixels": 1}


def test_endpoints_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MMEARTH_EE_URL", "MMEARTH_EE_PIXELS_URL"):
        monkeypatch.delenv(name, raising=False)
    usual = access_of_environment()
    assert usual.endpoint("value:compute") == usual.endpoint("table:computeFeatures") == STANDARD
    assert usual.endpoint("image:computePixels") == HIGH_VOLUME
    monkeypatch.setenv("MMEARTH_EE_URL", "http://127.0.0.1:1/")
    assert access_of_environment().endpoint("image:computePixels") == "http://127.0.0.1:1"
    monkeypatch.setenv("MMEARTH_EE_PIXELS_URL", "http://127.0.0.1:2/")
    assert access_of_environment().endpoint("image:computePixels") == "http://127.0.0.1:2"
    assert access_of_environment().endpoint("value:compute") == "http://127.0.0.1:1"


@pytest.mark.parametrize("value", ["inf", "nan", "0", "-1", "many"])
def test_a_limit_of_the_environment_is_a_number(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MMEARTH_EE_IN_FLIGHT", value)
    with pytest.raises(ConfigError, match=f"MMEARTH_EE_IN_FLIGHT is '{value}'; expected a number"):
        access_of_environment()


def test_one_endpoint_out_of_reach_is_waited_for(servers: tuple[Server, Server]) -> None:
    """The other answers all the while, so that only asking this one tells when it is back."""
    values, pixels = servers
    access = Access("demo", values.url, pixels.url, tries=4, pause_s=0.01)
    service = Service(access, LocalLimit(8, 1000.0, patience=Patience(0.02, 0.1, 30.0)))
    image = service.made(lambda: ee.Image.constant(7).toUint16())
    pixels.is_down = True
    with ThreadPoolExecutor(8) as pool:
        replies = [pool.submit(service.pixels, image, Tile(32633, 0, 0)) for _ in range(16)]
        time.sleep(0.6)
        assert not any(reply.done() for reply in replies)
        pixels.is_down = False
        for reply in replies:
            assert reply.result(timeout=20).shape == (128, 128)


def test_each_host_has_its_own_proxy(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine at Google behind a proxy, whose metadata server is asked directly."""
    monkeypatch.setenv("http_proxy", servers[1].url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers[1].is_down = True
    transport = session.Transport(Access("demo", "http://service.invalid"))
    head, _ = transport.request(f"{servers[0].url}/$discovery/rest")
    assert int(head["status"]) == 200
    with pytest.raises(requests.ConnectionError):
        transport.request("http://service.invalid/$discovery/rest")


class _Closed(BaseHTTPRequestHandler):
    """A proxy that wants to know who asks."""

    def do_CONNECT(self) -> None:
        self.send_response(407, "Proxy Authentication Required")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Write no log."""


def test_a_proxy_that_asks_who_it_is_is_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sign_in.TOKEN, TOKEN)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Closed) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.server_port}")
        service = Service(Access("demo", "https://service.invalid"), LocalLimit(4, 1000.0))
        with pytest.raises(
            RefusedError,
            match=r"no way leads to https://service\.invalid: .*HTTPS_PROXY=http://user",
        ):
            service.sign_in()
        proxy.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("REQUESTS_CA_BUNDLE", "/no/such.pem", "REQUESTS_CA_BUNDLE=/no/such.pem is not there"),
        ("https_proxy", "http://:8080", "mend EARTHENGINE_PROJECT, MMEARTH_EE_URL or HTTPS_PROXY"),
        ("MMEARTH_EE_URL", "service.invalid", "mend EARTHENGINE_PROJECT, MMEARTH_EE_URL or"),
        ("MMEARTH_EE_URL", "ftp://service.invalid", "mend EARTHENGINE_PROJECT, MMEARTH_EE_URL or"),
    ],
)
def test_what_can_never_be_sent_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    for variable in ("MMEARTH_EE_URL", "https_proxy"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("MMEARTH_EE_URL", "https://service.invalid")
    monkeypatch.setenv("EARTHENGINE_PROJECT", "demo")
    monkeypatch.setenv(sign_in.TOKEN, TOKEN)
    monkeypatch.setenv(name, value)
    limit = LocalLimit(4, 1000.0, patience=Patience(0.02, 0.1, 0.2))
    with pytest.raises(RefusedError, match=sentence):
        Service(access_of_environment(), limit).sign_in()


def test_what_a_network_wants_of_a_person() -> None:
    """The words of OpenSSL, as requests passes them on."""
    error = (
        "HTTPSConnectionPool(host='earthengine.googleapis.com', port=443): Max retries exceeded "
        "with url: /$discovery/rest (Caused by SSLError(SSLCertVerificationError(1, '[SSL: "
        "CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate "
        "(_ssl.c:1006)')))"
    )
    assert "REQUESTS_CA_BUNDLE" in str(network_advice(error))
    assert network_advice("Connection refused") is None


@pytest.mark.parametrize("through_proxy", [False, True])
def test_a_vanished_peer_is_noticed_within_a_minute(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch, through_proxy: bool
) -> None:
    """No packet can be lost on loopback: the options that the kernel obeys are what can be seen."""
    opened: list[socket.socket] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        opened.append(self)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    url = "http://service.invalid" if through_proxy else servers[0].url
    if through_proxy:
        monkeypatch.setenv("http_proxy", servers[0].url)
    transport = session.Transport(Access("demo", url))
    transport.request(f"{url}/$discovery/rest")
    ours = int(servers[0].url.rpartition(":")[2])
    [one] = {each for each in opened if each.fileno() >= 0 and each.getpeername()[1] == ours}
    tcp = socket.IPPROTO_TCP
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    idle, interval, count = (one.getsockopt(tcp, getattr(socket, name)) for name in names)
    assert idle + interval * count <= 60
    assert one.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 60_000
    assert one.getsockopt(tcp, socket.TCP_NODELAY) == 1


def test_every_request_of_a_build_carries_its_tag(servers: tuple[Server, Server]) -> None:
    bodies: list[dict[str, Any]] = []
    values, pixels = servers
    for server in servers:
        answer = server.answer
        server.answer = lambda path, body, to=answer: bodies.append(body) or to(path, body)  # type: ignore[method-assign,misc,assignment]
    tag = workload_tag("My Größe 7!", "0123456789abcdef")
    access = Access("demo", values.url, pixels.url)
    service = Service(access, LocalLimit(4, 1000.0), tag=tag)
    service.value(service.made(lambda: ee.Number(1)))
    next(service.features(service.made(lambda: ee.FeatureCollection("x/y"))))
    service.pixels(service.made(lambda: ee.Image.constant(7)), Tile(32633, 0, 0))
    assert [body["workloadTag"] for body in bodies] == [tag] * 3
    untagged = Service(access, LocalLimit(4, 1000.0))
    untagged.value(untagged.made(lambda: ee.Number(2)))
    assert "workloadTag" not in bodies[-1]


@pytest.mark.parametrize("name", ["soil", "My Größe 7!", "x" * 100, "-", ""])
def test_a_tag_is_one_that_the_service_takes(name: str) -> None:
    found = workload_tag(name, "0123456789abcdef")
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,61}[a-z0-9]", found)
    assert found.startswith("mmearth-") and found.endswith("-01234567")
