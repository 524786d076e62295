"""What a build is charged, what the plan said, and what the ways that were given up would be.

The double charges a request for the pixels that it reads, `tests/earthengine/evaluate/charges.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.errors import QuotaError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.collect import Job
from mmearth.curate.collectors.collector import Place
from mmearth.curate.limit import LocalLimit
from mmearth.curate.packs import Packs
from mmearth.curate.recipes import RECIPES
from mmearth.curate.source import Visit
from mmearth.curate.sources.earthengine import session, sign_in, template
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.cost import calibrate
from mmearth.curate.sources.earthengine.source import AHEAD, EarthEngine
from mmearth.curate.visits import CALIBRATED, Options, spread, visit_all
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.planet.places import planet_of, write_places
from mmearth.tests.earthengine.server import TOKEN, Server

_N = 60
_NAMES = tuple(MMEARTH_BENCH.layers)

pytestmark = pytest.mark.performance


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[Tile]:
    """Tiles on land, sorted as a plan is."""
    return sorted(write_places(tmp_path_factory.mktemp("cost") / "places.csv", _N))


@pytest.fixture(scope="module")
def server(tiles: list[Tile]) -> Iterator[Server]:
    """The planet behind two addresses that are one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(sign_in.TOKEN, TOKEN)
        with Server(Evaluate(planet_of(tiles)), replies={}).running() as running:
            yield running
            assert running.crashes == []
    session.close()


def _source(server: Server) -> EarthEngine:
    source = EarthEngine(
        MMEARTH_BENCH, RECIPES["default"], 15, Access("demo", server.url), LocalLimit(40, 1000.0)
    )
    source.service.sign_in()
    return source


def _build(server: Server, tiles: list[Tile], out: Path, hours: float | None) -> float:
    """Collect as a build does; return the EECU-seconds that were charged."""
    jobs = [Job(tile, _NAMES, None, ("sentinel2",)) for tile in tiles]
    before = server.counters.eecu_s
    how = Options(None, None, None, fresh=False, budget_eecu=hours)
    try:
        visit_all(jobs, len(jobs), _source(server), Packs(out, MMEARTH_BENCH), how, lambda _: None)
    except QuotaError:
        assert hours is not None
    return server.counters.eecu_s - before


def test_a_plan_and_a_budget(server: Server, tiles: list[Tile], tmp_path: Path) -> None:
    true = _build(server, tiles, tmp_path / "all", None)
    visits = [Visit(tile, _NAMES, None) for tile in tiles]
    found = calibrate(_source(server), spread(visits, CALIBRATED), AHEAD)
    said = found.eecu_s / found.n_tiles * len(tiles)
    # As it was: the first three tiles by name, each alone, the mean of a request, 1.25 a tile.
    alone = calibrate(_source(server), visits[:3], 1)
    a_request = alone.eecu_s / sum(price.n for price in alone.prices.values())
    said_before = a_request * 1.25 * len(tiles)
    print(f"\n{_N} tiles: {true:.0f} EECU-s, {true / _N:.2f} a tile")
    print(f"plan: {said / true:.2f} of it; before {said_before / true:.2f}")
    for share in (0.3, 0.6):
        budget = share * true
        spent = _build(server, tiles, tmp_path / str(share), budget / 3600)
        affordable = budget / a_request / 1.25 * true / len(tiles)
        print(f"budget {budget:.0f}: spent {spent / budget:.3f}; before {affordable / budget:.2f}")
        assert spent <= 1.05 * budget


def test_shares_of_bands_of_20_m(
    server: Server, tiles: list[Tile], monkeypatch: pytest.MonkeyPatch
) -> None:
    visits = [Visit(tile, ("sentinel2",), None) for tile in tiles]
    scalars, pixels = [], []
    mean = Place.mean

    def fine(self: Place, image: Any, scale_m: int | None = None) -> Any:
        return mean(self, image)

    for way in (mean, fine):
        monkeypatch.setattr(Place, "mean", way)
        template._forms.clear()
        found = calibrate(_source(server), visits, AHEAD)
        scalars.append(found.prices["value:compute"].eecu_s * 1e6)
        pixels.append(found.bytes)
    template._forms.clear()
    ours, theirs = (found / 1e6 for found in scalars)
    print(f"\nscalars of {_N} tiles: {ours:.1f} M pixels; all in 10 m {theirs:.1f} M")
    assert pixels[0] == pixels[1]
    assert scalars[0] <= 0.6 * scalars[1]
