"""A cluster whose workers are killed makes the bytes of one thread: nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mmearth.build import Options, build
from mmearth.catalog.errors import ConfigError, UnavailableError
from mmearth.catalog.executor import Workers, open_executor, run
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.store import Location
from mmearth.catalog.tile import Tile
from mmearth.curate.collect import Job, collect
from mmearth.curate.packs import Packs
from mmearth.curate.shared_limit import SharedLimit, address_towards, serve_limit
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.packaging.rebuild import rebuild
from mmearth.packaging.verify import verify
from mmearth.tests.clusters import three_processes
from mmearth.tests.collected import read_location
from mmearth.tests.make_tiny import OWN, make_sealed

_CONFIG = """
name: cluster
title: A dataset for a cluster
source: { kind: synthetic, seed: 7 }
modalities: [sentinel2, month]
tasks:
  biomass: { labels: { count: 40 } }
  soil_pH: { labels: { count: 40 } }
"""


@pytest.fixture(scope="module")
def _started() -> Iterator[Any]:
    """Three worker processes, each under a nanny that starts it anew when it dies."""
    with three_processes(2) as started:
        yield started


@pytest.fixture
def cluster(_started: Any) -> Any:
    """The cluster with all its workers, whichever an earlier test has killed."""
    with _started.get_client() as client:
        client.wait_for_workers(3, timeout=60)
    return _started


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "cluster.yaml"
    path.write_text(_CONFIG)
    return path


@pytest.fixture(scope="module")
def undisturbed(config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("threads") / "data"
    assert build(config, out, Options(2, "threads", None, False), lambda *_: None).exit_code == 0
    return _files(out)


def _files(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".curate" not in path.parts
    }


def test_a_cluster_proves_a_dataset(cluster: Any, tmp_path: Path) -> None:
    root = make_sealed(tmp_path / "dataset", 5, OWN)
    rebuild(root)
    how = Workers(scheduler=cluster.scheduler_address)
    assert verify(root, how) == []
    shard = next(root.glob("shards/crop/*.tar"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    found = verify(root, how)
    assert found == verify(root) == verify(root, Workers(2)) != []
    assert shard.relative_to(root).as_posix() in {finding.path for finding in found}


def test_killed_workers_change_no_byte(
    cluster: Any, config: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    collected, killed = 0, []

    def progress(step: str, total: int | None) -> None:
        nonlocal collected
        if step == "collect" and total is None:
            collected += 1
            if collected in {5, 30}:
                victim = cluster.workers[len(killed)].pid
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)

    how = Options(1, "processes", cluster.scheduler_address, False)
    summary = build(config, tmp_path / "cluster", how, progress)
    assert summary.exit_code == 0
    assert len(set(killed)) == 2
    assert _files(tmp_path / "cluster") == undisturbed
    with sqlite3.connect(tmp_path / "cluster" / LEDGER) as ledger:
        tries, rows, tiles = ledger.execute(
            "SELECT max(tries), count(*), count(DISTINCT tile) FROM observations"
        ).fetchone()
    assert tries == 1  # each visit came back once
    assert tiles == collected
    assert rows >= 2 * collected


def test_a_build_goes_on_after_its_cluster_was_closed(
    config: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    collected = 0
    with distributed.LocalCluster(
        n_workers=2,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as closing:

        def progress(step: str, total: int | None) -> None:
            nonlocal collected
            if step == "collect" and total is None:
                collected += 1
                if collected == 10:
                    closing.close()

        how = Options(1, "processes", closing.scheduler_address, False)
        with pytest.raises(UnavailableError, match="was closed; run the same command again"):
            build(config, tmp_path / "data", how, progress)
    kept = collected
    assert kept >= 10
    summary = build(config, tmp_path / "data", Options(2, "threads", None, False), progress)
    assert summary.exit_code == 0
    assert collected == sum(summary.tiles["biomass"].values()) + sum(
        summary.tiles["soil_pH"].values()
    )  # none was visited again
    assert _files(tmp_path / "data") == undisturbed


def test_a_visit_that_kills_every_worker_ends_the_run(cluster: Any) -> None:
    with (
        pytest.raises(UnavailableError, match="lost its workers"),
        open_executor("processes", 1, cluster.scheduler_address) as (executor, n_at_once),
    ):
        # A function that workers can import.
        run([9], os._exit, executor, n_at_once, lambda _: None)  # type: ignore[list-item, arg-type]


def test_workers_with_another_mmearth_are_refused(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    older = tmp_path / "mmearth-0.0.1.dist-info" / "METADATA"
    older.parent.mkdir()
    older.write_text("Metadata-Version: 2.1\nName: mmearth\nVersion: 0.0.1\n")
    module = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--no-dashboard"]
    with distributed.LocalCluster(
        n_workers=0, protocol="tcp://", host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as empty:
        address = empty.scheduler_address
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        with subprocess.Popen([*module, address], env=environment, cwd=tmp_path) as worker:
            try:
                with empty.get_client() as client:
                    client.wait_for_workers(1, timeout=60)
                with (
                    pytest.raises(
                        ConfigError,
                        match=r"mmearth 0\.0\.1, expected .* as here; install the",
                    ),
                    open_executor("processes", 1, address),
                ):
                    pass
            finally:
                worker.kill()


def test_one_visit_made_many_times_at_once_is_one_visit(cluster: Any, tmp_path: Path) -> None:
    # As when the scheduler gives up a worker that only was slow, and its visit to another one.
    job = Job(Tile(32633, 500_000, 4_649_760), ("sentinel2", "month"), None, ("sentinel2",))
    work = partial(collect, source=Synthetic(7), packs=Packs(tmp_path, MMEARTH_BENCH, True))
    with open_executor("processes", 1, cluster.scheduler_address) as (executor, _):
        made = [executor.submit(work, job) for _ in range(24)]
        visits = [future.result() for future in made]
    for image, month in visits:
        assert replace(image, path=None, byte_offset=None) == replace(
            visits[0][0], path=None, byte_offset=None
        )
        assert month == visits[0][1]
        at = Location(image.path, image.byte_offset, image.bytes, image.sha256)
        read_location(tmp_path, at, "it")  # whichever of them the ledger names
    assert [record.state for record in visits[0]] == ["done", "done"]
    assert len({image.path for image, _ in visits}) == 3  # a pack for each process


def test_the_whole_cluster_keeps_one_limit(cluster: Any) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
    with (
        serve_limit(4, 40, address_towards(cluster.scheduler_address)) as limit,
        open_executor("processes", 1, cluster.scheduler_address) as (executor, n_at_once),
    ):
        assert n_at_once == 6  # without a limit, six would fly
        asked = [executor.submit(_ask, limit) for _ in range(120)]
        spans = sorted(future.result(60) for future in asked)
    begun, ended = [span[0] for span in spans], sorted(span[1] for span in spans)
    assert max(bisect_right(begun, t + 1.0) - i for i, t in enumerate(begun)) <= 40
    assert max(i + 1 - bisect_right(ended, t) for i, t in enumerate(begun)) <= 4
    assert begun[-1] - begun[0] < 10.0  # 120 at 40 a second, on a busy machine
    assert len({span[2] for span in spans}) == 3  # all processes had a part in it


def _ask(limit: SharedLimit) -> tuple[float, float, int]:
    """Return when a request began and ended, and in which process it was."""
    with limit.permit():
        begun = time.time()
        time.sleep(0.03)
        return begun, time.time(), os.getpid()
