"""The loopback Earth Engine as a thing of its own: its README, its imports, its quotas."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ee
import google.auth.exceptions
import pytest
from google.oauth2.credentials import Credentials

from mmearth.tests.earthengine.server import Server
from mmearth.tests.earthengine.told import Told

FOLDER = Path(__file__).resolve().parents[1] / "earthengine"


def test_its_readme_runs() -> None:
    [block] = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.S)
    exec(compile(block, "README.md", "exec"), {})


def test_it_imports_nothing_of_ours_outside_its_planet() -> None:
    own, planet = "mmearth.tests.earthengine", "mmearth.tests.earthengine.planet"
    for path in FOLDER.rglob("*.py"):
        if "planet" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                foreign = name.startswith("mmearth") and not name.startswith(f"{own}.")
                assert not foreign and not name.startswith(planet), f"{path} imports {name}"


@pytest.fixture
def server() -> Iterator[Server]:
    """A service that gives two users three requests in each of its long minutes."""
    users = {"a": "one", "b": "one", "c": "other"}
    with Server(Told(), users=users, per_minute=3, minute_s=1e9).running() as running:
        yield running
    ee.Reset()


def test_a_quota_is_of_a_user_whatever_his_token(server: Server) -> None:
    def ask(token: str) -> None:
        ee.Reset()
        ee.Initialize(Credentials(token=token), project="demo", url=server.url)
        ee.data.setMaxRetries(0)
        ee.Number(1).add(2).getInfo()

    for token in "aab":
        ask(token)
    with pytest.raises(ee.EEException, match="read requests per minute per user'"):
        ask("b")
    ask("c")
    with pytest.raises(google.auth.exceptions.RefreshError):
        ask("d")  # a token that it does not know
