"""What Hugging Face's `datasets` loads: a table per split, and what the members of a shard are.

Its configurations cannot choose rows of one file for one split, and it refuses a shard whose first
samples have not the same members unless it is told the type of each.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import storage_errors
from mmearth.catalog.files import write_atomic
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import check_version, manifest_path, read_parts, write_parts
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.targets import target_field
from mmearth.catalog.task import Task

FOLDER = "huggingface"
"""Of all that is made for it."""
NAMES = {split: "validation" if split == "val" else split for split in SPLITS}
"""Split → what Hugging Face's tools call it."""
FRACTIONS = (50, 5)
"""Percent of `train` that have a configuration of their own."""
_WHERE = frozenset({"byte_offset", "byte_length", "sha256", "expression", "band_valid_fraction"})
"""Fields of a member that only help to read it; they are most of a manifest's bytes."""


def table_path(task: str, split: str) -> str:
    """Return where the table of a split is, relative to the dataset's root."""
    return f"{FOLDER}/{task}/{split}.parquet"


def write_tables(root: Path, catalogue: Catalogue, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Write a table for each split that has samples, and the features of each task's shards.

    Args:
        root: The dataset's directory; its manifests are there.
        catalogue: Of the dataset.
        counts: Task → split → samples.

    Raises:
        FormatError: A manifest is damaged.
        StorageError: The disk is full.
    """
    with storage_errors(f"write {root / FOLDER}"):
        shutil.rmtree(root / FOLDER, ignore_errors=True)
    for task, of_split in counts.items():
        spec = catalogue.task(task)
        data = json.dumps(features(catalogue, spec), indent=1) + "\n"
        write_atomic(root / FOLDER / task / "shards.json", data.encode())
        for split in SPLITS:
            if of_split[split]:
                _write_split(root, catalogue, spec, split)


def configs(counts: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Return the `configs` of a card: one a task, and one more for each part of its `train`.

    Args:
        counts: Task → split, or part of `train` → samples; what has none is left out.
    """
    found: list[dict[str, Any]] = []
    for task, of_split in counts.items():
        files = [
            {"split": NAMES[split], "path": table_path(task, split)}
            for split in SPLITS
            if of_split[split]
        ]
        if not files:
            continue
        found.append({"config_name": task, "data_files": files})
        for percent in FRACTIONS:
            if not of_split[f"train_{percent}"]:
                continue  # they refuse all of a configuration of which a split chooses no row
            # A dash: no task has one in its name.
            chosen = [[[f"train_{percent}", "==", True]], [["split", "!=", "train"]]]
            entry = {"config_name": f"{task}-{percent}", "data_files": files, "filters": chosen}
            found.append(entry)
    return found


def features(catalogue: Catalogue, task: Task) -> dict[str, Any]:
    """Return the features of a task's shards, as `datasets.Features.from_dict` takes them.

    A member that a sample has not is None. Blosc's members are bytes: no tool of theirs unpacks it.
    """
    codec, members = catalogue.codec, catalogue.members(task)
    document = {name: pa.string() for name in ("key", "tile", "date", "task", "split")}
    document["target"] = pa.null() if task.is_pixel else target_field(task).type
    inside = {
        "modalities": {layer.name: pa.list_(_number(layer)) for layer in catalogue.tile_layers},
        "missing": dict.fromkeys(catalogue.layers, pa.string()),
    }
    document |= {name: pa.struct([*of.items()]) for name, of in inside.items() if of}
    return {
        "__key__": _feature(pa.string()),
        "__url__": _feature(pa.string()),
        "json": {name: _feature(kind) for name, kind in document.items()},
        **{codec.member(layer.name): _pixels(catalogue, layer) for layer in members},
    }


def _number(layer: Layer) -> pa.DataType:
    return pa.float64() if np.dtype(layer.dtype).kind == "f" else pa.int64()


def _pixels(catalogue: Catalogue, layer: Layer) -> dict[str, Any]:
    if not catalogue.codec.is_npy:
        return _feature(pa.binary())
    shape = catalogue.member_shape(layer.name)
    return {"shape": list(shape), "dtype": layer.dtype, "_type": f"Array{len(shape)}D"}


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """Return an Arrow type as one of their features."""
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


def _write_split(root: Path, catalogue: Catalogue, task: Task, split: str) -> None:
    """Write a split's rows of a manifest, without where the bytes of their members are."""
    path = root / manifest_path(task.name)
    schema = _shorter(check_version(path, root), catalogue, task)
    parts = (
        pa.table([_cut(part[field.name], field.type) for field in schema], schema.names)
        for part in (part.filter(pc.equal(part["split"], split)) for part in read_parts(path))
        if part.num_rows
    )
    write_parts(parts, root / table_path(task.name, split), schema)


def _shorter(schema: pa.Schema, catalogue: Catalogue, task: Task) -> pa.Schema:
    others = {each.column for each in catalogue.tasks.values()} - {task.column}
    fields = [
        pa.field(field.name, pa.struct([f for f in field.type if f.name not in _WHERE]))
        if pa.types.is_struct(field.type)
        else field
        for field in schema
        if field.name not in others
    ]
    geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
    for column in geo.get("columns", {}).values():
        column.pop("bbox", None)  # of all splits
    return pa.schema(fields, {b"geo": json.dumps(geo).encode()} if geo else None)


def _cut(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """Return a column without those fields of its structs that its type has not."""
    whole = column.combine_chunks()
    if not pa.types.is_struct(kind):
        return whole
    fields = [whole.field(field.name) for field in kind]
    return pa.StructArray.from_arrays(fields, fields=list(kind), mask=whole.is_null())
