"""Manifests: GeoParquet, one row a sample, with the byte range of everything it has."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import shapely

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.codec import Codec
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation, Sample
from mmearth.catalog.schema import manifest_path, manifest_schema, member_column, write_table
from mmearth.catalog.task import Task
from mmearth.packaging.inputs import Planned
from mmearth.packaging.shard import MemberRange

Row = dict[str, Any]
"""A row of a manifest."""


def manifest_row(
    planned: Planned,
    sample: Sample,
    shard: str,
    ranges: dict[str, MemberRange],
    catalogue: Catalogue,
) -> Row:
    """Return one sample's row.

    Args:
        planned: Where it came from.
        sample: The sample itself.
        shard: Its shard, relative to the dataset's root.
        ranges: Of its members, by suffix.
        catalogue: Of the dataset.
    """
    tile = sample.tile
    row: Row = {
        "key": sample.key,
        "task": sample.task.name,
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
        sample.task.column: _target(planned, sample, ranges, catalogue.codec),
    }
    for layer in catalogue.layers.values():
        here = sample.observations.get(layer.name)
        if layer.has_code_column:
            row[layer.name] = None if here is None else int(here.array[0])
        row[member_column(layer)] = _member(layer, here, ranges, catalogue.codec)
    return row


def write_manifest(root: Path, task: Task, rows: Sequence[Row], catalogue: Catalogue) -> Path:
    """Write `manifests/<task>.parquet` from rows in the order of the shards.

    Raises:
        StorageError: The disk is full.
    """
    schema = manifest_schema(task, catalogue.layers.values())
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
    path = root / manifest_path(task.name)
    write_table(table, path, schema.with_metadata({b"geo": json.dumps(geo).encode()}))
    return path


def _member(
    layer: Layer, here: Observation | None, ranges: dict[str, MemberRange], codec: Codec
) -> Row:
    """Return the struct of one modality; a tile-level one is in the sample's JSON."""
    if here is None:
        return {"present": False, "valid_fraction": 0.0, "source_ids": []}
    is_pixel = layer.is_pixel
    at = ranges[codec.member(layer.name) if is_pixel else "json"]
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


def _target(planned: Planned, sample: Sample, ranges: dict[str, MemberRange], codec: Codec) -> Any:
    """Return what the target's column holds."""
    task = sample.task
    if not task.is_pixel:
        return planned.tile[task.column]
    if sample.target is None:
        return None
    at = ranges[codec.member(task.name)]
    labelled = sample.target[task.target.valid(sample.target)].astype("float64")
    return {
        "valid_fraction": labelled.size / sample.target.size,
        "mean": None if task.kind == "classification" else float(labelled.mean()),
        "byte_offset": at.offset,
        "byte_length": at.length,
        "sha256": at.sha256,
        "source_ids": planned.observations[task.name]["source_ids"],
    }
