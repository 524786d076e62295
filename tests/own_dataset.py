"""A tiny dataset of somebody's own: five layers and a task of each kind, 32 pixels at 20 m."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.catalogue import Catalogue, write_catalogue
from mmearth.catalog.checksums import seal
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Band, ClassCode, Kind, Layer, Level
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import OBSERVATIONS, TILES, write_table
from mmearth.catalog.store import observation_path, write_observation
from mmearth.catalog.task import METRICS, Task, TaskKind
from mmearth.catalog.tile import Tile
from mmearth.packaging.build import build
from mmearth.tests.make_tiny import CARD, SPLITS

GRID = Grid(32, 20)


def classes(*names: str, step: int = 10) -> tuple[ClassCode, ...]:
    """Return classes whose codes are `step`, 2 `step`, …"""
    return tuple(ClassCode(step * (i + 1), name, "#808080") for i, name in enumerate(names))


def layer(
    name: str,
    bands: tuple[str, ...],
    valid: tuple[float, float] = (-1000, 1000),
    of: tuple[ClassCode, ...] = (),
    level: Level = "pixel",
    kind: Kind = "continuous",
    dtype: str = "float32",
    nodata: float | None = -9999,
    units: tuple[str, ...] = (),
) -> Layer:
    """Return a layer; with classes a categorical one of uint8, of which 255 is absent."""
    if of:
        valid, kind, dtype, nodata = (of[0].code, of[-1].code), "categorical", "uint8", 255
    named = zip(bands, units or ("1",) * len(bands), strict=True)
    return Layer(
        name=name,
        title=name,
        level=level,
        kind=kind,
        bands=tuple(Band(band, unit, valid) for band, unit in named),
        dtype=dtype,
        nodata=nodata,
        timing="static",
        resampling=("nearest" if of else "bilinear") if level == "pixel" else None,
        description=name,
        product="none",
        licence="CC0-1.0",
        citation="none needed",
        classes=of,
    )


def task(target: Layer, kind: TaskKind = "regression") -> Task:
    """Return the task of a target."""
    return Task(target.name, target.name, kind, target, METRICS[kind][target.level])


CROPS = classes("wheat", "maize", "rice", step=1)
LABELS = (ClassCode(0, "absent", "#000000"), ClassCode(1, "present", "#ffffff"))
LAYERS = (
    layer("embedding", ("A00", "A01", "A02")),
    layer("cover", ("y2019", "y2020"), of=classes("water", "wood", "town")),
    layer("climate", ("warm", "wet"), level="tile", units=("K", "mm")),
    layer("zone", ("zone",), of=classes("north", "south"), level="tile"),
    layer("season", ("cos", "sin"), (-1, 1), (), "tile", "cyclic", "float64", None),
)
TASKS = (
    task(layer("height", ("height",), (0, 100), units=("m",))),
    task(layer("parcels", ("parcels",), of=classes("field", "meadow", "road")), "classification"),
    task(layer("yield", ("t_ha",), (0, 20), level="tile", nodata=None, units=("t/ha",))),
    task(
        layer(
            "texture",
            ("sand", "silt", "carbon"),
            (0, 100),
            level="tile",
            nodata=None,
            units=("%", "%", "g/kg"),
        )
    ),
    task(replace(layer("crop", ("crop",), of=CROPS, level="tile"), nodata=None), "classification"),
    task(
        replace(layer("birds", ("owl", "kite", "crow"), of=LABELS, level="tile"), nodata=None),
        "multilabel",
    ),
)
OWN = Catalogue(GRID, {each.name: each for each in LAYERS}, {each.name: each for each in TASKS})
TILE_TASKS = tuple(name for name, each in OWN.tasks.items() if not each.is_pixel)


def make_own(root: Path, n_tiles: int = 40, catalogue: Catalogue = OWN) -> Path:
    """Collect, pack and seal it; return its directory."""
    generator = np.random.default_rng(0)
    tiles: list[dict[str, Any]] = []
    observations: list[dict[str, Any]] = []
    for i in range(n_tiles):
        tile = Tile.at(-170.0 + 8.3 * i % 340, 50.0 - 4.1 * i % 100, GRID)
        tiles += [_planned(each, tile, i) for each in catalogue.tasks.values()]
        targets = [each.target for each in catalogue.tasks.values() if each.is_pixel]
        wanted = (*catalogue.layers.values(), *targets)
        observations += [_observed(root, tile, each, i, generator) for each in wanted]
    tiles.sort(key=lambda row: (row["task"], row["tile"]))
    observations.sort(key=lambda row: (row["tile"], row["modality"]))
    write_table(pa.Table.from_pylist(tiles, TILES), root / "tiles.parquet", TILES)
    table = pa.Table.from_pylist(observations, OBSERVATIONS)
    write_table(table, root / "observations.parquet", OBSERVATIONS)
    write_catalogue(root, catalogue)
    names = tuple(catalogue.tasks), tuple(catalogue.layers)
    card = replace(CARD, name="own", tasks=names[0], modalities=names[1], require=())
    seal(root, card, build(root, card).sums)
    return root


def _planned(of: Task, tile: Tile, i: int) -> dict[str, Any]:
    split = SPLITS[i % len(SPLITS)]
    wave = 10 + 8 * np.sin(i)
    return {
        **{name: getattr(tile, name) for name in ("epsg", "left", "top", "lon", "lat", "cell")},
        "task": of.name,
        "tile": tile.id,
        "date": "2020-06-01",
        "split": split,
        "train_5": split == "train" and i % 4 == 0,
        "train_50": split == "train" and i % 2 == 0,
        "target": wave if of.name == "yield" else None,
        "targets": [wave, 60 - wave, 0.5 * wave + i % 3] if of.name == "texture" else None,
        "labels": _labels(of, i),
        "label_id": f"{of.name}-{i}",
    }


def _labels(of: Task, i: int) -> list[str] | None:
    if of.name == "crop":
        return [of.outputs[i % 7 % 3]]
    present = [name for k, name in enumerate(of.outputs) if (i // 2**k) % 2]
    return present if of.name == "birds" else None


def _observed(
    root: Path, tile: Tile, of: Layer, i: int, generator: np.random.Generator
) -> dict[str, Any]:
    row: dict[str, Any] = {"tile": tile.id, "modality": of.name, "source_ids": []}
    if of.name in ("cover", "climate") and i % 5 == 1:
        return {**row, "state": "missing", "reason": f"no {of.name} here"}
    made = Observation(of, _array(of, i, generator), None, "random 1", (f"{of.name}-{i}",))
    data = write_observation(root, tile, made)
    return {
        **row,
        "state": "done",
        "path": observation_path(tile, of),
        "bytes": len(data),
        "sha256": sha256_bytes(data),
        "valid_fraction": made.valid_fraction,
        "source": made.source,
        "source_ids": list(made.source_ids),
    }


def _array(of: Layer, i: int, generator: np.random.Generator) -> NDArray[Any]:
    if of.classes:
        array = np.array(of.codes)[generator.integers(0, len(of.codes), of.shape)]
    elif of.kind == "cyclic":
        array = np.array([np.cos(i), np.sin(i)])
    else:
        array = np.round(30 + 10 * np.sin(i) + 10 * generator.random(of.shape), 1)
    array = array.astype(of.dtype)
    if of.is_pixel and of.nodata is not None:
        array[:, : i % 8] = of.nodata
    return array
