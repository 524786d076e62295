"""Every way to sign in, against a token endpoint that refuses what Google refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ee
import google.auth.compute_engine._metadata as metadata
import pytest

from mmearth.catalog.errors import RefusedError, UnavailableError
from mmearth.curate.limit import LocalLimit
from mmearth.curate.sources.earthengine import session
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.doctor import diagnose
from mmearth.curate.sources.earthengine.service import Service
from mmearth.curate.sources.earthengine.sign_in import KEY_FILE, TOKEN
from mmearth.tests.earthengine import tokens as endpoint
from mmearth.tests.earthengine.faults import Faults
from mmearth.tests.earthengine.replay import Nothing
from mmearth.tests.earthengine.server import TOKEN as LOOPBACK
from mmearth.tests.earthengine.server import Server
from mmearth.tests.earthengine.tokens import Tokens


class Three(Nothing):
    """Answers the one question that is asked here."""

    def value(self, graph: Mapping[str, Any]) -> Any:
        """Return three."""
        return 3


@pytest.fixture(scope="module")
def keys() -> Iterator[Tokens]:
    """A token endpoint, made once: its key takes a moment."""
    with Tokens(LOOPBACK).running() as running:
        yield running


@pytest.fixture
def tokens(keys: Tokens, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tokens]:
    """The endpoint, and a home where nobody has signed in."""
    for name in (TOKEN, KEY_FILE, "GOOGLE_CLOUD_PROJECT", "EARTHENGINE_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setattr(metadata, "_NO_GCE_CHECK", True)
    monkeypatch.setattr(ee.oauth, "TOKEN_URI", f"{keys.url}/token")
    of_users = "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT"
    monkeypatch.setattr(of_users, f"{keys.url}/token")
    (tmp_path / "gcloud").mkdir()
    keys.asked.clear()
    keys.clock_s, keys.unavailable, keys.granted = 0.0, 0, (endpoint.PLATFORM,)
    keys.audience = Tokens.audience
    yield keys
    session.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A loopback service that knows the endpoint's token."""
    with Server(Three()).running() as running:
        yield running


def _ask(server: Server, project: str | None = "demo") -> Any:
    service = Service(Access(project, server.url, tries=2, pause_s=0.01), LocalLimit(4, 1000.0))
    return service.value(service.made(lambda: ee.Number(1).add(2)))


def _client_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / ".config" / "earthengine" / "credentials"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def _set_up(way: str, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign in one way."""
    gcloud = tmp_path / "gcloud" / "application_default_credentials.json"
    if way == "token":
        monkeypatch.setenv(TOKEN, LOOPBACK)
    elif way == "client":
        _client_file(tmp_path, f'{{"refresh_token": "{endpoint.REFRESH_TOKEN}"}}')
        tokens.granted = tuple(ee.oauth.SCOPES)
    elif way == "gcloud":
        tokens.user_file(gcloud)
    elif way == "machine":
        monkeypatch.setattr(metadata, "_NO_GCE_CHECK", False)
        monkeypatch.setattr(metadata, "_GCE_METADATA_HOST", tokens.url.removeprefix("http://"))
        monkeypatch.setenv("GCE_METADATA_IP", tokens.url.removeprefix("http://"))
    else:
        write = {"key": tokens.key_file, "federation": tokens.federation_file}[way]
        monkeypatch.setenv(KEY_FILE, str(write(tmp_path / "key.json")))
    if way == "federation":
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo")


@pytest.mark.parametrize(
    ("way", "asked", "identity"),
    [
        ("token", [], f"an access token, from {TOKEN}"),
        ("client", ["refresh"], "a user account, from "),
        ("key", ["jwt"], f"a service account, {endpoint.EMAIL}, from {KEY_FILE}="),
        ("gcloud", ["refresh"], "a user account, from gcloud"),
        ("machine", ["metadata"], "the account of this machine, from the metadata server"),
        ("federation", ["exchange"], f"workload identity federation, from {KEY_FILE}="),
    ],
)
def test_every_way_signs_in(
    server: Server,
    tokens: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    asked: list[str],
    identity: str,
) -> None:
    _set_up(way, tokens, tmp_path, monkeypatch)
    found = diagnose(Access("demo", server.url, tries=1), ask=True)
    assert found.missing == ()
    assert found.answer == "ok: one metered request was answered"
    assert found.identity.startswith(identity)
    assert tokens.asked == asked
    assert server.counters.requests["value:compute"] == 1


def test_a_service_account_names_its_project(
    server: Server, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_up("key", tokens, tmp_path, monkeypatch)
    assert diagnose(Access(None, server.url), ask=False).project == "demo"
    assert _ask(server, project=None) == 3


def test_what_the_client_stored_comes_first(
    server: Server, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for way in ("key", "client"):
        _set_up(way, tokens, tmp_path, monkeypatch)
    assert _ask(server) == 3
    assert tokens.asked == ["refresh"]
    identity = diagnose(Access("demo", server.url), ask=False).identity
    assert f"{KEY_FILE} is set, but that file comes first" in identity


@pytest.mark.parametrize("stored", ['{"project": "demo"}', None])
def test_a_file_without_a_refresh_token_is_passed_over(
    server: Server,
    tokens: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stored: str | None,
) -> None:
    _set_up("key", tokens, tmp_path, monkeypatch)
    if stored is not None:
        _client_file(tmp_path, stored)
    assert _ask(server) == 3
    assert tokens.asked == ["jwt"]


def test_an_expired_token_is_renewed_in_the_middle(
    server: Server, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_up("key", tokens, tmp_path, monkeypatch)
    assert _ask(server) == 3
    server.faults = Faults(("expired-token",), share=1.0)
    assert _ask(server) == 3
    assert tokens.asked == ["jwt", "jwt"]


def test_a_bare_token_cannot_be_renewed(
    server: Server, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "yesterday's")
    with pytest.raises(RefusedError, match=rf"has expired; write `export {TOKEN}=\$\(gcloud"):
        _ask(server)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"client_email": "gone@demo.iam.gserviceaccount.com"}, "that still exists"),
        ({"private_key": "another"}, "make a new key of the service account"),
        ({"audience": "https://elsewhere"}, "this one is for another token endpoint"),
        ({"clock_s": "7200"}, "set this machine's clock"),
    ],
)
def test_a_key_that_google_refuses(
    server: Server,
    tokens: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    sentence: str,
) -> None:
    tokens.clock_s = float(changes.get("clock_s", 0.0))
    tokens.audience = changes.get("audience", tokens.audience)
    path = tmp_path / "key.json"
    if "private_key" in changes:
        Tokens(LOOPBACK, url=tokens.url).key_file(path)
    else:
        tokens.key_file(path, **changes)
    monkeypatch.setenv(KEY_FILE, str(path))
    with pytest.raises(RefusedError, match=sentence):
        _ask(server)


def test_a_revoked_sign_in(
    server: Server, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tokens.user_file(tmp_path / "user.json", refresh_token="old")
    monkeypatch.setenv(KEY_FILE, str(path))
    with pytest.raises(RefusedError, match=r"expired or revoked.*`gcloud auth application-default"):
        _ask(server)


def test_a_federation_of_another_pool(
    server: Server, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tokens.federation_file(tmp_path / "pool.json", audience=endpoint.POOL + "x")
    monkeypatch.setenv(KEY_FILE, str(path))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo")
    with pytest.raises(RefusedError, match=r"another token endpoint or pool"):
        _ask(server)


def test_a_token_endpoint_that_is_down_may_come_back(
    server: Server, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_up("gcloud", tokens, tmp_path, monkeypatch)
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)
    tokens.unavailable = 99
    with pytest.raises(UnavailableError, match="no token now"):
        _ask(server)


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_file_that_is_no_json(server: Server, tokens: Tokens, tmp_path: Path, text: str) -> None:
    path = _client_file(tmp_path, text)
    with pytest.raises(RefusedError, match=f"{path} cannot be read .*earthengine authenticate"):
        _ask(server)


@pytest.mark.parametrize("name", [TOKEN, KEY_FILE])
def test_an_empty_variable_is_none(
    server: Server, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "")
    with pytest.raises(RefusedError, match="nobody is signed in to Earth Engine"):
        _ask(server)
    _client_file(tmp_path, f'{{"refresh_token": "{endpoint.REFRESH_TOKEN}"}}')
    assert "comes first" not in diagnose(Access("demo", server.url), ask=False).identity


def test_a_token_with_the_line_that_it_was_read_with(
    server: Server, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, f"{LOOPBACK}\n")
    assert _ask(server) == 3


@pytest.mark.parametrize("text", [None, "{", '{"type": "secret"}'])
def test_a_key_file_of_no_use(
    server: Server,
    tokens: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
) -> None:
    path = tmp_path / "key.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv(KEY_FILE, str(path))
    with pytest.raises(RefusedError, match=f"{KEY_FILE}={path} is of no use"):
        _ask(server)


def test_nobody(server: Server, tokens: Tokens) -> None:
    with pytest.raises(RefusedError, match="nobody is signed in to Earth Engine"):
        _ask(server)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("no-project", "the ID, not the name, of a project that exists"),
        ("unregistered", r"register the project at https://code\.earthengine"),
        ("not-signed-up", "register the project"),
        ("disabled", "enable the Earth Engine API of the project"),
        ("no-role", r"ask the project's owner for the roles `roles/serviceusage"),
        ("no-scope", r"--scopes=https://www\.googleapis\.com/auth/earthengine"),
        ("suspended", "appeal at Google"),
        ("forbidden", "mmearth doctor"),
    ],
)
def test_who_is_signed_in_is_told_what_is_missing(
    server: Server, tokens: Tokens, monkeypatch: pytest.MonkeyPatch, kind: str, sentence: str
) -> None:
    """And not to sign in, which he is."""
    monkeypatch.setenv(TOKEN, LOOPBACK)
    server.refuses = kind
    with pytest.raises(RefusedError, match=sentence) as at_the_start:
        _ask(server)
    server.refuses = None
    assert _ask(server) == 3
    server.refuses = kind
    before = server.counters.total
    with pytest.raises(RefusedError, match=sentence) as caught:
        _ask(server)
    assert str(at_the_start.value) == str(caught.value)
    assert "run `earthengine authenticate`" not in str(caught.value)
    assert server.counters.total == before + 1
    found = diagnose(Access("demo", server.url, tries=1), ask=True)
    assert (found.answer, found.exit_code, found.missing) == ("refused", 6, (str(caught.value),))
