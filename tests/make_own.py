"""Write a small dataset whose grid, layers and tasks are none of the published ones.

Class codes have gaps, names are words of SQL, and values are simple enough to be known by hand.
"""

from __future__ import annotations

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
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import tiles_schema, write_table
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.task import METRICS, Task, TaskKind
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome
from mmearth.packaging.build import build
from mmearth.tests.collected import keep_collected

N_TILES = 8


def layer(name: str, dtype: str, nodata: float | None, *bands: Band, **more: Any) -> Layer:
    """Return a layer of numbers with pixels, unless more is said."""
    fields: dict[str, Any] = {"level": "pixel", "kind": "continuous", **more}
    texts = {"description": "made up", "product": "none", "licence": "CC0-1.0", "citation": "none"}
    return Layer(
        **{"name": name, "title": name.title(), "timing": "static", "resampling": None},
        **{"bands": bands, "dtype": dtype, "nodata": nodata, **fields, **texts},
    )


def classes(name: str, dtype: str, nodata: float | None, *codes: int, **more: Any) -> Layer:
    """Return a layer of class codes, named `class 5` and the like unless they are given."""
    names = more.pop("names", [f"class {code}" for code in codes])
    listed = tuple(
        ClassCode(code, title, "#aa8855") for code, title in zip(codes, names, strict=True)
    )
    band = Band(name, "1", (codes[0], codes[-1]))
    return layer(name, dtype, nodata, band, kind="categorical", classes=listed, **more)


def task(target: Layer, kind: TaskKind, optional: bool = False) -> Task:
    """Return a task with the metrics of its kind."""
    return Task(target.name, target.title, kind, target, METRICS[kind][target.level], optional)


def numbers(names: str, unit: str, low: float, high: float) -> tuple[Band, ...]:
    """Return bands of several names, with spaces between them."""
    return tuple(Band(name, unit, (low, high)) for name in names.split())


_TILE: dict[str, Any] = {"level": "tile"}
_NO_YES = (ClassCode(0, "no", "#000000"), ClassCode(1, "yes", "#ffffff"))
_OPTICAL = (
    Band("red", "1", (1, 10000), 1e-4, 0.0, 20.0),
    Band("thermal", "K", (1, 10000), 0.01, 200.0, 40.0),
    Band("blue", "1", (1, 10000), 1e-4, 0.0, 20.0),
)
LAYERS = (
    layer("optical", "uint16", 0, *_OPTICAL),
    classes("cover", "uint8", 255, 2, 5, 7, 40),
    classes("soil", "int16", -9999, -3, 10, 300),
    classes("deep", "int32", 0, 5, 70_000, 2_000_000),
    layer("heat", "float64", None, *numbers("flux", "W", -1e6, 1e9)),
    layer("slope", "float32", 0, *numbers("slope", "deg", 0.5, 90)),
    layer("climate", "float64", -9999, *numbers("rain runoff", "m", 0, 9), **_TILE),
    classes("zone", "int16", 0, 1, 4, 9, **_TILE),
    layer("order", "int32", None, *numbers("n", "1", 0, 1000), **_TILE),
)
_TEXTURE = layer("texture", "float32", None, *numbers("sand cl'ay texture", "%", 0, 100), **_TILE)
_CROP = classes("crop", "uint8", 0, 1, 3, 8, names=["wheat", "maize", "rice"], **_TILE)
_BIRDS: dict[str, Any] = {"kind": "categorical", "classes": _NO_YES, **_TILE}
TASKS = (
    task(layer("group", "float32", None, *numbers("yield", "t/ha", 0, 20), **_TILE), "regression"),
    task(_TEXTURE, "regression", optional=True),
    task(_CROP, "classification", optional=True),
    task(layer("birds", "uint8", None, *numbers("owl jay tit", "1", 0, 1), **_BIRDS), "multilabel"),
    task(classes("parcels", "uint8", 255, 0, 4, 9), "classification", optional=True),
    task(layer("height", "float32", -9999, *numbers("height", "m", 0, 60)), "regression"),
)


def catalogue(pixels: int) -> Catalogue:
    """Return all of it on a grid of so many pixels of 20 m."""
    layers, tasks = ({each.name: each for each in nouns} for nouns in (LAYERS, TASKS))
    return Catalogue(Grid(pixels, 20), layers, tasks)


def values(of: Layer, i: int) -> NDArray[Any]:
    """Return what the i-th tile has of a layer or a pixel-level target, no-data included."""
    count = np.arange(int(np.prod(of.shape))).reshape(of.shape) + i
    if of.classes:
        found = np.array(of.codes)[count % len(of.codes)]
    else:
        low, high = max(of.bands[0].valid[0], 0), min(of.bands[0].valid[1], 60)
        found = low + count % (high - low)
    found = found.astype(of.dtype)
    if of.nodata is not None and of.is_pixel:
        found[:, : i % 3, :] = of.nodata  # none, one row or two of all bands
        found[-1, -1, -1] = of.nodata if i % 2 else found[-1, -1, -1]  # and one of the last band
    if of.name == "slope":
        found[0, 3, 3] = -0.0
    return found


def truth(of: Task, i: int) -> Any:
    """Return the plain target of the i-th tile without pixels; None where it has none."""
    if of.optional and i == 3:
        return None
    return {
        "group": i + 0.5,
        "texture": {"sand": 60.0 - i, "cl'ay": 10.0 + i, "texture": 30.0},
        "crop": ("wheat", "maize", "rice")[i % 3],
        "birds": [name for at, name in enumerate(("owl", "jay", "tit")) if i >> at & 1],
    }[of.name]


def make_own(root: Path, pixels: int) -> Path:
    """Build and seal it; return its directory."""
    own = catalogue(pixels)
    tiles = [Tile.at(10.0 + i, 45.0, own.grid) for i in range(N_TILES)]
    planned = [_planned(each, tiles[i], i) for each in own.tasks.values() for i in range(N_TILES)]
    targets = [each.target for each in own.tasks.values() if each.is_pixel]
    wanted = [*own.layers.values(), *targets]
    planned.sort(key=lambda row: (row["task"], row["tile"]))
    schema = tiles_schema(own.tasks.values())
    write_table(pa.Table.from_pylist(planned, schema), root / "tiles.parquet", schema)
    seen = [(tile, {of.name: _observed(of, i) for of in wanted}) for i, tile in enumerate(tiles)]
    keep_collected(root, own, seen)
    card = DatasetCard(
        **{"name": "own", "title": "Own", "description": "Made up.", "version": "1.0.0"},
        **{"licence": "CC0-1.0", "recipe": "default", "seed": 1, "config_sha256": "0" * 64},
        **{"source": "formula 1", "require": ("optical",), "shard_bytes": 1_000_000},
        **{"tasks": tuple(own.tasks), "modalities": tuple(own.layers)},
    )
    seal(root, card, build(root, card).sums)
    return root


def _planned(of: Task, tile: Tile, i: int) -> dict[str, Any]:
    columns: dict[str, Any] = {} if of.is_pixel else {of.column: truth(of, i)}
    return {
        **{"task": of.name, "tile": tile.id, "epsg": tile.epsg, "left": tile.left},
        **{"top": tile.top, "lon": tile.lon, "lat": tile.lat, "cell": tile.cell, "date": None},
        **{"split": "train" if i < 5 else SPLITS[i % len(SPLITS)], "train_5": i < 1},
        **{"train_50": i < 3, "label_id": f"{of.name}-{i}", **columns},
    }


def _observed(of: Layer, i: int) -> Outcome:
    if is_missing(of.name, i):
        return NoDataError(f"no {of.name} here")
    return Observation(of, values(of, i), None, "formula 1")


def is_missing(name: str, i: int) -> bool:
    """Say whether the i-th tile lacks a layer, or an optional target."""
    return i == 3 and name in {"soil", "heat", "zone", "order", "parcels"}
