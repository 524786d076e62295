"""A dataset of Earth Engine that grows: exactly the requests of what is new, and the same bytes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmearth.build import Summary, build
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.sources.earthengine import session, sign_in
from mmearth.curate.sources.earthengine.source import AHEAD
from mmearth.curate.visits import Options
from mmearth.packaging.verify import verify
from mmearth.tests.damage import TIMES
from mmearth.tests.earthengine.evaluate import Evaluate
from mmearth.tests.earthengine.planet.places import planet_of, write_places
from mmearth.tests.earthengine.server import TOKEN, Server

_FIRST, _ALL = (4, 6) if TIMES == 1 else (40, 60)
_PARTS = ["sentinel2", "dynamic_world", "precipitation", "month", "biome"]
if TIMES > 1:
    _PARTS = [name for name in MMEARTH_BENCH.layers if name != "esa_worldcover"]
pytestmark = pytest.mark.fuzz
Build = Callable[..., tuple[Summary, Counter[str]]]


@pytest.fixture(scope="module")
def replies() -> dict[str, bytes]:
    """What the planet has answered."""
    return {}


@pytest.fixture
def server(
    tmp_path: Path, replies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """The planet behind the service's address."""
    planet = planet_of(write_places(tmp_path / "all.csv", _ALL))
    with Server(Evaluate(planet), replies=replies).running() as running:
        monkeypatch.setenv("MMEARTH_EE_URL", running.url)
        monkeypatch.setenv("EARTHENGINE_PROJECT", "demo")
        monkeypatch.setenv(sign_in.TOKEN, TOKEN)
        yield running
        assert running.crashes == []
    session.close()


@pytest.fixture
def built(tmp_path: Path, server: Server) -> Build:
    """Builds some places with some modalities; returns the summary and what was asked."""

    def run(
        out: str,
        count: int,
        modalities: list[str],
        quirks: dict[str, bool] | None = None,
        store: Path | None = None,
    ) -> tuple[Summary, Counter[str]]:
        path = _configured(tmp_path, count, modalities, quirks)
        before = Counter(server.counters.requests)
        how = Options(1, "threads", None, False, store=store)
        summary = build(path, tmp_path / out, how, lambda *_: None)
        return summary, Counter(server.counters.requests) - before

    return run


def _configured(
    folder: Path, count: int, modalities: list[str], quirks: dict[str, bool] | None = None
) -> Path:
    """Write a configuration of the first places; return its path."""
    lines = (folder / "all.csv").read_text().splitlines(keepends=True)
    (folder / "places.csv").write_text("".join(lines[: count + 1]))
    points = {"path": "places.csv", "value": "ph"}
    document: dict[str, Any] = {
        "name": "ee",
        "title": "It grows",
        "source": {"kind": "earthengine", "quirks": quirks or {}},
        "modalities": modalities,
        "tasks": {"soil_pH": {"points": points, "split": {"buffer_m": 0}}},
    }
    path = folder / "ee.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _sums(folder: Path, out: str) -> str:
    return (folder / out / "SHA256SUMS").read_text()


def test_places_layers_and_rules_cost_only_what_is_new(built: Build, tmp_path: Path) -> None:
    built("out", _FIRST, _PARTS)
    summary, asked = built("out", _ALL, _PARTS)
    n_new = _ALL - _FIRST
    assert summary.exit_code == 0
    assert asked["value:compute"] == -(-n_new // AHEAD)
    assert asked["image:computePixels"] == n_new
    fresh, _ = built("fresh", _ALL, _PARTS)
    assert _sums(tmp_path, "out") == _sums(tmp_path, "fresh")
    n_seen = fresh.samples["soil_pH"]

    summary, asked = built("out", _ALL, [*_PARTS, "esa_worldcover"])
    assert set(summary.difference["collect"]) == {"esa_worldcover"}
    assert asked["image:computePixels"] == n_seen
    assert asked["value:compute"] == -(-n_seen // AHEAD)  # the map's version, of several tiles
    built("fresh-2", _ALL, [*_PARTS, "esa_worldcover"])
    assert _sums(tmp_path, "out") == _sums(tmp_path, "fresh-2")

    quirks = {"january_looks_ahead": True}
    summary, asked = built("out", _ALL, [*_PARTS, "esa_worldcover"], quirks)
    touched = [name for name in _PARTS if name in ("precipitation", "temperature")]
    changed = {"recipe or source changed": n_seen}
    assert summary.difference["collect"] == dict.fromkeys(touched, changed)
    assert (asked["value:compute"], asked["image:computePixels"]) == (-(-n_seen // AHEAD), 0)
    built("fresh-3", _ALL, [*_PARTS, "esa_worldcover"], quirks)
    assert _sums(tmp_path, "out") == _sums(tmp_path, "fresh-3")


def test_what_two_datasets_want_is_fetched_once(built: Build, tmp_path: Path) -> None:
    store = tmp_path / "store"
    built("one", _FIRST, _PARTS, store=store)
    summary, asked = built("two", _ALL, [*_PARTS, "esa_worldcover"], store=store)
    assert summary.difference["stored"] == dict.fromkeys(_PARTS, _FIRST)
    assert asked["image:computePixels"] == _ALL  # of the new tiles, and of the new layer
    assert asked["value:compute"] <= -(-_ALL // AHEAD)
    shutil.rmtree(store)
    built("fresh", _ALL, [*_PARTS, "esa_worldcover"])
    assert _sums(tmp_path, "two") == _sums(tmp_path, "fresh")
    assert verify(tmp_path / "two") == []


@pytest.mark.parametrize("is_killed", [False, True])
def test_two_builds_at_once_fetch_every_tile_once(
    is_killed: bool, server: Server, tmp_path: Path
) -> None:
    config = _configured(tmp_path, _FIRST, _PARTS)
    server.latency_s = 0.1
    builds = [_begin(config, tmp_path / name) for name in ("one", "two")]
    if is_killed:
        while server.counters.requests["image:computePixels"] < 2:
            time.sleep(0.01)
        builds[0].kill()
        builds[0].wait()
        builds[0] = _begin(config, tmp_path / "one")
    assert [each.wait() for each in builds] == [0, 0]
    # A kill costs what was in flight: a tile of each thread, and what it had not kept yet.
    n_twice = server.counters.requests["image:computePixels"] - _FIRST
    assert 0 <= n_twice <= (_FIRST if is_killed else 0)
    assert _sums(tmp_path, "one") == _sums(tmp_path, "two")
    build(config, tmp_path / "fresh", Options(1, "threads", None, False), lambda *_: None)
    assert _sums(tmp_path, "one") == _sums(tmp_path, "fresh")


def _begin(config: Path, out: Path) -> subprocess.Popen[bytes]:
    """Begin a build with the store, in another process."""
    command = [sys.executable, "-c", "from mmearth.cli import main; main()", "-q", "curate"]
    command += ["build", str(config), "-o", str(out), "--store", str(config.parent / "store")]
    return subprocess.Popen([*command, "--workers", "2"])
