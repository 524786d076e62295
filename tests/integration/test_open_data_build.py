"""Whole builds from the loopback open world: faults, kills and budgets change no byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import yaml
from rasterio.transform import Affine

from mmearth.build import Summary, build
from mmearth.catalog.errors import QuotaError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.tile import Tile
from mmearth.curate.visits import Options
from mmearth.tests.collected import kept
from mmearth.tests.open_data.disturbed import built_though_killed, disturbed
from mmearth.tests.open_data.world import Scene, World, truth, world

SCENES = (
    Scene("S2A_33_a", "2020-07-01", layout="pc"),
    Scene("S2A_33_b", "2020-07-11", cloud=0.5),
    Scene("S2A_33_c", "2020-07-21", left=512_000),
)
_STAND_INS = {"aster_gdem": "Copernicus DEM GLO-30", "dynamic_world": "Impact Observatory"}
"""Layer → what its reason names."""
PLACES = [(500_900 + 1_500 * i, 5_002_000 - 1_500 * j) for i in range(3) for j in range(2)]
PLACES += [(512_900 + 1_500 * i, 5_002_000) for i in range(2)]


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three scenes, a seam of two elevation files, and land cover of two years."""
    with world(tmp_path_factory.mktemp("planet")) as running:
        for scene in SCENES:
            running.add(scene)
        for west in (14, 15):
            path = _degrees(running.root, f"pc/dem/{west}.tif", west, "float32", 100.0 + west)
            running.add_raster("pc", "cop-dem-glo-30", f"DEM_{west}", path, "data")
        path = _degrees(running.root, "pc/lulc/2020.tif", 15, "uint8", 11)
        when = {"datetime": None, "start_datetime": "2020-01-01T00:00:00Z"}
        running.add_raster("pc", "io-lulc-annual-v02", "LULC_2020", path, "data", **when)
        for year, code in ((2020, 10), (2021, 40)):
            path = _degrees(running.root, f"pc/wc/{year}.tif", 15, "uint8", code)
            name = f"ESA_WorldCover_10m_{year}"
            when["start_datetime"] = f"{year}-01-01T00:00:00Z"
            running.add_raster("pc", "esa-worldcover", name, path, "map", **when)
        yield running


def _degrees(root: Path, name: str, west: int, dtype: str, value: float) -> str:
    """Write a square degree from 45° N on, 1/1200° a pixel, of one value."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    how = {"driver": "GTiff", "compress": "deflate", "tiled": True, "crs": "EPSG:4326", "count": 1}
    transform = Affine(1 / 1200, 0, west, 0, -1 / 1200, 46.0)
    with rasterio.open(
        path, "w", width=1200, height=1200, dtype=dtype, transform=transform, **how
    ) as dataset:
        dataset.write(np.full((1, 1200, 1200), value, dtype))
    return name


@pytest.fixture
def config(planet: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MMEARTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMEARTH_HTTP_PAUSE_S", "0.01")
    monkeypatch.setenv("MMEARTH_HTTP_LONGEST_PAUSE_S", "0.2")
    rows = [Tile(32633, left, top) for left, top in PLACES]
    text = "".join(f"{i},{tile.lon},{tile.lat},{i}\n" for i, tile in enumerate(rows))
    (tmp_path / "places.csv").write_text("id,lon,lat,value\n" + text)
    document = {
        "name": "open",
        "title": "Open data",
        "source": {"kind": "stac", "catalogs": planet.catalogs},
        "modalities": [*_STAND_INS, "sentinel2", "esa_worldcover", "geolocation", "month"],
        "tasks": {"own": {"points": {"path": "places.csv", "value": "value", "id": "id"}}},
    }
    path = tmp_path / "open.yaml"
    path.write_text(yaml.safe_dump(document))
    yield path
    planet.server.forget()
    planet.life_s = 3600.0


def _build(config: Path, out: Path, **how: Any) -> Summary:
    usual = {"workers": None, "executor": None, "scheduler": None, "fresh": False}
    return build(config, out, Options(**usual | how), lambda *_: None)


def _tiles(out: Path) -> list[Tile]:
    names = sorted(set(pq.read_table(out / "tiles.parquet")["tile"].to_pylist()))
    return [Tile.parse(name, DEFAULT_GRID) for name in names]


def test_a_build_is_the_scenes_and_a_second_one_asks_nothing(
    planet: World, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary = _build(config, out)
    assert (summary.exit_code, summary.failures, summary.problems) == (0, 0, ())
    for tile in _tiles(out):
        held = {name: seen.array for name, seen in kept(out, tile.id).items()}
        array = held["sentinel2"]
        scene = SCENES[2] if tile.left >= 512_000 else SCENES[0]
        off = np.abs(array.astype(int) - truth(tile, scene).astype(int))
        assert off.max() <= 1 and np.mean(off > 0) < 1e-3  # halves of 60 m pixels
        height, slope = held["aster_gdem"]
        assert set(np.unique(height)) <= {115.0}
        assert slope[slope != -9999].max() == 0.0
        assert (held["esa_worldcover"] == 0).all()
    assert not any(b"secret" in path.read_bytes() for path in out.rglob("*") if path.is_file())
    planet.server.forget()
    assert _build(config, out).unchanged and planet.server.n_requests == 0


def test_every_stand_in_is_named_wherever_a_reader_looks(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _build(config, out).exit_code == 0
    observed = pq.read_table(out / "observations.parquet").to_pylist()
    manifest = pq.read_table(out / "manifests" / "own.parquet").to_pylist()
    items = list(pystac.Catalog.from_file(out / "stac" / "catalog.json").get_items(recursive=True))
    assert len(items) == len(manifest) == len(PLACES)
    card = (out / "README.md").read_text()
    for name, product in _STAND_INS.items():
        (reason,) = {row["stand_in"] for row in observed if row["modality"] == name}
        assert product in reason and f"- `{name}`: {reason}" in card
        assert {row[name]["stand_in"] for row in manifest} == {reason}
        assert {item.properties["mmearth:stand_in"][name] for item in items} == {reason}
    exact = [row["stand_in"] for row in observed if row["modality"] not in _STAND_INS]
    assert exact and not any(exact)
    assert all(item.properties["mmearth:stand_in"].keys() == _STAND_INS.keys() for item in items)


def test_a_dataset_against_files_that_changed_since(
    planet: World, config: Path, tmp_path: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "out"
    assert _build(config, out).exit_code == 0
    check = ("packaging", "verify", out, "--against-source", "3", "--config", config)
    assert run_cli(*check)[0] == 0
    path = _degrees(planet.root, "pc/dem/15.tif", 15, "float32", 120.0)
    code, said, _ = run_cli(*check)
    _degrees(planet.root, path, 15, "float32", 115.0)
    assert code == 4 and said.count(".aster_gdem") == 3
    assert not any(name in said for name in ("sentinel2", "dynamic_world", "esa_worldcover"))


def test_faults_tokens_and_processes_change_no_byte(
    planet: World, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _build(config, tmp_path / "plain").dataset_hash
    monkeypatch.setenv("MMEARTH_CACHE", str(tmp_path / "other"))
    with disturbed(planet, life_s=0.3):
        found = _build(config, tmp_path / "disturbed")
    assert (found.dataset_hash, found.failures) == (plain, 0)
    monkeypatch.setenv("MMEARTH_CACHE", str(tmp_path / "third"))
    assert _build(config, tmp_path / "two", workers=2, executor="processes").dataset_hash == plain


def test_faults_and_kills_together_change_no_byte(
    planet: World, config: Path, tmp_path: Path
) -> None:
    plain = _build(config, tmp_path / "plain").dataset_hash
    planet.server.latency_s, cache = 0.05, tmp_path / "other"
    with disturbed(planet, life_s=1.0):
        told = built_though_killed(config, tmp_path / "out", planet, (20, 25), cache)
    planet.server.latency_s = 0.0
    assert told["dataset_hash"] == plain


def test_the_budget_stops_the_build_and_a_new_one_goes_on(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(QuotaError, match="budget of bytes is spent"):
        _build(config, out, budget_bytes=400_000)
    assert _build(config, out).exit_code == 0
