"""The acceptance run of tests/online against the loopback service: it runs, and it reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.tile import tiles_at
from mmearth.curate.sources.earthengine import granules, session, sign_in
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.planet import Planet
from mmearth.tests.earthengine.planet.places import SEED
from mmearth.tests.earthengine.server import TOKEN, Server
from mmearth.tests.online import acceptance


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A planet that knows the tiles of the run."""
    lon, lat = zip(*acceptance.PRICED, strict=True)
    tiles = [*acceptance.TILES.values(), acceptance.FOREST, *tiles_at(lon, lat, DEFAULT_GRID)]
    with Server(Evaluate(Planet(SEED, tiles))).running() as running:
        monkeypatch.setenv("MMEARTH_EE_URL", running.url)
        monkeypatch.setenv("MMEARTH_EE_PAUSE_S", "0.01")
        monkeypatch.setenv("EARTHENGINE_PROJECT", "demo")
        monkeypatch.setenv(sign_in.TOKEN, TOKEN)
        monkeypatch.setattr(granules, "_indices", {})
        yield running
        assert running.crashes == []
    session.close()


def test_every_step_is_taken_and_told(server: Server) -> None:
    done = acceptance.run(n_priced=4)
    assert [row.step for row in done.rows if not row.is_good] == []
    assert [row.step for row in done.rows][:-1] == list(acceptance.STEPS)
    assert done.metered == server.counters.total
    table = done.tables()
    assert "| a tile of `default` | COPERNICUS/S2_SR_HARMONIZED/2020" in table
    assert "| an image of no bands |" in table and "image has 0" in table
    assert f"{server.counters.requests['value:compute']} value:compute" in table


def test_a_step_that_fails_is_told_and_stops_no_other(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sign_in.TOKEN, "nobody's")
    done = acceptance.run(n_priced=2)
    assert len(done.rows) == len(acceptance.STEPS) + 1
    assert [row.is_good for row in done.rows] == [False] * len(acceptance.STEPS) + [True]
    assert all("has expired" in row.found for row in done.rows[:-1])


def test_the_table_does_not_name_the_project(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARTHENGINE_PROJECT", "secret-37")
    monkeypatch.setattr(acceptance, "STEPS", {"a step": lambda _: ("of secret-37,\nor", True)})
    table = acceptance.run().tables()
    assert "| of PROJECT, or | ok |" in table and "secret" not in table
