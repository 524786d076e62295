"""Two hundred tiles through an outage of a minute and a sleep of two, with the waits as they are.

The build is a process of its own, which is stopped and continued as a laptop is. Seven minutes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmearth.curate.sources.earthengine.sign_in import KEY_FILE, TOKEN
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.faults import Faults
from mmearth.tests.earthengine.planet.places import planet_of, write_places
from mmearth.tests.earthengine.server import Server
from mmearth.tests.earthengine.tokens import Tokens

_N, _OUTAGE_S, _SLEEP_S = 200, 60.0, 120.0
_CONFIG = """
name: ee
title: Outage and sleep
source: {kind: earthengine}
tasks:
  soil_pH: {points: {path: places.csv, value: ph}}
  biomass: {points: {path: few.csv}}
"""

pytestmark = pytest.mark.performance


def _start(base: Path, name: str, server: Server) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from mmearth.cli import main; main()"]
    command += ["curate", "build", str(base / "ee.yaml"), "-o", str(base / name)]
    account = {
        "MMEARTH_EE_URL": server.url,
        "EARTHENGINE_PROJECT": "demo",
        KEY_FILE: str(base / "key.json"),
    }
    usual = {key: value for key, value in os.environ.items() if key != TOKEN}
    return subprocess.Popen(command, env=usual | account)


def _disturb(server: Server, tokens: Tokens, build: subprocess.Popen[bytes]) -> None:
    def after(n: int) -> None:
        while server.counters.total < n:
            assert build.poll() is None
            time.sleep(0.01)

    def renew(token: str) -> None:
        tokens.token, server.users = token, {token: "me"}

    after(50)
    server.is_down = True
    time.sleep(_OUTAGE_S)
    server.is_down = False
    after(110)
    renew("second")
    after(170)
    build.send_signal(signal.SIGSTOP)
    server.is_down = True
    renew("third")
    time.sleep(_SLEEP_S)
    build.send_signal(signal.SIGCONT)
    time.sleep(5.0)  # until a laptop has found its network again
    server.is_down = False


@pytest.mark.timeout(3600)
def test_two_hundred_tiles_through_an_outage_and_a_sleep(tmp_path: Path) -> None:
    tiles = write_places(tmp_path / "places.csv", _N)
    lines = (tmp_path / "places.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join([lines[0], *lines[1::50]]) + "\n")
    (tmp_path / "ee.yaml").write_text(_CONFIG)
    seconds: dict[str, float] = {}
    with (
        Tokens("first").running() as tokens,
        Server(Evaluate(planet_of(tiles)), replies={}, users={"first": "me"}).running() as server,
    ):
        tokens.key_file(tmp_path / "key.json")
        server.faults = Faults(("per-minute",), share=0.03, seed=1)
        for name in ("wild", "calm"):
            begin, n_asked = time.perf_counter(), server.counters.total
            build = _start(tmp_path, name, server)
            if name == "wild":
                _disturb(server, tokens, build)
            assert build.wait() == 0
            seconds[name] = time.perf_counter() - begin
            print(f"\n{name}: {seconds[name]:.0f} s, {server.counters.total - n_asked} requests")
        assert server.crashes == []
        print(f"{len(server.faults.seen)} limits per minute, {len(tokens.asked)} tokens")
    calm, wild = (json.loads((tmp_path / n / "dataset.json").read_text()) for n in ("calm", "wild"))
    assert calm["dataset_hash"] == wild["dataset_hash"]
    assert seconds["wild"] >= _OUTAGE_S + _SLEEP_S
