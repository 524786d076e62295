"""Manifests: GeoParquet, one row a sample, with the byte range of everything it has."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.codec import Codec
from mmearth.catalog.errors import storage_errors
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation, Sample
from mmearth.catalog.schema import (
    BBOX,
    ROW_GROUP_ROWS,
    manifest_path,
    member_column,
    write_parts,
    written_manifest,
)
from mmearth.catalog.task import Task
from mmearth.packaging.jobs import Planned, Row
from mmearth.packaging.shard import MemberRange

Share = tuple[float, list[float] | None]
"""Of an observation's values those that are valid, 0 to 1; the same of each band with pixels."""


@dataclass(frozen=True, slots=True)
class Outlines:
    """What a column of geometries says of itself, as GeoParquet has it."""

    kinds: frozenset[str] = frozenset()
    """Types of the geometries."""
    bounds: tuple[float, float, float, float] = (math.inf, math.inf, -math.inf, -math.inf)
    """West, south, east, north, in degrees; turned inside out where there is none."""

    def plus(self, other: Outlines) -> Outlines:
        """Return what both say together."""
        a, b = self.bounds, other.bounds
        bounds = min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
        return Outlines(self.kinds | other.kinds, bounds)


def manifest_row(
    planned: Planned,
    sample: Sample,
    shard: str,
    ranges: dict[str, MemberRange],
    shares: dict[str, Share],
    catalogue: Catalogue,
) -> Row:
    """Return one sample's row.

    Args:
        planned: Where it came from.
        sample: The sample itself.
        shard: Its shard, relative to the dataset's root.
        ranges: Of its members, by suffix.
        shares: What is valid, by modality.
        catalogue: Of the dataset.
    """
    same = ("train_5", "train_50", "hilbert", "epsg", "left", "top", "lon", "lat", "cell")
    row: Row = {
        **{name: planned.tile[name] for name in (*same, "label_id")},
        "key": sample.key,
        "task": sample.task.name,
        "split": sample.split,
        "tile": sample.tile.id,
        "geometry": shapely.to_wkb(sample.tile.geometry, byte_order=1),
        "bbox": _covering(sample.tile.geometry),
        "date": datetime.date.fromisoformat(sample.date),
        "shard": shard,
        sample.task.column: _target(planned, sample, ranges, catalogue.codec),
    }
    for layer in catalogue.layers.values():
        here = sample.observations.get(layer.name)
        if layer.has_code_column:
            row[layer.name] = None if here is None else int(here.array[0])
        at = ranges.get(catalogue.codec.member(layer.name) if layer.is_pixel else "json")
        row[member_column(layer)] = _member(layer, here, at, shares.get(layer.name))
    return row


def part_of(rows: list[Row], catalogue: Catalogue) -> pa.Table:
    """Return rows of a manifest as a table."""
    return pa.Table.from_pylist(rows, _schema(catalogue))


def write_part(folder: Path, shard: str, rows: pa.Table) -> Outlines:
    """Keep the rows of one shard, to be joined by `write_manifest`; return where they are.

    Raises:
        StorageError: The disk is full.
    """
    path = _part(folder, shard)
    with storage_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows)
    shapes = shapely.from_wkb(rows["geometry"].to_numpy())
    west, south, east, north = shapely.total_bounds(shapes).tolist()
    kinds = frozenset(str(shape.geom_type) for shape in shapes)
    return Outlines(kinds, (west, south, east, north))


def write_manifest(
    root: Path,
    task: Task,
    catalogue: Catalogue,
    folder: Path,
    shards: Iterable[str],
    outlines: Outlines,
) -> None:
    """Write `manifests/<task>.parquet` from its parts; memory holds one row group.

    Args:
        root: The dataset's directory.
        task: Whose.
        catalogue: Of the dataset.
        folder: Of the parts.
        shards: Their names, in order.
        outlines: Of all of them.

    Raises:
        StorageError: The disk is full.
    """
    schema = _schema(catalogue)
    box = [round(value, 7) + 0.0 for value in outlines.bounds] if outlines.kinds else []
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": sorted(outlines.kinds),
                # No CRS means OGC:CRS84, longitude then latitude, which is what these are.
                "bbox": box,
                "covering": {"bbox": {part.name: ["bbox", part.name] for part in BBOX}},
            }
        },
    }
    described = schema.with_metadata({b"geo": json.dumps(geo).encode()})
    groups = _row_groups(schema, (_part(folder, shard) for shard in shards))
    write_parts(groups, root / manifest_path(task.name), described)


def _row_groups(schema: pa.Schema, paths: Iterable[Path]) -> Iterator[pa.Table]:
    """Yield the rows of all parts in tables of ROW_GROUP_ROWS, the last of as many as are left."""
    held, n_rows = [schema.empty_table()], 0
    for path in paths:
        with pa.memory_map(str(path)) as file:
            held.append(pa.ipc.open_file(file).read_all())
        n_rows += held[-1].num_rows
        while n_rows > ROW_GROUP_ROWS:
            whole = pa.concat_tables(held)
            yield whole.slice(0, ROW_GROUP_ROWS).combine_chunks()
            held, n_rows = [whole.slice(ROW_GROUP_ROWS)], n_rows - ROW_GROUP_ROWS
    yield pa.concat_tables(held).combine_chunks()


def _schema(catalogue: Catalogue) -> pa.Schema:
    return written_manifest(catalogue.tasks.values(), catalogue.layers.values())


def _covering(shape: BaseGeometry) -> dict[str, float]:
    """Return a box around a geometry, its sides rounded outwards to single precision."""
    sides = np.array(shape.bounds, np.float32)
    outwards = np.array([-np.inf, -np.inf, np.inf, np.inf], np.float32)
    return dict(zip(BBOX.names, np.nextafter(sides, outwards).tolist(), strict=True))


def _part(folder: Path, shard: str) -> Path:
    return folder / f"{shard}.arrow"


def _member(
    layer: Layer, here: Observation | None, at: MemberRange | None, share: Share | None
) -> Row:
    """Return the struct of one modality; a tile-level one is in the sample's JSON."""
    if here is None or at is None or share is None:
        return {"present": False, "valid_fraction": 0.0, "source_ids": []}
    return {
        "present": True,
        "valid_fraction": share[0],
        "band_valid_fraction": share[1],
        "byte_offset": at.offset,
        "byte_length": at.length,
        "sha256": at.sha256,
        "source_ids": list(here.source_ids),
        "acquired": here.acquired,
        "stand_in": here.stand_in,
        "expression": here.expression,
        "values": None if layer.is_pixel else here.array.tolist(),
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
        "source_ids": list(planned.observed[task.name].source_ids),
    }


def name_members(observed: pa.Table, manifest: pa.Table, members: Iterable[Layer]) -> pa.Table:
    """Return observations.parquet with length and SHA-256 of the members that samples have.

    Args:
        observed: Its rows.
        manifest: `tile` of one task's samples, and a column for each of the members.
        members: Layers with pixels, and the task's target where it has them.
    """
    for layer in members:
        at = pc.index_in(observed["tile"], manifest["tile"].combine_chunks())
        is_here = pc.and_(pc.equal(observed["modality"], layer.name), pc.is_valid(at))
        for name, field in (("bytes", "byte_length"), ("sha256", "sha256")):
            now = pc.struct_field(manifest[layer.name], field).take(at)
            is_known = pc.and_(is_here, pc.is_valid(now))
            values = pc.if_else(is_known, now, observed[name])
            observed = observed.set_column(observed.column_names.index(name), name, values)
    return observed
