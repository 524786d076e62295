"""Write a tiny collected dataset of seeded random arrays, ready to be packed.

    python tests/make_tiny.py DIRECTORY

24 tiles, twelve modalities with gaps, three tasks: pixel-level, tile-level and multi-label.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import write_catalogue
from mmearth.catalog.checksums import seal
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import OBSERVATIONS, TILES, write_table
from mmearth.catalog.store import observation_path, write_observation
from mmearth.catalog.tile import Tile
from mmearth.packaging.build import build

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


def make_tiny(root: Path, n_tiles: int = N_TILES) -> DatasetCard:
    """Write catalogue.json, two tables and the store; return the card."""
    generator = np.random.default_rng(0)
    tiles: list[dict[str, Any]] = []
    observations: list[dict[str, Any]] = []
    for i in range(n_tiles):
        tile = Tile.at(-170.0 + 14.3 * i % 340, 50.0 - 4.1 * i % 100)
        tasks = TASKS_OF_TILE[i % len(TASKS_OF_TILE)]
        tiles += [_planned(task, tile, i) for task in tasks]
        targets = [CATALOGUE.tasks[task].target for task in tasks]
        wanted = [*CATALOGUE.layers.values(), *(each for each in targets if each.is_pixel)]
        observations += [_observed(root, tile, layer, i, generator) for layer in wanted]
    tiles.sort(key=lambda row: (row["task"], row["tile"]))
    observations.sort(key=lambda row: (row["tile"], row["modality"]))
    write_table(pa.Table.from_pylist(tiles, TILES), root / "tiles.parquet", TILES)
    table = pa.Table.from_pylist(observations, OBSERVATIONS)
    write_table(table, root / "observations.parquet", OBSERVATIONS)
    write_catalogue(root, CATALOGUE)
    return CARD


def make_sealed(root: Path, n_tiles: int = N_TILES) -> Path:
    """Make it, pack and seal it: a dataset to be opened; return its directory."""
    card = make_tiny(root, n_tiles)
    seal(root, card, build(root, card).sums)
    return root


def _planned(task: str, tile: Tile, i: int) -> dict[str, Any]:
    split = SPLITS[i % len(SPLITS)]
    return {
        "task": task,
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
        "target": 4.0 + i % 32 / 8 if task == "soil_pH" else None,
        "labels": list(CATALOGUE.tasks["species"].outputs[i % 97 :][:3])
        if task == "species"
        else None,
        "label_id": f"{task}-{i}",
    }


def _observed(
    root: Path, tile: Tile, layer: Layer, i: int, generator: np.random.Generator
) -> dict[str, Any]:
    name = layer.name
    row: dict[str, Any] = {"tile": tile.id, "modality": name, "source_ids": []}
    if _is_missing(name, i):
        return {**row, "state": "missing", "reason": f"no {name} here"}
    acquired = f"2020-{1 + i % 12:02d}-15" if name == "sentinel2" else None
    observation = Observation(
        layer, _array(layer, i, generator), acquired, "random 1", (f"{name}-{i}",)
    )
    data = write_observation(root, tile, observation)
    return {
        **row,
        "state": "done",
        "path": observation_path(tile, layer),
        "bytes": len(data),
        "sha256": sha256_bytes(data),
        "acquired": acquired,
        "valid_fraction": observation.valid_fraction,
        "source": observation.source,
        "source_ids": list(observation.source_ids),
    }


def _is_missing(name: str, i: int) -> bool:
    """Sentinel-2, which is required, once; others now and then."""
    if name == "sentinel2":
        return i == 7
    return name in {"sentinel1", "eth_gch", "precipitation", "biome"} and i % 5 == 1


def _array(layer: Layer, i: int, generator: np.random.Generator) -> NDArray[Any]:
    if layer.name in CATALOGUE.tasks:
        target = layer.empty()
        target[:, ::16, ::16] = generator.uniform(0, 500, (8, 8)).astype(np.float32)
        return target
    array = np.empty(layer.shape, dtype=layer.dtype)
    for k, band in enumerate(layer.bands):
        low, high = max(band.valid[0], -30.0), min(band.valid[1], 3000.0)
        drawn = generator.uniform(low, high, layer.shape[1:])
        # Coarse steps: random mantissas would not compress and tell no more.
        array[k] = np.round(drawn * 4) / 4 if array.dtype.kind == "f" else np.floor(drawn)
    if layer.name == "sentinel1":
        array[2:4] = layer.nodata
    if layer.name == "dynamic_world" and i % 2:
        array[:, :32] = layer.nodata
    return array


if __name__ == "__main__":
    make_tiny(Path(sys.argv[1]))
