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
from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.schema import manifest_path, member_column, read_table
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import PIXEL_M
from mmearth.packaging.h5.agreement import FOLLOWS
from mmearth.packaging.h5.file import TEXT
from mmearth.packaging.h5.layout import (
    LABELS_FILE,
    NODATA,
    NODATA_FILE,
    PIXELS,
    SPLIT_KEYS,
    SUBSET_KEYS,
    SUBSET_OF_PERCENT,
    TILES,
    WITH_STATISTICS,
    read_json,
)
from mmearth.packaging.h5.provenance import provenance_bytes
from mmearth.packaging.h5.side import Dataset, Side

Row = dict[str, Any]


def derive(root: Path, task: str) -> Side:
    """Return a task in the published layout, and beside it what that has no field for.

    The cloud layers and fractions are not there: ours does not keep them.

    Raises:
        FormatError: A table is missing or damaged.
    """
    names = [member_column(name) for name in MODALITIES]
    target = [] if TASKS[task].level == "pixel" else [_target_column(task)]
    wanted = ["key", "split", "train_5", "train_50", "epsg", "left", "top", "lon", "lat", "date"]
    table = read_table(root / manifest_path(task), [*wanted, "tile", *target, *names], root)
    rows = table.to_pylist()
    columns = _columns(task, rows)
    n = len(rows)
    datasets = {
        key: Dataset(key, TEXT if c.dtype.kind == "O" else c.dtype.str, c.shape)
        for key, c in columns.items()
    }
    for key, modality in PIXELS.items():
        spec = MODALITIES[modality]
        datasets[key] = Dataset(key, np.dtype(spec.dtype).str, (n, *spec.shape))
    if TASKS[task].level == "pixel":
        datasets[task] = Dataset(task, np.dtype(TASKS[task].dtype).str, (n, *TASKS[task].shape))
    files = {
        f"{task}_split_data.json": _json(_splits(table) | _statistics(root, task)),
        NODATA_FILE: _json(NODATA),
    }
    if TASKS[task].kind == "multilabel":
        files[LABELS_FILE] = _json({name: i for i, name in enumerate(TASKS[task].outputs)})
    files[f"{task}_mmearth.parquet"] = provenance_bytes(
        read_table(root / "tiles.parquet", root=root),
        read_table(root / "observations.parquet", root=root),
        task,
        [row["tile"] for row in rows],
        DatasetCard.from_json(read_dataset(root)).to_json(),
    )
    return Side(datasets, [row["key"] for row in rows], columns, {}, files)


def _target_column(task: str) -> str:
    return task if TASKS[task].kind == "multilabel" else "target"


def _columns(task: str, rows: list[Row]) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "id": np.arange(len(rows), dtype=np.int64),
        "crs": _text(f"EPSG:{row['epsg']}" for row in rows),
        "transform": np.array([_affine(row) for row in rows], np.float64).reshape(-1, 9),
        "sentinel2_system_index": _text(_scene(row) for row in rows),
        "sentinel2_date": _text(str(row["date"]) for row in rows),
        "geolocation": np.array([(r["lon"], r["lat"]) for r in rows], np.float64).reshape(-1, 2),
        "missing_modalities": _text(json.dumps(_missing(row)) for row in rows),
    }
    for key, name in TILES.items():
        spec = MODALITIES[name]
        # Those that follow from place and date are there even in a dataset without them: a reader
        # of published files expects no gap in them.
        values = [row[member_column(name)]["values"] or _absent(name, row) for row in rows]
        found = np.array(values, np.float64).reshape(len(rows), len(spec.bands))
        columns[key] = found[:, 0].astype(np.int64) if spec.kind == "categorical" else found
    if TASKS[task].kind == "multilabel":
        columns[task] = _text(json.dumps(row[task]) for row in rows)
    elif TASKS[task].level == "tile":
        values = [np.nan if row["target"] is None else row["target"] for row in rows]
        columns[task] = np.array(values, TASKS[task].dtype).reshape(-1, 1)
    return columns


def _absent(name: str, row: Row) -> list[Any]:
    """Return the values of a tile-level modality that a sample does not have."""
    if name == "geolocation":
        turn = math.radians(row["lon"]), math.radians(row["lat"])
        return [wave(angle) for angle in turn for wave in (math.cos, math.sin)]
    if name == "month":
        angle = math.pi * row["date"].month / 6
        return [math.cos(angle), math.sin(angle)]
    return [MODALITIES[name].nodata] * len(MODALITIES[name].bands)


def _affine(row: Row) -> tuple[float, ...]:
    return (PIXEL_M, 0, row["left"], 0, -PIXEL_M, row["top"], 0, 0, 1)


def _missing(row: Row) -> list[str]:
    """Return the modalities that are all no-data; the published lists have these very names."""
    structs = {name: row[member_column(name)] for name in MODALITIES if name not in FOLLOWS}
    return [n for n, each in structs.items() if not (each["present"] and each["valid_fraction"])]


def _scene(row: Row) -> str:
    """Return what Sentinel-2 was made from; empty where nothing is known."""
    return " ".join(row["sentinel2"]["source_ids"] or ())


def _text(values: Any) -> NDArray[Any]:
    return np.array(list(values), dtype=object)


def _splits(table: pa.Table) -> Row:
    split = np.array(table["split"].to_pylist())
    found: Row = {key: np.flatnonzero(split == name).tolist() for name, key in SPLIT_KEYS.items()}
    for name, key in SUBSET_KEYS.items():
        found[key] = np.flatnonzero(table[name].to_numpy(zero_copy_only=False)).tolist()
    return found


def _statistics(root: Path, task: str) -> Row:
    """Return means and deviations as published: (band, 1, 1) with pixels, else (band,)."""
    document = read_json(root / "statistics" / f"{task}.json", root)
    found: Row = {}
    for key in WITH_STATISTICS:
        modality = MODALITIES[(PIXELS | TILES)[key]]
        for percent, subset in SUBSET_OF_PERCENT.items():
            bands = document[subset]["modalities"].get(modality.name, {})
            for ours, theirs in (("mean", "means"), ("std", "stds")):
                values = [bands.get(band.name, {}).get(ours) for band in modality.bands]
                nested = [[[v]] for v in values] if modality.level == "pixel" else values
                found[f"{key}_train_{percent}%_{theirs}"] = nested
    return found


def _json(document: Any) -> bytes:
    return (json.dumps(document, ensure_ascii=False) + "\n").encode()
