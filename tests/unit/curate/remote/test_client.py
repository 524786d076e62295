"""Requests wait for whom they must, come back whole, and tell no secret."""

from __future__ import annotations

import datetime
import email.utils
import json
import logging
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.errors import ConfigError, RefusedError, SourceError, UnavailableError
from mmearth.curate.limit import LocalLimit
from mmearth.curate.outage import Patience
from mmearth.curate.remote import sign
from mmearth.curate.remote.access import RemoteAccess, remote_access
from mmearth.curate.remote.address import public, reachable
from mmearth.curate.remote.client import Client, MissingError, ServerError, seconds_of
from mmearth.curate.shared_limit import serve_limit
from mmearth.tests.range_server import Answer, Fault, RangeServer, serving

CONTENT = bytes(range(256)) * 400
PATH = "/account/container/a.tif"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    path = tmp_path / PATH.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    with serving(tmp_path) as running:
        yield running
    sign.forget()


def client(tmp_path: Path, limit: Any = None, sas: dict[str, str] | None = None) -> Client:
    access = RemoteAccess(tmp_path / "cache", 10**9, pause_s=0.001, longest_pause_s=2.0)
    return Client(access, limit or LocalLimit(40, 1000.0), sas or {})


def test_a_part_is_what_was_asked_for(server: RangeServer, tmp_path: Path) -> None:
    part = client(tmp_path).part(server.url + PATH, 300, 1000)
    assert (part.begin, part.data, part.length) == (300, CONTENT[300:1000], len(CONTENT))
    end = client(tmp_path).part(server.url + PATH, len(CONTENT) - 5, len(CONTENT) + 100)
    assert end.data == CONTENT[-5:]


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_nobody_asks_before_retry_after(
    server: RangeServer, tmp_path: Path, form: str, status: int
) -> None:
    asked = client(tmp_path)
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    told: int | str = 1 if form == "seconds" else email.utils.format_datetime(when, usegmt=True)
    server.faults.append(Fault("status", times=1, status=status, retry_after_s=told))
    begin = time.monotonic()
    assert asked.part(server.url + PATH, 0, 10).data == CONTENT[:10]
    assert time.monotonic() - begin >= 1.0  # a date has no fractions of a second
    assert server.n_requests == 2


def test_retry_after_is_read_in_both_forms_and_bounded() -> None:
    assert seconds_of("5", 60.0) == 5.0
    assert seconds_of("100000", 60.0) == 300.0
    assert seconds_of("Mon, 01 Jan 2024 00:00:00 GMT", 60.0) == 0.0
    assert seconds_of("soon", 60.0) is None and seconds_of("", 60.0) is None


@pytest.mark.parametrize("kind", ["truncate", "reset", "shift"])
def test_what_comes_in_part_is_never_taken_for_whole(
    server: RangeServer, tmp_path: Path, kind: Any
) -> None:
    server.faults.append(Fault(kind, times=1))
    if kind == "shift":
        with pytest.raises(SourceError, match="another part than was asked for"):
            client(tmp_path).part(server.url + PATH, 0, 100)
    else:
        assert client(tmp_path).part(server.url + PATH, 0, 100).data == CONTENT[:100]


def test_a_file_may_be_missing_once(server: RangeServer, tmp_path: Path) -> None:
    server.faults.append(Fault("status", times=1, status=404))
    assert client(tmp_path).part(server.url + PATH, 0, 10).data == CONTENT[:10]
    with pytest.raises(MissingError, match=r"none\.tif is not there"):
        client(tmp_path).part(f"{server.url}/none.tif", 0, 10)
    assert [path for path, _ in server.asked].count("/none.tif") == 2


def test_each_host_has_a_limit_of_its_own_and_one_budget(
    server: RangeServer, tmp_path: Path
) -> None:
    limit = LocalLimit(40, 1000.0, budget=3)
    with serving(tmp_path) as other:
        asked = client(tmp_path, limit)
        asked.part(server.url + PATH, 0, 10)
        asked.part(other.url + PATH, 0, 10)
    hosts = [url.partition("://")[2] for url in (server.url, other.url)]
    assert limit.of(hosts[0], 1, 1.0) is not limit.of(hosts[1], 1, 1.0)
    assert limit.left == 1


def test_a_shared_limit_has_hosts_too(server: RangeServer, tmp_path: Path) -> None:
    with serve_limit(40, 1000.0, "127.0.0.1", budget=2) as shared:
        asked = pickle.loads(pickle.dumps(client(tmp_path, shared)))
        asked.part(server.url + PATH, 0, 10)
        asked.part(server.url + PATH, 0, 10)
        with pytest.raises(RefusedError, match="budget of requests is spent"):
            asked.part(server.url + PATH, 0, 10)


def test_a_host_that_is_gone_is_waited_for_no_longer_than_told(
    server: RangeServer, tmp_path: Path
) -> None:
    patience = Patience(0.01, 0.05, 0.2)
    asked = client(tmp_path, LocalLimit(4, 1000.0, patience=patience))
    with pytest.raises(UnavailableError, match="did not answer"):
        asked.part("http://127.0.0.1:9/a.tif", 0, 10)


class Tokens:
    """A service of signatures, and the guard of the files that they open."""

    def __init__(self, life_s: float) -> None:
        self.life_s, self.given, self.valid = life_s, 0, ""

    def answer(self, path: str, query: str, body: bytes) -> Answer:
        self.given += 1
        self.valid = f"sig=secret{self.given}"
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.life_s)
        told = {"token": self.valid, "msft:expiry": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return 200, json.dumps(told).encode(), {}

    def guard(self, path: str, query: str) -> int | None:
        return None if query == self.valid else 403


def signing(server: RangeServer, tmp_path: Path, life_s: float = 3600.0) -> tuple[Client, Tokens]:
    tokens = Tokens(life_s)
    server.routes["/sas/"], server.guard = tokens.answer, tokens.guard
    prefix = sign.container(server.url + PATH)
    assert prefix == f"{server.url}/account/container/"
    return client(tmp_path, sas={prefix: f"{server.url}/sas"}), tokens


def test_a_container_is_signed_once(server: RangeServer, tmp_path: Path) -> None:
    asked, tokens = signing(server, tmp_path)
    for begin in range(5):
        assert asked.part(server.url + PATH, begin, 10).data == CONTENT[begin:10]
    assert tokens.given == 1
    assert next(path for path, _ in server.asked) == "/sas/account/container"


def test_a_signature_is_renewed_before_its_end_and_once_on_403(
    server: RangeServer, tmp_path: Path
) -> None:
    asked, tokens = signing(server, tmp_path, life_s=1.0)
    asked.part(server.url + PATH, 0, 10)
    time.sleep(1.1)
    asked.part(server.url + PATH, 0, 10)
    assert tokens.given == 2
    asked, tokens = signing(server, tmp_path)
    sign.forget()
    asked.part(server.url + PATH, 0, 10)
    tokens.valid = "sig=other"  # revoked before its time
    asked.part(server.url + PATH, 0, 10)
    assert tokens.given == 2
    server.guard = lambda path, query: 403
    n_asked = server.n_requests
    with pytest.raises(SourceError, match=r"a\.tif may not be read \(status 403\)"):
        asked.part(server.url + PATH, 0, 10)
    assert server.n_requests - n_asked == 3  # refused, signed anew, refused


def test_no_signature_is_ever_told(
    server: RangeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked, _ = signing(server, tmp_path)
    server.faults += [Fault("truncate", match=PATH, times=2), Fault("reset", match=PATH, times=9)]
    with pytest.raises(UnavailableError) as error:
        asked.part(server.url + PATH, 0, 100)
    assert "secret" not in caplog.text and "secret" not in str(error.getrepr(style="long"))
    assert "secret" not in repr(asked)


def test_who_gets_no_signature_is_told_what_to_do(server: RangeServer, tmp_path: Path) -> None:
    asked, _ = signing(server, tmp_path)
    server.routes["/sas/"] = lambda path, query, body: (401, b"", {})
    with pytest.raises(RefusedError, match="set PC_SDK_SUBSCRIPTION_KEY"):
        asked.part(server.url + PATH, 0, 10)
    sign.forget()
    server.routes["/sas/"] = Tokens(60.0).answer
    server.guard = None
    server.faults.append(Fault("status", match="/sas/", times=2, status=429, retry_after_s=0))
    assert asked.part(server.url + PATH, 0, 10).data == CONTENT[:10]


def test_json_is_posted_and_a_failing_host_is_told_apart(
    server: RangeServer, tmp_path: Path
) -> None:
    server.routes["/search"] = lambda path, query, body: (200, body, {})
    assert client(tmp_path).json(f"{server.url}/search", {"limit": 2}) == {"limit": 2}
    server.faults.append(Fault("status", match="/search", status=502))
    with pytest.raises(ServerError, match="status 502"):
        client(tmp_path).json(f"{server.url}/search", {"limit": 2}, tries=2)


def test_addresses() -> None:
    azure = "https://a.blob.core.windows.net/c/x.tif"
    assert public(f"{azure}?sv=1&sig=abc%3D&path=%2Fb") == f"{azure}?path=%2Fb"
    assert public("https://user:word@host/x.tif") == "https://host/x.tif"
    assert sign.container(azure) == "https://a.blob.core.windows.net/c/"
    assert reachable("s3://bucket/k/x.tif", None) == "https://bucket.s3.amazonaws.com/k/x.tif"
    assert reachable("s3://bucket/x.tif", "http://here") == "http://here/bucket/x.tif"
    with pytest.raises(ConfigError, match="expected https://"):
        reachable("ftp://host/x.tif", None)


def test_the_environment_says_how_hosts_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMEARTH_CACHE_GB", "0.5")
    monkeypatch.setenv("MMEARTH_CACHE", "/somewhere")
    found = remote_access()
    assert (found.cache, found.cache_bytes) == (Path("/somewhere"), 500_000_000)
    monkeypatch.setenv("MMEARTH_HTTP_TRIES", "none")
    with pytest.raises(ConfigError, match="MMEARTH_HTTP_TRIES is 'none'"):
        remote_access()
