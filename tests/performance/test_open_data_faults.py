"""Five hundred tiles of signed files while one reply in five fails, signatures end and builds die.

`MMEARTH_OPEN_TILES` tiles, 500 unless it is set, of scenes that hold 25 tiles each.
"""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml

from mmearth.build import Summary, build
from mmearth.catalog.tile import Tile
from mmearth.curate.visits import Options
from mmearth.tests.open_data.disturbed import built_though_killed, disturbed
from mmearth.tests.open_data.world import Scene, world

pytestmark = pytest.mark.performance
N_TILES = int(os.environ.get("MMEARTH_OPEN_TILES", "500"))
_EACH, _ACROSS = 25, 27
"""Tiles of a scene, and of a row of tiles."""
_LATENCY_S = 0.02
_LIFE_S = 3.0
_KILLS = (1, 2, 3, 4, 5)
"""Each build is killed after so many twentieths of the requests of an undisturbed one."""


def _config(base: Path, catalogs: list[dict[str, str]], days: list[str]) -> Path:
    """Write places side by side, each with the day of its scene."""
    rows = []
    for i in range(N_TILES):
        row, column = divmod(i, _ACROSS)
        tile = Tile(32633, 500_500 + 1_310 * column, 5_001_000 - 1_310 * row)
        rows.append(f"{i},{tile.lon},{tile.lat},{i},{days[i // _EACH]}\n")
    (base / "places.csv").write_text("id,lon,lat,value,date\n" + "".join(rows))
    points = {"path": "places.csv", "value": "value", "id": "id", "date": "date"}
    document = {
        "name": "open",
        "title": "Open data",
        "source": {"kind": "stac", "catalogs": catalogs},
        "modalities": ["sentinel2", "geolocation", "month"],
        "tasks": {"own": {"points": points}},
    }
    path = base / "open.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _build(config: Path, out: Path) -> Summary:
    how = Options(workers=None, executor=None, scheduler=None, fresh=False)
    return build(config, out, how, lambda *_: None)


def test_faults_ended_signatures_and_kills_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMEARTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMEARTH_HTTP_PAUSE_S", "0.05")
    first = date(2018, 1, 1)
    days = [(first + timedelta(40 * i)).isoformat() for i in range(-(-N_TILES // _EACH))]
    side = 36_600
    some = [Scene(f"S2A_{i}_L2A", day, layout="pc", side=side) for i, day in enumerate(days)]
    with world(tmp_path / "planet") as planet:
        like = planet.add(some[0])
        for scene in some[1:]:
            planet.add_again(scene, like)
        planet.server.latency_s = _LATENCY_S
        config = _config(tmp_path, planet.catalogs, days)
        begin = time.perf_counter()
        plain = _build(config, tmp_path / "plain")
        n_plain, seconds = planet.server.n_requests, time.perf_counter() - begin
        print(f"\n{N_TILES} tiles undisturbed: {n_plain} requests, {seconds:.0f} s")
        assert (plain.exit_code, plain.failures) == (0, 0)
        planet.server.forget()
        begin, out, n_signed = time.perf_counter(), tmp_path / "out", planet.tokens
        with disturbed(planet, _LIFE_S):
            kills = [n_plain * n // 20 for n in _KILLS]
            told = built_though_killed(config, out, planet, kills, tmp_path / "other")
        n_asked, seconds = planet.server.n_requests, time.perf_counter() - begin
        n_signed = planet.tokens - n_signed
        print(f"disturbed: {n_asked} requests, {n_signed} signatures, {seconds:.0f} s")
        assert (told["dataset_hash"], told["samples"]) == (plain.dataset_hash, {"own": N_TILES})
        assert n_signed > len(kills) + 1
        planet.server.forget()
        assert _build(config, out).unchanged and planet.server.n_requests == 0
