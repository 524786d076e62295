"""What the published layout holds, of a dataset that never was published: from our own tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import manifest_path, member_column, read_table
from mmearth.catalog.task import Task
from mmearth.packaging.h5.file import TEXT, shapes_of
from mmearth.packaging.h5.layout import (
    FOLLOWS,
    FORMAT,
    KEYS,
    LABELS_FILE,
    NODATA,
    NODATA_FILE,
    SPLIT_KEYS,
    SUBSET_KEYS,
    SUBSET_OF_PERCENT,
    WITH_STATISTICS,
    layer_of,
    read_json,
)
from mmearth.packaging.h5.provenance import provenance_bytes
from mmearth.packaging.h5.side import Dataset, Side

Row = dict[str, Any]


def derive(root: Path, catalogue: Catalogue, task: Task, card: DatasetCard) -> Side:
    """Return a task in the published layout, and beside it what that has no field for.

    The cloud layers and fractions are not there: ours does not keep them. A modality that the
    dataset does not have is no-data everywhere.

    Raises:
        FormatError: A table is missing or damaged.
    """
    target = [] if task.is_pixel else [task.column]
    wanted = ["key", "split", "train_5", "train_50", "epsg", "left", "top", "lon", "lat", "date"]
    wanted += ["tile", *target, *map(member_column, catalogue.layers.values())]
    table = read_table(root / manifest_path(task.name), wanted, root)
    rows = table.to_pylist()
    columns = _columns(task, rows)
    datasets = {
        key: Dataset(key, TEXT if c.dtype.kind == "O" else c.dtype.str, c.shape)
        for key, c in columns.items()
    }
    for key in (*KEYS, task.name):
        layer = layer_of(key, task)
        if layer is not None and layer.is_pixel:
            shape = shapes_of(key, task, len(rows))[0]
            datasets[key] = Dataset(key, np.dtype(layer.dtype).str, shape)
    files = {
        f"{task.name}_split_data.json": _json(_splits(table) | _statistics(root, task)),
        NODATA_FILE: _json(NODATA),
    }
    if task.kind == "multilabel":
        files[LABELS_FILE] = _json({name: i for i, name in enumerate(task.outputs)})
    files[f"{task.name}_mmearth.parquet"] = provenance_bytes(
        read_table(root / "tiles.parquet", root=root),
        read_table(root / "observations.parquet", root=root),
        task,
        [row["tile"] for row in rows],
        card.to_json(),
    )
    return Side(datasets, [row["key"] for row in rows], columns, {}, files)


def _columns(task: Task, rows: list[Row]) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "id": np.arange(len(rows), dtype=np.int64),
        "crs": _text(f"EPSG:{row['epsg']}" for row in rows),
        "transform": np.array([_affine(row) for row in rows], np.float64).reshape(-1, 9),
        "sentinel2_system_index": _text(_scene(row) for row in rows),
        "sentinel2_date": _text(str(row["date"]) for row in rows),
        "geolocation": np.array([(r["lon"], r["lat"]) for r in rows], np.float64).reshape(-1, 2),
        "missing_modalities": _text(json.dumps(_missing(row)) for row in rows),
    }
    for key, layer in KEYS.items():
        if not layer.is_pixel:
            values = [_member(row, layer).get("values") or _absent(layer, row) for row in rows]
            found = np.array(values, np.float64).reshape(len(rows), len(layer.bands))
            columns[key] = found[:, 0].astype(np.int64) if layer.classes else found
    if task.kind == "multilabel":
        columns[task.name] = _text(json.dumps(row[task.column]) for row in rows)
    elif not task.is_pixel:
        values = [row[task.column] for row in rows]
        columns[task.name] = np.array(values, task.dtype).reshape(-1, 1)
    return columns


def _member(row: Row, layer: Layer) -> Row:
    """Return what the manifest says of a modality; nothing where the dataset has no such one."""
    found: Row = row.get(member_column(layer)) or {}
    return found


def _absent(layer: Layer, row: Row) -> list[Any]:
    """Return the values of a tile-level modality that a sample does not have.

    Those that follow from place and date are there even in a dataset without them: a reader of
    published files expects no gap in them.
    """
    if layer.name == "geolocation":
        turn = math.radians(row["lon"]), math.radians(row["lat"])
        return [wave(angle) for angle in turn for wave in (math.cos, math.sin)]
    if layer.name == "month":
        angle = math.pi * row["date"].month / 6
        return [math.cos(angle), math.sin(angle)]
    return [layer.nodata] * len(layer.bands)


def _affine(row: Row) -> tuple[float, ...]:
    pixel = FORMAT.grid.resolution_m
    return (pixel, 0, row["left"], 0, -pixel, row["top"], 0, 0, 1)


def _missing(row: Row) -> list[str]:
    """Return the modalities that are all no-data; the published lists have these very names."""
    members = {n: _member(row, layer) for n, layer in FORMAT.layers.items() if n not in FOLLOWS}
    return [n for n, m in members.items() if not (m.get("present") and m["valid_fraction"])]


def _scene(row: Row) -> str:
    """Return what Sentinel-2 was made from; empty where nothing is known."""
    return " ".join(_member(row, FORMAT.layer("sentinel2")).get("source_ids") or ())


def _text(values: Any) -> NDArray[Any]:
    return np.array(list(values), dtype=object)


def _splits(table: pa.Table) -> Row:
    split = np.array(table["split"].to_pylist())
    found: Row = {key: np.flatnonzero(split == name).tolist() for name, key in SPLIT_KEYS.items()}
    for name, key in SUBSET_KEYS.items():
        found[key] = np.flatnonzero(table[name].to_numpy(zero_copy_only=False)).tolist()
    return found


def _statistics(root: Path, task: Task) -> Row:
    """Return means and deviations as published: (band, 1, 1) with pixels, else (band,)."""
    document = read_json(root / "statistics" / f"{task.name}.json", root)
    found: Row = {}
    for key in WITH_STATISTICS:
        layer = KEYS[key]
        for percent, subset in SUBSET_OF_PERCENT.items():
            bands = document[subset]["modalities"].get(layer.name, {})
            for ours, theirs in (("mean", "means"), ("std", "stds")):
                values = [bands.get(band.name, {}).get(ours) for band in layer.bands]
                nested = [[[v]] for v in values] if layer.is_pixel else values
                found[f"{key}_train_{percent}%_{theirs}"] = nested
    return found


def _json(document: Any) -> bytes:
    return (json.dumps(document, ensure_ascii=False) + "\n").encode()
