"""A dataset that grows: only what changed is collected, and the bytes are those of a new one."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rasterio.transform import Affine

from mmearth.build import Options, Summary, build
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import Tile, tiles_at
from mmearth.curate.ledger import METERED, Ledger
from mmearth.tests.damage import TIMES
from mmearth.tests.raster_files import write_tif

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

Run = Callable[..., tuple[int, str, str]]
_GRID = Grid(32, 10)
_PLACES = [(10.0 + 0.3 * i, 50.0 + 0.2 * (i % 3)) for i in range(6)]
_TILES: list[Tile] = list(tiles_at(*(list(part) for part in zip(*_PLACES, strict=True)), _GRID))
_LAYERS: dict[str, Any] = {
    "height": {"unit": "m", "valid": [0, 500]},
    "wet": {"valid": [0, 1], "timing": "year"},
    "slope": {"level": "tile", "unit": "m", "valid": [0, 500]},
}


@dataclass
class World:
    """A folder with files, and a configuration that names some of them."""

    root: Path
    document: dict[str, Any] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    values: dict[tuple[str, int], float] = field(default_factory=dict)
    """(layer, place) → what its raster holds everywhere."""

    def write(self) -> Path:
        """Write the configuration and the table of places; return the configuration's path."""
        for task, step in (("yield", 1), ("other", 2)):
            rows = [f"{_PLACES[i][0]},{_PLACES[i][1]},{i + 1}.5" for i in self.places[::step]]
            (self.root / f"{task}.csv").write_text("\n".join(["lon,lat,t", *rows, ""]))
        path = self.root / "own.yaml"
        path.write_text(yaml.safe_dump(self.document))
        return path

    def raster(self, layer: str, place: int, value: float | None) -> None:
        """Write a layer's GeoTIFF around a place; None deletes it, and below 0 breaks it."""
        path = self.root / layer / f"{place}.tif"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if value is None:
            return
        tile = _TILES[place]
        at = Affine(10.0, 0.0, tile.left - 40.0, 0.0, -10.0, tile.top + 40.0)
        array = np.full((1, 48, 48), value, np.float32)
        write_tif(path, array, crs=f"EPSG:{tile.epsg}", transform=at)
        if value < 0:
            path.write_bytes(b"no raster at all")


def _files(root: Path) -> World:
    world = World(root, places=[0, 1, 2, 3])
    for layer in _LAYERS:
        for place in range(len(_PLACES)):
            world.raster(layer, place, place / 10)
    world.document = {
        "name": "own",
        "title": "Own files",
        "grid": {"pixels": _GRID.pixels, "resolution_m": _GRID.resolution_m},
        "layers": {name: dict(each) for name, each in _LAYERS.items()},
        "modalities": ["height", "wet"],
        "require": [],
        "source": {"kind": "files", "rasters": {n: [{"path": f"{n}/*.tif"}] for n in _LAYERS}},
        "tasks": {"yield": _task("yield")},
    }
    return world


def _synthetic(root: Path) -> World:
    world = World(root, places=[0, 1, 2, 3])
    world.document = {
        "name": "own",
        "title": "Synthetic",
        "grid": {"pixels": _GRID.pixels, "resolution_m": _GRID.resolution_m},
        "modalities": ["sentinel2", "month", "esa_worldcover"],
        "require": ["sentinel2"],
        "source": {"kind": "synthetic", "seed": 7},
        "tasks": {"yield": _task("yield")},
    }
    return world


def _task(name: str) -> dict[str, Any]:
    return {
        "target": {"unit": "t"},
        "points": {"path": f"{name}.csv", "value": "t"},
        "split": {"buffer_m": 0},
    }


def _build(config: Path, out: Path, **how: Any) -> tuple[Summary, int]:
    """Build with one thread; return the summary and how many tiles were visited."""
    visits = 0

    def progress(step: str, total: int | None) -> None:
        nonlocal visits
        visits += step == "collect" and total is None

    return build(config, out, Options(1, "threads", None, False, **how), progress), visits


def _sums(out: Path) -> str:
    return (out / "SHA256SUMS").read_text()


def _is_as_new(world: World, out: Path) -> None:
    fresh = world.root / "fresh"
    _build(world.root / "own.yaml", fresh)
    assert _sums(out) == _sums(fresh)
    shutil.rmtree(fresh)


def _places(world: World, draw: random.Random) -> str:
    count = draw.randint(1, len(_PLACES))
    world.places = sorted(draw.sample(range(len(_PLACES)), count))
    return f"places {world.places}"


def _shards(world: World, draw: random.Random) -> str:
    world.document["shard_bytes"] = draw.choice((1024, 30_000, 10**8))
    return "shards"


def _codec(world: World, draw: random.Random) -> str:
    world.document["members"] = {"codec": draw.choice(("npy", "blosc-zstd"))}
    return f"{world.document['members']}"


def _tasks(world: World, draw: random.Random) -> str:
    names = draw.choice((["yield"], ["other"], ["yield", "other"]))
    world.document["tasks"] = {name: _task(name) for name in names}
    return f"tasks {names}"


def _seed(world: World, draw: random.Random) -> str:
    world.document["seed"] = draw.randint(1, 3)
    return "seed"


def _modalities(world: World, draw: random.Random) -> str:
    known = (
        [*_LAYERS]
        if "layers" in world.document
        else [*("sentinel2", "sentinel1", "month", "esa_worldcover", "temperature", "biome")]
    )
    names = draw.sample(known, draw.randint(1, len(known)))
    require = draw.choice(([], names[:1], names[-1:]))
    world.document |= {"modalities": names, "require": require}
    sources = world.document.get("sources", {})
    world.document["sources"] = {n: each for n, each in sources.items() if n in names}
    return f"modalities {names}, require {require}"


def _file(world: World, draw: random.Random) -> str:
    layer, place = draw.choice([*_LAYERS]), draw.randrange(len(_PLACES))
    value = draw.choice((None, -1.0, draw.random()))
    world.raster(layer, place, value)
    return f"{layer}/{place}.tif {value}"


def _layer(world: World, draw: random.Random) -> str:
    name = draw.choice([*_LAYERS])
    world.document["layers"][name]["valid"] = [0, draw.choice((1, 500))]
    return f"layer {name}"


def _entry(world: World, draw: random.Random) -> str:
    name = draw.choice([*_LAYERS])
    entry = world.document["source"]["rasters"][name][0]
    entry["nodata"] = draw.choice((0.1, 0.2, 77.0))
    return f"entry {name} {entry}"


def _date(world: World, draw: random.Random) -> str:
    world.document["date"] = draw.choice(("2020-06-01", "2020-09-01"))
    return "date"


def _sources(world: World, draw: random.Random) -> str:
    """Let layers come from another planet; the scene's, too."""
    names = draw.sample(("sentinel2", "month", "temperature"), draw.randint(0, 2))
    chosen = [name for name in names if name in world.document["modalities"]]
    world.document["sources"] = {name: {"kind": "synthetic", "seed": 9} for name in chosen}
    return f"sources {chosen}"


def _planet(world: World, draw: random.Random) -> str:
    world.document["source"] = {"kind": "synthetic", "seed": draw.choice((7, 8))}
    return f"{world.document['source']}"


_COMMON = (_places, _places, _shards, _codec, _tasks, _seed, _modalities)
_WORLDS = {
    _files: (*_COMMON, _file, _file, _file, _layer, _entry),
    _synthetic: (*_COMMON, _date, _planet, _sources),
}


@pytest.mark.parametrize("chain", range(2 * TIMES))
def test_any_change_ends_in_the_bytes_of_a_new_build(
    chain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(100 + chain)
    make = [*_WORLDS][chain % 2]
    world, out, done = make(tmp_path), tmp_path / "out", []
    for _ in range(4):
        done += [change(world, draw) for change in draw.sample(_WORLDS[make], draw.randint(1, 2))]
        config = world.write()
        try:
            _build(config, tmp_path / "fresh")
        except ConfigError:
            continue  # nothing that can be built
        expected = (tmp_path / "fresh" / "SHA256SUMS").exists() and _sums(tmp_path / "fresh")
        shutil.rmtree(tmp_path / "fresh")
        how = {"redeal": True, "store": draw.choice((None, tmp_path / "store"))}
        if draw.random() < 0.5:
            done.append(_killed(config, out, draw, monkeypatch, how))
        if draw.random() < 0.2:
            shutil.rmtree(out, ignore_errors=True)
            done.append("deleted")
        _build(config, out, **how)
        assert ((out / "SHA256SUMS").exists() and _sums(out)) == expected, done
        again, visits = _build(config, out)
        assert visits == 0, done
        assert again.unchanged or not expected, done


def _killed(
    config: Path,
    out: Path,
    draw: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
) -> str:
    """Begin a build, and end it at one of the places where much is half done; return which."""
    place = draw.choice(
        (
            *("curate.gather.Checkpoint.keep", "curate.shared_store.SharedStore.put"),
            *("packaging.build.build", "build.stac.build", "build.checksums.seal"),
            *("build.adopt", "catalog.own_store._compact"),
        )
    )
    with monkeypatch.context() as patch:
        patch.setattr(f"mmearth.{place}", _interrupt)
        try:
            _build(config, out, **how)
        except KeyboardInterrupt:
            return f"killed at {place}"
    return f"not killed at {place}"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Four places with two layers."""
    world = _files(tmp_path)
    world.write()
    yield world


def test_only_the_tiles_under_a_file_are_collected_again(world: World, tmp_path: Path) -> None:
    config, out = world.write(), tmp_path / "out"
    assert _build(config, out)[1] == 4
    world.raster("height", 2, 3.25)
    summary, visits = _build(config, out)
    assert visits == 1
    assert summary.difference == {
        "tiles": {"new": 0, "kept": 4, "gone": 0},
        "collect": {"height": {"file changed": 1}},
        "stored": {},
        "unwanted": {"observations": 1, "bytes": 32 * 32 * 4 + 128},
    }
    _is_as_new(world, out)
    world.raster("height", 2, 0.2)  # as it was: it is still there
    assert _build(config, out)[1] == 0
    _is_as_new(world, out)


def test_a_broken_file_that_is_mended(world: World, tmp_path: Path) -> None:
    config, out = world.write(), tmp_path / "out"
    world.raster("wet", 1, -1.0)
    assert _build(config, out)[0].failures == 1
    world.raster("wet", 1, 0.5)
    summary, visits = _build(config, out)
    assert (summary.exit_code, visits) == (0, 1)
    _is_as_new(world, out)


def test_a_layer_more_a_task_more_and_places_more(world: World, tmp_path: Path) -> None:
    config, out = world.write(), tmp_path / "out"
    _build(config, out)
    world.document["modalities"] = [*_LAYERS]
    summary, visits = _build(world.write(), out)
    assert (visits, summary.difference["collect"]) == (4, {"slope": {"new layer": 4}})
    world.document["tasks"]["other"] = _task("other")
    assert _build(world.write(), out)[1] == 0
    world.places = [0, 1, 2, 3, 4, 5]
    summary, visits = _build(world.write(), out)
    assert visits == 2
    assert summary.difference["tiles"] == {"new": 2, "kept": 4, "gone": 0}
    _is_as_new(world, out)


def test_what_is_not_wanted_is_kept_and_pruned(world: World, tmp_path: Path, run_cli: Run) -> None:
    out = tmp_path / "out"
    _build(world.write(), out)
    world.document["modalities"] = ["height"]
    world.places = [0, 1]
    config = world.write()
    assert _build(config, out)[1] == 0
    _is_as_new(world, out)
    n_bytes = 6 * (32 * 32 * 4 + 128)  # four of wet, two of height
    code, said, _ = run_cli("curate", "prune", str(out), "--dry-run")
    assert (code, said) == (0, f"6 observations of {n_bytes / 1e6:.1f} MB would be deleted\n")
    (pack,) = (out / ".curate" / "packs").iterdir()
    assert pack.stat().st_size == n_bytes
    assert run_cli("curate", "status", str(out))[2].startswith("6 observations more are kept")
    assert run_cli("curate", "prune", str(out))[0] == 0
    assert not [*(out / ".curate" / "packs").iterdir()]
    assert _build(config, out)[0].unchanged
    world.document["modalities"] = ["height", "wet"]
    assert _build(world.write(), out)[1] == 2


def test_the_plan_says_what_is_left_and_why(world: World, tmp_path: Path, run_cli: Run) -> None:
    config, out = world.write(), tmp_path / "out"
    _build(config, out)
    world.places = [1, 2, 3, 4]
    world.raster("height", 2, 3.25)
    world.write()
    code, said, _ = run_cli("curate", "plan", str(config), "-o", str(out))
    assert code == 0
    for line in (
        "tiles: 1 new, 3 kept, 1 gone",
        "gone: their places are not asked for any more, or overlap others",
        "collect height: 1 file changed, 1 new tile",
        "collect wet: 1 new tile",
    ):
        assert line in said.splitlines()
    said = run_cli("curate", "plan", str(config), "-o", str(out), "--json")[1]
    found = json.loads(said)
    assert (found["n_left"], found["n_moved"]) == (2, 0)
    assert found["difference"]["tiles"] == {"new": 1, "kept": 3, "gone": 1}
    assert found["difference"]["collect"] == {
        "height": {"file changed": 1, "new tile": 1},
        "wet": {"new tile": 1},
    }
    code, _, said = run_cli("curate", "build", str(config), "-o", str(out), "--workers", "1")
    assert code == 0
    assert "collect wet: 1 new tile" in said.splitlines()
    _, said, _ = run_cli("curate", "plan", str(config), "-o", str(out))
    assert "tiles: 0 new, 4 kept, 0 gone" in said.splitlines()


def test_tiles_change_their_split_only_when_told(world: World, tmp_path: Path) -> None:
    world.document["tasks"]["yield"]["split"] = {"rule": "published"}
    out = tmp_path / "out"
    _build(world.write(), out)
    world.places = [0, 1, 2, 3, 4, 5]
    config = world.write()
    with pytest.raises(ConfigError, match=r"[1-4] tiles of .* would change .*pass --redeal"):
        _build(config, out)
    _build(config, out, redeal=True)
    _is_as_new(world, out)


def test_what_cost_requests_is_thrown_away_only_when_told(
    world: World, tmp_path: Path, run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = world.write(), tmp_path / "out"
    _build(config, out)
    command = "curate", "build", str(config), "-o", str(out), "--workers", "1", "--fresh"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert run_cli(*command)[0] == 0  # files cost nothing
    with Ledger(out) as ledger:
        ledger.set_fact(METERED, "1")
    code, _, said = run_cli(*command)
    assert (code, "--fresh would delete 8 observations that cost requests" in said) == (2, True)
    assert run_cli(*command, "--yes")[0] == 0
    with Ledger(out) as ledger:
        ledger.set_fact(METERED, "1")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert run_cli(*command)[0] == 0
