"""A cluster that asks Earth Engine: one limit for all its processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmearth.build import Summary, build
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.visits import Options
from mmearth.tests.clusters import three_processes
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.faults import PASSING, Faults
from mmearth.tests.earthengine.planet.places import planet_of, write_places
from mmearth.tests.earthengine.server import TOKEN, Server

_N = 24
_IN_FLIGHT, _PER_SECOND, _THREADS = 3, 20, 2
_CONFIG = """
name: ee
title: Through the loopback by a cluster
modalities: [sentinel2, sentinel1, month]
source: {kind: earthengine}
tasks:
  soil_pH: {points: {path: places.csv, value: ph}}
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The planet behind the service's address; it answers the second build from memory."""
    tiles = write_places(tmp_path / "places.csv", _N)
    (tmp_path / "ee.yaml").write_text(_CONFIG)
    with Server(Evaluate(planet_of(tiles)), replies={}).running() as running:
        monkeypatch.setenv("MMEARTH_EE_URL", running.url)
        monkeypatch.setenv("MMEARTH_EE_PAUSE_S", "0.01")
        monkeypatch.setenv("MMEARTH_EE_IN_FLIGHT", str(_IN_FLIGHT))
        monkeypatch.setenv("MMEARTH_EE_PER_SECOND", str(_PER_SECOND))
        monkeypatch.setenv("EARTHENGINE_PROJECT", "demo")
        monkeypatch.setenv(sign_in.TOKEN, TOKEN)
        yield running
        assert running.crashes == []
    session.close()


@pytest.fixture
def cluster(server: Server) -> Iterator[Any]:
    """Three worker processes, which sign in with what stands in the environment by now."""
    with three_processes(_THREADS) as started:
        yield started


def test_a_killed_worker_and_faults_change_no_byte(
    server: Server, cluster: Any, tmp_path: Path
) -> None:
    calm = _build(tmp_path, "calm", None, [])
    _forget(server)
    server.latency_s = 0.2  # so that all workers have visits when one of them dies
    server.faults = Faults(tuple(kind for kind in PASSING if kind != "429-wait"), share=0.2)
    threading.Thread(target=_cut, args=(server,), daemon=True).start()
    victims = [cluster.workers[0].pid]
    wild = _build(tmp_path, "wild", cluster.scheduler_address, victims)
    assert (wild.exit_code, victims) == (0, [])
    assert wild.dataset_hash == calm.dataset_hash
    table = pq.read_table(tmp_path / "wild" / "observations.parquet")
    rows = {(row["tile"], row["modality"]) for row in table.to_pylist()}
    assert len(rows) == table.num_rows == 3 * _N
    assert server.faults.seen
    # What the dead worker had asked for is still being answered when its permits come back.
    assert 2 <= server.counters.most_in_flight <= _IN_FLIGHT + _THREADS
    assert server.counters.most_in_second <= _PER_SECOND


def _build(base: Path, name: str, scheduler: str | None, victims: list[int]) -> Summary:
    """Build; after the second tile a process of a list is killed and taken from it."""
    collected = 0

    def progress(step: str, total: int | None) -> None:
        nonlocal collected
        collected += step == "collect" and total is None
        if collected == 2 and victims:
            os.kill(victims.pop(), signal.SIGKILL)

    how = Options(None, None, scheduler, fresh=False)
    return build(base / "ee.yaml", base / name, how, progress)


def _cut(server: Server) -> None:
    """Take the network away from all workers for a second, once a few requests were answered."""
    begun = server.counters.total
    while server.counters.total < begun + 8:
        time.sleep(0.01)
    server.is_down = True
    time.sleep(1.0)
    server.is_down = False


def _forget(server: Server) -> None:
    server.counters.most_in_flight = server.counters.most_in_second = 0
