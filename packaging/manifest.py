"""Manifests: GeoParquet, one row a sample, with the byte range of everything it has."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import shapely

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.sample import Sample
from mmearth.catalog.schema import (
    CLASS_COLUMNS,
    manifest_path,
    manifest_schema,
    member_column,
    write_table,
)
from mmearth.catalog.tasks import TASKS
from mmearth.packaging.inputs import Planned
from mmearth.packaging.shard import MemberRange

Row = dict[str, Any]
"""A row of a manifest."""


def manifest_row(
    planned: Planned, sample: Sample, shard: str, ranges: dict[str, MemberRange]
) -> Row:
    """Return one sample's row.

    Args:
        planned: Where it came from.
        sample: The sample itself.
        shard: Its shard, relative to the dataset's root.
        ranges: Of its members, by suffix.
    """
    tile = sample.tile
    row: Row = {
        "key": sample.key,
        "task": sample.task,
        "split": sample.split,
        "train_5": planned.tile["train_5"],
        "train_50": planned.tile["train_50"],
        "hilbert": planned.hilbert,
        "tile": tile.id,
        "epsg": tile.epsg,
        "left": tile.left,
        "top": tile.top,
        "lon": planned.tile["lon"],
        "lat": planned.tile["lat"],
        "cell": planned.tile["cell"],
        "geometry": shapely.to_wkb(tile.geometry, byte_order=1),
        "date": datetime.date.fromisoformat(sample.date),
        "label_id": planned.tile["label_id"],
        "shard": shard,
        **_target(planned, sample, ranges),
    }
    for name in CLASS_COLUMNS:
        here = sample.observations.get(name)
        row[name] = None if here is None else int(here.array[0])
    for name in MODALITIES:
        row[member_column(name)] = _member(name, sample, ranges)
    return row


def write_manifest(root: Path, task: str, rows: Sequence[Row]) -> Path:
    """Write `manifests/<task>.parquet` from rows in the order of the shards.

    Raises:
        StorageError: The disk is full.
    """
    schema = manifest_schema(task)
    table = pa.Table.from_pylist(list(rows), schema=schema)
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": sorted({str(shape.geom_type) for shape in shapes}),
                # No CRS means OGC:CRS84, longitude then latitude, which is what these are.
                "bbox": [round(float(v), 7) for v in shapely.total_bounds(shapes)] if rows else [],
            }
        },
    }
    path = root / manifest_path(task)
    write_table(table, path, schema.with_metadata({b"geo": json.dumps(geo).encode()}))
    return path


def _member(name: str, sample: Sample, ranges: dict[str, MemberRange]) -> Row:
    """Return the struct of one modality; a tile-level one is in the sample's JSON."""
    here = sample.observations.get(name)
    if here is None:
        return {"present": False, "valid_fraction": 0.0, "source_ids": []}
    is_pixel = MODALITIES[name].level == "pixel"
    at = ranges[f"{name}.npy" if is_pixel else "json"]
    return {
        "present": True,
        "valid_fraction": here.valid_fraction,
        "band_valid_fraction": list(here.band_valid_fraction) if is_pixel else None,
        "byte_offset": at.offset,
        "byte_length": at.length,
        "sha256": at.sha256,
        "source_ids": list(here.source_ids),
        "acquired": here.acquired,
        "stand_in": here.stand_in,
        "expression": here.expression,
        "values": None if is_pixel else here.array.tolist(),
    }


def _target(planned: Planned, sample: Sample, ranges: dict[str, MemberRange]) -> Row:
    task = TASKS[sample.task]
    if sample.target is None:
        return {"target": None}
    if task.level == "pixel":
        at = ranges[f"{task.name}.npy"]
        labelled = sample.target[sample.target != task.nodata].astype("float64")
        return {
            task.name: {
                "valid_fraction": labelled.size / sample.target.size,
                "mean": float(labelled.mean()),
                "byte_offset": at.offset,
                "byte_length": at.length,
                "sha256": at.sha256,
                "source_ids": planned.observations[task.name]["source_ids"],
            }
        }
    if task.kind == "multilabel":
        names = zip(task.outputs, sample.target, strict=True)
        return {task.name: [name for name, on in names if on]}
    return {"target": planned.tile["target"]}
