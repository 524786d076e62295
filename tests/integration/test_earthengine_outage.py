"""Builds whose network goes away: nothing is lost, nothing is sealed that is not whole."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmearth.build import build
from mmearth.curate.config import load_config
from mmearth.curate.source import Visit
from mmearth.curate.sources import make_source
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.sources.earthengine.source import EarthEngine
from mmearth.curate.visits import Options
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.faults import Faults
from mmearth.tests.earthengine.planet.places import planet_of, write_places
from mmearth.tests.earthengine.server import TOKEN, Server

_N = 4
_CONFIG = """
name: ee
title: Through a network that goes away
modalities: [sentinel2, month]
source: {kind: earthengine}
tasks: {soil_pH: {points: {path: places.csv, value: ph}}}
"""
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the configuration and the table of places."""
    path = tmp_path_factory.mktemp("outage")
    (path / "ee.yaml").write_text(_CONFIG)
    write_places(path / "places.csv", _N)
    return path


@pytest.fixture(scope="module")
def replies() -> dict[str, bytes]:
    """What the planet has answered."""
    return {}


@pytest.fixture
def server(
    base: Path, replies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """The planet behind the service's address."""
    planet = planet_of(write_places(base / "places.csv", _N))
    with Server(Evaluate(planet), replies=replies).running() as running:
        monkeypatch.setenv("MMEARTH_EE_URL", running.url)
        monkeypatch.setenv("MMEARTH_EE_PAUSE_S", "0.01")
        monkeypatch.setenv("MMEARTH_EE_LONGEST_PAUSE_S", "0.05")
        monkeypatch.setenv("EARTHENGINE_PROJECT", "demo")
        monkeypatch.setenv(sign_in.TOKEN, TOKEN)
        yield running
        assert running.crashes == []
    session.close()


def _cut(server: Server, after: int) -> threading.Thread:
    """Cut the network for good after some requests."""

    def act() -> None:
        while server.counters.total < after:
            time.sleep(0.001)
        server.is_down = True

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_what_could_not_be_asked_is_not_sealed(
    base: Path, server: Server, run_cli: Cli, tmp_path: Path
) -> None:
    one = ("--workers", "1")  # no pool of processes, which takes longer to start than all the rest
    command = ("curate", "build", base / "ee.yaml", *one, "-o", tmp_path / "out")
    _cut(server, 3)
    code, _, err = run_cli(*command, "--wait", "0.3s")
    assert code == 3
    found = re.search(r"INCOMPLETE: (\d+) tiles? could not be asked; run the same command", err)
    assert found is not None and 1 <= int(found[1]) <= _N
    assert "is complete" not in err and "curate retry" not in err
    assert not (tmp_path / "out" / "dataset.json").exists()
    code, out, _ = run_cli(*command, "--wait", "0.3s", "--json")
    summary = json.loads(out)
    assert (code, summary["dataset_hash"], summary["exit_code"]) == (3, None, 3)
    assert summary["unsealed"].startswith("INCOMPLETE: ")

    code, _, err = run_cli(*command, "--wait", "0.3s", "--seal-incomplete")
    assert (code, "is complete" in err) == (3, True)
    incomplete = json.loads((tmp_path / "out" / "dataset.json").read_text())["dataset_hash"]
    server.is_down, before = False, server.counters.total
    assert run_cli(*command)[0] == 0
    assert server.counters.total - before <= int(found[1]) + -(-int(found[1]) // 4)
    whole = json.loads((tmp_path / "out" / "dataset.json").read_text())["dataset_hash"]
    assert whole != incomplete


def test_a_budget_whose_price_cannot_be_asked_for(
    base: Path, server: Server, run_cli: Cli, tmp_path: Path
) -> None:
    server.is_down = True
    begin = time.monotonic()
    command = ("curate", "build", base / "ee.yaml", "-o", tmp_path / "out", "--wait", "0.3s")
    code, _, err = run_cli(*command, "--budget-eecu", "1")
    assert (code, "or with a longer --wait" in err) == (3, True)
    assert time.monotonic() - begin < 10.0


def test_doctor_does_not_wait(server: Server, run_cli: Cli) -> None:
    server.is_down = True
    begin = time.monotonic()
    _, out, _ = run_cli("doctor", "earthengine", "--json")
    assert time.monotonic() - begin < 10.0
    [missing] = json.loads(out)["earthengine"]["missing"]
    assert "the connection to Earth Engine failed" in missing


def test_ctrl_c_during_an_outage(base: Path, server: Server, tmp_path: Path) -> None:
    cutting = _cut(server, 2)

    def interrupt() -> None:
        cutting.join()
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    how = Options(None, None, None, fresh=False)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build(base / "ee.yaml", tmp_path / "out", how, lambda *_: None)
    assert time.monotonic() - begin < 10.0


def test_too_many_aggregations_are_asked_for_one_by_one(base: Path, server: Server) -> None:
    """Each distinct question is refused once: the shared one is not repeated, the others are."""
    source = make_source(load_config(base / "ee.yaml"), base)
    assert isinstance(source, EarthEngine)
    visits = [Visit(tile, ("sentinel2",), None) for tile in write_places(base / "places.csv", _N)]
    server.faults = Faults(("aggregations",), share=1.0, times=1)
    source.look_ahead(visits)
    assert (server.counters.total, source.answers) == (1, {})
    for visit in visits:
        source.observe(Visit(visit.tile, tuple(visit.wanted), None))
    assert server.counters.requests["value:compute"] == 1 + 2 * _N
    assert sorted(server.counters.bodies.values())[0] == 1


@pytest.mark.parametrize("wait", ["", "30", "-5m", "soon", "5 weeks"])
def test_a_wait_is_a_length_of_time(base: Path, run_cli: Cli, tmp_path: Path, wait: str) -> None:
    command = ("curate", "build", base / "ee.yaml", "-o", tmp_path / "out", "--wait", wait)
    code, _, err = run_cli(*command)
    assert (code, "expected 90s, 30m, 12h or 2d" in err) == (2, True)
