"""An open world, and sources that ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.limit import LocalLimit
from mmearth.curate.recipes import quirks_of
from mmearth.curate.remote.access import RemoteAccess
from mmearth.curate.sources.stac.config import StacConfig
from mmearth.curate.sources.stac.source import Stac
from mmearth.tests.open_data.world import World, world


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("planet")) as running:
        yield running


@pytest.fixture(autouse=True)
def _as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "planet" in request.fixturenames:
        found = request.getfixturevalue("planet")
        found.items = {"es": [], "pc": []}
        found.server.forget()
        found.server.latency_s = 0.0
        found.searches.clear()
        found.paging, found.valid = "merged", ""
        found.page, found.reverse, found.spoil, found.life_s = None, False, None, 3600.0


@pytest.fixture
def made(planet: World, tmp_path: Path) -> Callable[..., Stac]:
    def make(**config: Any) -> Stac:
        how = {"pause_s": 0.001, "longest_pause_s": 0.01, "s3_url": f"{planet.server.url}/s3"}
        access = RemoteAccess(tmp_path / "cache", 10**9, **how)  # type: ignore[arg-type]
        said = {"kind": "stac", "catalogs": planet.catalogs} | config
        limit = LocalLimit(40, 1000.0)
        return Stac(StacConfig(**said), MMEARTH_BENCH, quirks_of("default", {}), access, limit)

    return make
