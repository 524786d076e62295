"""Two requests a tile, many at once, against the published way: 43, one after the other.

And a build of 500 tiles that ends in the same bytes whatever fails and however often it is killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.collect import Job
from mmearth.curate.ledger import Record
from mmearth.curate.limit import LocalLimit
from mmearth.curate.packs import Packs
from mmearth.curate.recipes import RECIPES
from mmearth.curate.source import Visit
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.sources.earthengine.access import Access
from mmearth.curate.sources.earthengine.source import EarthEngine
from mmearth.curate.visits import Options, visit_all
from mmearth.tests.earthengine.counters import text_hash
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.faults import PASSING, Faults
from mmearth.tests.earthengine.planet.places import planet_of, write_places
from mmearth.tests.earthengine.replay import replaying, stats
from mmearth.tests.earthengine.server import TOKEN, Server
from mmearth.tests.performance import reference_driver

_N, _N_REFERENCE, _N_LONG, _KILLS = 200, 3, 500, 12
_LATENCY_S, _TRUE_LATENCY_S = 0.1, 2.0
_PER_SECOND = 100.0
_CONFIG = """
name: ee
title: Faults and kills
source: {kind: earthengine}
tasks: {soil_pH: {points: {path: places.csv, value: ph}}}
"""

pytestmark = pytest.mark.performance


@dataclass(frozen=True)
class Recorded:
    """A service's replies to both ways of asking."""

    tiles: list[Tile]
    replies: dict[str, bytes]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Replies of the evaluating service, so that it is not the limit later."""
    base = tmp_path_factory.mktemp("recorded")
    tiles = write_places(base / "places.csv", _N)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(sign_in.TOKEN, TOKEN)
        replies: dict[str, bytes] = {}
        evaluate = Evaluate(planet_of(tiles))
        with Server(evaluate, replies=replies, hash=text_hash).running() as server:
            source = _source(server.url, 1000.0)
            _collect(source, tiles, base / "out")
            _reference(source, tiles)
            assert server.crashes == []
        session.close()
        yield Recorded(tiles, replies)
    session.close()


def _source(url: str, per_second: float, pixels_url: str | None = None) -> EarthEngine:
    access = Access("demo", url, pixels_url, per_second=per_second)
    source = EarthEngine(MMEARTH_BENCH, RECIPES["default"], 15, access, LocalLimit(40, per_second))
    source.service.sign_in()
    return source


def _collect(source: EarthEngine, tiles: list[Tile], out: Path) -> tuple[float, list[Record]]:
    """Collect all tiles as a build does; return seconds and records."""
    jobs = [Job(tile, tuple(MMEARTH_BENCH.layers), None, ("sentinel2",)) for tile in sorted(tiles)]
    records: list[Record] = []
    begin = time.perf_counter()
    how = Options(None, None, None, fresh=False)
    visit_all(jobs, len(jobs), source, Packs(out, MMEARTH_BENCH), how, records.extend)
    return time.perf_counter() - begin, records


def _reference(source: EarthEngine, tiles: list[Tile]) -> tuple[float, int]:
    """Ask for tiles the published way; return seconds a tile and requests a tile."""
    clear = [tile for tile in tiles if _is_clear(source, tile)][:_N_REFERENCE]
    begin = time.perf_counter()
    requests = [reference_driver.visit(tile) for tile in clear]
    return (time.perf_counter() - begin) / len(clear), max(requests)


def _is_clear(source: EarthEngine, tile: Tile) -> bool:
    return not isinstance(source.observe(Visit(tile, ("sentinel2",), None))["sentinel2"], Exception)


@contextmanager
def _both(recorded: Recorded, tmp_path: Path, latency_s: float) -> Iterator[tuple[str, str]]:
    """Serve values and pixels from two processes, as the two endpoints are."""
    with (
        replaying(recorded.replies, tmp_path / "replies", latency_s) as values,
        replaying(recorded.replies, tmp_path / "pixels", latency_s) as pixels,
    ):
        yield values, pixels


def _stats(urls: tuple[str, str]) -> dict[str, Any]:
    """Return the requests of both together, and the most that either saw."""
    both = [stats(url) for url in urls]
    most = {name: max(each[name] for each in both) for name in ("most_in_flight", "most_in_second")}
    return {"total": sum(each["total"] for each in both), **most}


def test_against_the_published_way(recorded: Recorded, tmp_path: Path) -> None:
    with _both(recorded, tmp_path, _LATENCY_S) as (values, pixels):
        source = _source(values, _PER_SECOND, pixels)
        seconds, records = _collect(source, recorded.tiles, tmp_path / "out")
        found = _stats((values, pixels))
        assert set(stats(values)["requests"]) == {"value:compute"}
        assert set(stats(pixels)["requests"]) == {"image:computePixels"}
    session.close()
    with replaying(recorded.replies, tmp_path / "replies", _LATENCY_S) as url:
        theirs, n_requests = _reference(_source(url, _PER_SECOND), recorded.tiles[:10])
    session.close()
    _report(seconds, found)
    ratio = theirs / (seconds / _N)
    print(f"published way {1 / theirs:.3f} tiles/s: {ratio:.0f} times")
    assert not [record for record in records if record.state == "failed"]
    assert n_requests == reference_driver.N_REQUESTS
    assert found["total"] / _N <= 1.3
    assert 35 <= found["most_in_flight"] <= 40
    assert found["most_in_second"] <= _PER_SECOND
    assert ratio >= 150.0


def test_as_many_in_flight_as_the_service_allows(recorded: Recorded, tmp_path: Path) -> None:
    # What is in flight is requests a second times latency; the true service takes seconds.
    with _both(recorded, tmp_path, _TRUE_LATENCY_S) as (values, pixels):
        source = _source(values, _PER_SECOND, pixels)
        seconds, records = _collect(source, recorded.tiles, tmp_path / "out")
        found = _stats((values, pixels))
    session.close()
    _report(seconds, found)
    assert not [record for record in records if record.state == "failed"]
    assert found["most_in_flight"] <= 40
    assert found["most_in_second"] <= _PER_SECOND
    assert _N / seconds >= 8.0  # 40 in flight for 2 s are 16 tiles a second at most


def _report(seconds: float, found: dict[str, Any]) -> None:
    print(
        f"\n{_N / seconds:.1f} tiles/s, {found['total'] / _N:.2f} requests a tile, "
        f"{found['most_in_flight']} in flight and {found['most_in_second']} in a second at most"
    )


@pytest.mark.timeout(3600)
def test_five_hundred_tiles_with_faults_and_kills(tmp_path: Path) -> None:
    tiles = write_places(tmp_path / "places.csv", _N_LONG)
    (tmp_path / "ee.yaml").write_text(_CONFIG)
    with Server(Evaluate(planet_of(tiles)), replies={}).running() as server:
        assert _build(tmp_path, "calm", server, None) == 0
        server.faults = Faults(PASSING, share=0.2, seed=5)
        luck, kills, begin = random.Random(6), 0, time.perf_counter()
        while code := _build(tmp_path, "wild", server, luck.uniform(4.0, 10.0), kills):
            assert code == -signal.SIGKILL
            kills += 1
        seconds = time.perf_counter() - begin
        assert server.crashes == []
    print(f"\n{kills} kills, {len(server.faults.seen)} requests refused first, {seconds:.0f} s")
    calm, wild = (json.loads((tmp_path / n / "dataset.json").read_text()) for n in ("calm", "wild"))
    assert calm["dataset_hash"] == wild["dataset_hash"]
    rows = pq.read_table(tmp_path / "wild" / "observations.parquet").select(["tile", "modality"])
    n_tiles = len(pq.read_table(tmp_path / "wild" / "tiles.parquet"))
    assert rows.num_rows == len({tuple(row.values()) for row in rows.to_pylist()}) == 12 * n_tiles
    assert kills >= 2 and n_tiles > 0.9 * _N_LONG


def _build(base: Path, name: str, server: Server, seconds: float | None, kills: int = 0) -> int:
    """Build in another process, killed after some seconds unless that was done often enough."""
    command = [sys.executable, "-c", "from mmearth.cli import main; main()", "-q"]
    command += ["curate", "build", str(base / "ee.yaml"), "-o", str(base / name)]
    account = {
        "MMEARTH_EE_URL": server.url,
        "MMEARTH_EE_PAUSE_S": "0.1",
        "EARTHENGINE_PROJECT": "demo",
        sign_in.TOKEN: TOKEN,
    }
    with subprocess.Popen(command, env=os.environ | account) as process:
        try:
            return process.wait(seconds if kills < _KILLS else None)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
