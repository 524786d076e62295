"""The commands that ask Earth Engine, and a build that is killed while it does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmearth.curate.config import load_config
from mmearth.curate.source import Visit
from mmearth.curate.sources import make_source
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.sources.earthengine.cost import calibrate
from mmearth.curate.sources.earthengine.source import EarthEngine
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.faults import PASSING, Faults
from mmearth.tests.earthengine.planet import Planet
from mmearth.tests.earthengine.planet.places import SEED, planet_of, write_places
from mmearth.tests.earthengine.server import TOKEN, Server

_N = 12
_KILLED_AFTER = 4, 1, 7
"""Requests of each build that is killed."""
_CONFIG = """
name: ee
title: Through the loopback
source: {kind: earthengine}
tasks:
  soil_pH: {points: {path: places.csv, value: ph}}
"""
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the configuration and the table of places."""
    path = tmp_path_factory.mktemp("cli")
    (path / "ee.yaml").write_text(_CONFIG)
    few = f"{_CONFIG}modalities: [sentinel2, sentinel1, month]\n"
    (path / "few.yaml").write_text(few)
    (path / "dated.yaml").write_text(few.replace("value: ph", "value: ph, date: day"))
    return path


@pytest.fixture(scope="module")
def planet(base: Path) -> Planet:
    """The planet of all places."""
    return planet_of(write_places(base / "places.csv", _N))


@pytest.fixture(scope="module")
def replies() -> dict[str, bytes]:
    """What the planet has answered: it is slow, and always says the same."""
    return {}


@pytest.fixture(scope="module")
def costs() -> dict[str, float]:
    """What those answers cost."""
    return {}


@pytest.fixture
def server(
    planet: Planet,
    replies: dict[str, bytes],
    costs: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Server]:
    """The planet behind the service's address."""
    with Server(Evaluate(planet), replies=replies, costs=costs).running() as running:
        for name, value in _environment(running).items():
            monkeypatch.setenv(name, value)
        yield running
        assert running.crashes == []
    session.close()


def _environment(server: Server) -> dict[str, str]:
    return {
        "MMEARTH_EE_URL": server.url,
        "MMEARTH_EE_PAUSE_S": "0.01",
        "EARTHENGINE_PROJECT": "demo",
        sign_in.TOKEN: TOKEN,
    }


def test_doctor_shows_what_is_in_use(server: Server, run_cli: Cli) -> None:
    code, out, _ = run_cli("doctor")
    assert code == 0
    assert len(out.splitlines()) <= 25
    for part in (
        "CLOUDSDK_AUTH_ACCESS_TOKEN",
        "demo",
        server.url,
        "150 EECU-hours",
        "answer    ok: one metered request",
    ):
        assert part in out
    assert server.counters.total == 1


def test_doctor_says_what_is_missing(
    server: Server, run_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(sign_in.TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)
    assert run_cli("doctor", "--offline", "--json")[0] == 0, "nobody asked for Earth Engine"
    code, out, _ = run_cli("doctor", "earthengine", "--offline", "--json")
    found = json.loads(out)
    assert (code, found["exit_code"]) == (6, 6)
    assert "earthengine authenticate" in found["earthengine"]["missing"][0]
    assert server.counters.total == 0


def test_plan_counts_for_nothing_and_calibrates_for_little(
    base: Path, server: Server, run_cli: Cli
) -> None:
    code, out, _ = run_cli("curate", "plan", base / "ee.yaml", "--json")
    plan = json.loads(out)
    assert (code, plan["n_tiles"], plan["requests"]) == (0, _N, _N + 3)
    assert plan["eecu_hours"] is None
    assert server.counters.total == 0
    code, out, _ = run_cli("curate", "plan", base / "ee.yaml", "--calibrate", "2", "--json")
    plan = json.loads(out)
    assert (code, plan["n_tried"]) == (0, 2)
    assert server.counters.total == 5  # both together, each alone, and two kinds of price


@pytest.mark.parametrize("config", ["few.yaml", "dated.yaml"])
def test_a_plan_costs_what_the_build_costs(
    base: Path, server: Server, run_cli: Cli, tmp_path: Path, config: str
) -> None:
    """All tiles are tried, in fours and with their dates: nothing is left to be guessed."""
    code, out, _ = run_cli("curate", "plan", base / config, "--calibrate", str(_N), "--json")
    plan = json.loads(out)
    assert (code, plan["n_tried"]) == (0, _N)
    before = server.counters.eecu_s
    build = ("curate", "build", base / config, "-o", tmp_path / "out", "--workers", "1")
    assert run_cli(*build)[0] == 0
    true = server.counters.eecu_s - before
    assert true > 0
    assert plan["eecu_hours"] == pytest.approx(true / 3600, rel=0.01)


def test_a_request_for_four_tiles_costs_four(base: Path, server: Server) -> None:
    """Three requests are charged as much as twelve: what is computed counts."""
    source = make_source(load_config(base / "few.yaml"), base)
    assert isinstance(source, EarthEngine)
    tiles = sorted(planet_of(write_places(base / "places.csv", _N)).ground.tiles)
    visits = [Visit(tile, ("sentinel2",), None) for tile in tiles]
    costs = [calibrate(source, visits, ahead).prices["value:compute"] for ahead in (1, 4)]
    assert [price.n for price in costs] == [_N, _N // 4]
    assert costs[0].eecu_s == pytest.approx(costs[1].eecu_s, rel=0.01)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_budget_is_not_overdrawn(
    base: Path, server: Server, run_cli: Cli, tmp_path: Path, share: float
) -> None:
    code, out, _ = run_cli("curate", "plan", base / "few.yaml", "--calibrate", str(_N), "--json")
    budget = share * json.loads(out)["eecu_hours"]
    before = server.counters.eecu_s
    build = ("curate", "build", base / "few.yaml", "-o", tmp_path / "out")
    code, _, err = run_cli(*build, "--budget-eecu", str(budget))
    assert (code, "goes on where it stopped" in err) == (5, True)
    assert server.counters.eecu_s - before <= 1.05 * budget * 3600


@pytest.mark.parametrize(
    ("budget", "spent"),
    [
        (("--budget-requests", "5"), 5),
        (("--budget-eecu", "100", "--budget-requests", "9"), 9),
        (("--budget-eecu", "100", "--budget-requests", "2"), 2),
    ],
)
def test_a_spent_budget_is_exit_code_5(
    base: Path, server: Server, run_cli: Cli, tmp_path: Path, budget: tuple[str, str], spent: int
) -> None:
    build = ("curate", "build", base / "few.yaml", "-o", tmp_path / "out", "--workers", "1")
    code, _, err = run_cli(*build, *budget)
    assert (code, "goes on where it stopped" in err) == (5, True)
    # What the first profiles cost is asked for beside the budget, in two requests.
    asked_price = 2 * ("--budget-eecu" in budget)
    assert spent - 1 <= server.counters.total <= spent + asked_price
    before = server.counters.total
    assert run_cli(*build)[0] == 0
    assert server.counters.total - before <= _N + 3


def test_a_plan_says_what_it_would_cost(base: Path, server: Server, run_cli: Cli) -> None:
    code, out, _ = run_cli("curate", "plan", base / "ee.yaml", "--calibrate", "1")
    assert code == 0
    parts = (f"{_N} tiles × 12 modalities", " GB of shards", f"{_N + 3} requests", " s at best")
    for part in parts:
        assert part in out
    assert re.search(r"EECU-hours: about \d+\.\d\d, tried on 1 tiles", out)


def test_a_dataset_against_its_source(
    base: Path, server: Server, run_cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_cli("curate", "build", base / "ee.yaml", "-o", out)[0] == 0
    check = ("packaging", "verify", out, "--against-source", "4", "--config", base / "ee.yaml")
    code, _, err = run_cli(*check)
    assert (code, "the samples fetched again are the same" in err) == (0, True)
    tiles = planet_of(write_places(base / "places.csv", _N)).ground.tiles
    server.evaluate, server.replies = Evaluate(Planet(SEED + 1, tiles)), None
    code, said, _ = run_cli(*check)
    assert code == 4
    assert "the source" in said and ".sentinel2" in said
    assert run_cli("packaging", "verify", out, "--against-source", "1")[0] == 2


def test_killed_builds_end_in_the_same_bytes(base: Path, server: Server, tmp_path: Path) -> None:
    kinds = tuple(kind for kind in PASSING if kind != "429-wait")
    assert _build(base, tmp_path / "calm", server, None) == 0
    server.faults = Faults(kinds, share=0.2, seed=2)
    for n_requests in _KILLED_AFTER:
        assert _build(base, tmp_path / "wild", server, n_requests) == -signal.SIGKILL
    assert _build(base, tmp_path / "wild", server, None) == 0
    calm, wild = (json.loads((tmp_path / n / "dataset.json").read_text()) for n in ("calm", "wild"))
    assert calm["dataset_hash"] == wild["dataset_hash"]
    rows = pq.read_table(tmp_path / "wild" / "observations.parquet").select(["tile", "modality"])
    assert rows.num_rows == len({tuple(row.values()) for row in rows.to_pylist()}) == 12 * _N


def _build(base: Path, out: Path, server: Server, killed_after: int | None) -> int:
    """Build in another process; kill it after some requests, if it is to be killed."""
    command = [sys.executable, "-c", "from mmearth.cli import main; main()", "-q"]
    command += ["curate", "build", str(base / "ee.yaml"), "-o", str(out)]
    before = server.counters.total
    with subprocess.Popen(
        command, env={**os.environ, **_environment(server)}, stderr=subprocess.DEVNULL
    ) as process:
        if killed_after is not None:
            while server.counters.total < before + killed_after and process.poll() is None:
                time.sleep(0.002)
            process.kill()
        return process.wait()
