"""Write a tiny collected dataset of seeded random arrays, ready to be packed.

    python tests/make_tiny.py DIRECTORY

24 tiles, twelve modalities with gaps, three tasks: pixel-level, tile-level and multi-label. Or
layers and tasks of any other catalogue, such as OWN, of which each tile has all.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.checksums import seal
from mmearth.catalog.errors import NoDataError
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Band, ClassCode, Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import tiles_schema, write_table
from mmearth.catalog.task import METRICS, Task, TaskKind
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome
from mmearth.packaging.build import build
from mmearth.tests.collected import keep_collected

N_TILES = 24
TASKS_OF_TILE = (("biomass", "soil_pH"), ("soil_pH",), ("species",))
SPLITS = ("train", "train", "val", "random_test", "geographic_test")
CATALOGUE = MMEARTH_BENCH.only(MMEARTH_BENCH.layers, ("biomass", "soil_pH", "species"))
CARD = DatasetCard(
    name="tiny",
    title="A tiny dataset",
    description="Random numbers.",
    version="1.0.0",
    licence="CC0-1.0",
    recipe="default",
    seed=42,
    config_sha256="0" * 64,
    source="random 1",
    tasks=tuple(CATALOGUE.tasks),
    modalities=tuple(CATALOGUE.layers),
    require=("sentinel2",),
    shard_bytes=3_000_000,
)


def own_layer(name: str, bands: dict[str, tuple[float, float]], **more: Any) -> Layer:
    """Return a layer of one's own, of bands by name with the valid range of each."""
    facts = {
        **{"title": f"Own {name}", "level": "pixel", "kind": "continuous", "dtype": "float32"},
        **{"nodata": -9999.0, "timing": "static", "resampling": None, "description": "random"},
        **{"product": "own", "licence": "other", "citation": "random numbers", "classes": ()},
    } | more
    facts["bands"] = tuple(Band(band, "1", valid) for band, valid in bands.items())
    return Layer(name=name, **facts)


def classes(*codes: int) -> tuple[ClassCode, ...]:
    """Return classes of these codes: `class 7` has the code 7."""
    return tuple(ClassCode(code, f"class {code}", "#1f77b4") for code in codes)


def own_task(name: str, task: TaskKind, bands: dict[str, tuple[float, float]], **more: Any) -> Task:
    """Return a task of one's own, of a kind; `more` is of its target."""
    target = own_layer(name, bands, **({"level": "tile", "nodata": None} | more))
    return Task(name, f"Own {name}", task, target, METRICS[task][target.level])


_CODES: dict[str, Any] = {"kind": "categorical", "dtype": "uint8", "classes": classes(1, 2, 7)}
_OWN_LAYERS = (
    own_layer("embedding", {f"A{i:02d}": (-1, 1) for i in range(4)}, nodata=-2.0),
    own_layer("soil_map", {"soil": (1, 7)}, nodata=0, **_CODES),
    own_layer("landsat", {"red": (0, 65535), "nir": (0, 65535)}, dtype="uint16", nodata=0),
    own_layer("climate", {"t": (-90, 60), "p": (0, 20)}, level="tile", dtype="float64"),
    own_layer("season", {"cos": (-1, 1)}, level="tile", kind="cyclic", nodata=None),
    own_layer(
        "zone",
        {"zone": (-3, 70_000)},
        **{"level": "tile", "kind": "categorical", "dtype": "int32", "nodata": -1},
        classes=classes(-3, 5, 70_000),
    ),
)
_OWN_TASKS = (
    own_task("height", "regression", {"m": (0, 60)}, level="pixel", nodata=-1.0),
    own_task("landcover", "classification", {"class": (1, 7)}, level="pixel", nodata=0, **_CODES),
    own_task("yields", "regression", {"value": (0, 20)}, dtype="float64"),
    own_task("texture", "regression", {name: (0, 100) for name in ("sand", "silt", "clay")}),
    own_task("crop", "classification", {"class": (1, 7)}, **_CODES),
    own_task(
        "birds",
        "multilabel",
        {name: (0, 1) for name in ("wren", "rook", "swift")},
        **{"kind": "categorical", "dtype": "uint8", "classes": classes(0, 1)},
    ),
)
OWN = Catalogue(
    Grid(32, 20),
    {each.name: each for each in _OWN_LAYERS},
    {each.name: each for each in _OWN_TASKS},
)
"""Layers of each kind and tasks of each kind, codes with gaps, tiles of 32 pixels of 20 m."""


def make_tiny(root: Path, n_tiles: int = N_TILES, catalogue: Catalogue = CATALOGUE) -> DatasetCard:
    """Write catalogue.json, two tables, packs and the ledger; return the card."""
    generator = np.random.default_rng(0)
    tiles: list[dict[str, Any]] = []
    seen: list[tuple[Tile, dict[str, Outcome]]] = []
    for i in range(n_tiles):
        tile = Tile.at(-170.0 + 14.3 * i % 340, 50.0 - 4.1 * i % 100, catalogue.grid)
        names = TASKS_OF_TILE[i % len(TASKS_OF_TILE)] if catalogue is CATALOGUE else catalogue.tasks
        tasks = [catalogue.tasks[name] for name in names]
        tiles += [_planned(task, tile, i) for task in tasks]
        targets = [task.target for task in tasks if task.is_pixel]
        wanted = [*catalogue.layers.values(), *targets]
        seen.append((tile, {layer.name: _observed(layer, i, generator) for layer in wanted}))
    tiles.sort(key=lambda row: (row["task"], row["tile"]))
    schema = tiles_schema(catalogue.tasks.values())
    write_table(pa.Table.from_pylist(tiles, schema), root / "tiles.parquet", schema)
    keep_collected(root, catalogue, seen)
    if catalogue is CATALOGUE:
        return CARD
    layers = tuple(catalogue.layers)
    return replace(CARD, tasks=tuple(catalogue.tasks), modalities=layers, require=())


def make_sealed(root: Path, n_tiles: int = N_TILES, catalogue: Catalogue = CATALOGUE) -> Path:
    """Make it, pack and seal it: a dataset to be opened; return its directory."""
    card = make_tiny(root, n_tiles, catalogue)
    seal(root, card, build(root, card).sums)
    return root


def _planned(task: Task, tile: Tile, i: int) -> dict[str, Any]:
    first = i % max(len(task.outputs) - 3, 3)
    target = {
        "multilabel": list(task.outputs[first:][:3]),
        "classification": task.outputs[i % len(task.outputs)],
        "regression": 4.0 + i % 32 / 8,
    }[task.kind]
    if task.kind == "regression" and len(task.outputs) == 3:
        target = dict(zip(task.outputs, (10.5, 20.0 - i % 5, float(i)), strict=True))
    split = SPLITS[i % len(SPLITS)]
    return {
        "task": task.name,
        "tile": tile.id,
        "epsg": tile.epsg,
        "left": tile.left,
        "top": tile.top,
        "lon": tile.lon,
        "lat": tile.lat,
        "cell": tile.cell,
        "date": None,
        "split": split,
        "train_5": split == "train" and i % 2 == 0 and i % 4 == 0,
        "train_50": split == "train" and i % 2 == 0,
        **({} if task.is_pixel else {task.column: target}),
        "label_id": f"{task.name}-{i}",
    }


def _observed(layer: Layer, i: int, generator: np.random.Generator) -> Outcome:
    name = layer.name
    if _is_missing(name, i):
        return NoDataError(f"no {name} here")
    acquired = f"2020-{1 + i % 12:02d}-15" if name == "sentinel2" else None
    return Observation(layer, _array(layer, i, generator), acquired, "random 1", (f"{name}-{i}",))


def _is_missing(name: str, i: int) -> bool:
    """Sentinel-2, which is required, once; others now and then."""
    if name == "sentinel2":
        return i == 7
    return name in {"sentinel1", "eth_gch", "precipitation", "biome"} and i % 5 == 1


def _array(layer: Layer, i: int, generator: np.random.Generator) -> NDArray[Any]:
    if layer.name in {*CATALOGUE.tasks, *OWN.tasks}:
        target = layer.empty()
        place = target[:, ::16, ::16]
        drawn = generator.uniform(0, min(layer.bands[0].valid[1], 500), place.shape)
        place[:] = generator.choice(layer.codes, place.shape) if layer.classes else drawn
        return target
    if layer.classes:
        return generator.choice(layer.codes, layer.shape).astype(layer.dtype)
    array = np.empty(layer.shape, dtype=layer.dtype)
    for k, band in enumerate(layer.bands):
        low, high = max(band.valid[0], -30.0), min(band.valid[1], 3000.0)
        drawn = generator.uniform(low, high, layer.shape[1:])
        # Coarse steps: random mantissas would not compress and tell no more.
        array[k] = np.round(drawn * 4) / 4 if array.dtype.kind == "f" else np.floor(drawn)
    if layer.name == "sentinel1":
        array[2:4] = layer.nodata
    if layer.name == "aster_gdem" or (layer.name in ("dynamic_world", "landsat") and i % 2):
        array[:, : layer.pixels // 4] = layer.nodata
    return array


if __name__ == "__main__":
    make_tiny(Path(sys.argv[1]))
