"""`predictions.parquet` of `mmearth benchmark predict`: a row a sample, over all seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.benchmark.predict import Asked, Made, Predicted
from mmearth.catalog.schema import write_table
from mmearth.catalog.targets import target_field
from mmearth.catalog.task import Task
from mmearth.loaders.query import rows

FILE = "predictions.parquet"
_PLACE = ("tile", "lon", "lat", "date", "geometry")
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
}
_PRESENT = 0.5
"""The probability from which a label is said to be present."""


def tile_columns(task: Task, seeds: Iterable[Made]) -> dict[str, pa.Array]:
    """Return the columns of a tile-level task, sorted by key, each sample once.

    `prediction` is the mean over the seeds in the task's unit, as in a manifest; of labels those
    whose mean probability is 0.5 or more, of classes the most probable. `spread` is the standard
    deviation over the seeds, of probabilities where those are told; null where there is one seed.
    """
    parts = [made.all() for made in seeds]
    values = np.stack([part.values for part in parts]).astype(np.float64)
    mean = values.mean(axis=0)
    spread = values.std(axis=0, ddof=1) if len(parts) > 1 else np.full(mean.shape, np.nan)
    columns = {"key": pa.array(parts[0].key.tolist()), "prediction": _prediction(task, mean)}
    if task.kind != "regression":
        columns["probability"] = _by_output(task, mean)
    return {**columns, "spread": _by_output(task, spread), **adapted_columns(parts)}


def write_predictions(
    asked: Asked, columns: dict[str, pa.Array], out: Path, about: dict[str, Any]
) -> int:
    """Write `predictions.parquet`, sorted by key, as GeoParquet; return its rows.

    Args:
        asked: Whose places they are.
        columns: `key` and what was predicted.
        out: The folder.
        about: How it was made; it stands in the footer under `mmearth:predictions`.

    Raises:
        StorageError: The disk is full.
    """
    query = asked.dataset.select(asked.places, where=asked.where).query
    wanted = ", ".join(("key", *_PLACE))
    places = asked.dataset.sql(f"SELECT {wanted} {rows(query)} ORDER BY key")
    at = places.column_names.index("geometry")
    places = places.set_column(at, "geometry", places["geometry"].cast(pa.binary()))
    assert places["key"].to_pylist() == columns["key"].to_pylist()
    table = pa.table({**{name: places[name] for name in ("key", *_PLACE)}, **columns})
    stamps = {b"geo": json.dumps(_GEO), b"mmearth:predictions": json.dumps(about)}
    write_table(table, out / FILE, table.schema.with_metadata(stamps))
    return int(table.num_rows)


def _prediction(task: Task, mean: NDArray[np.float64]) -> pa.Array:
    kind = target_field(task).type
    if task.kind == "multilabel":
        present = [
            [name for name, on in zip(task.outputs, row >= _PRESENT, strict=True) if on]
            for row in mean
        ]
        return pa.array(present, kind)
    if task.kind == "classification":
        return pa.array([task.outputs[i] for i in mean.argmax(axis=1)], kind)
    return _by_output(task, mean)


def _by_output(task: Task, values: NDArray[np.float64]) -> pa.Array:
    """Return (n, outputs) as numbers, or as a struct of them; NaN is null."""
    arrays = [pa.array(column, pa.float64(), from_pandas=True) for column in values.T]
    if task.column == "target":
        return arrays[0]
    return pa.StructArray.from_arrays(arrays, names=list(task.outputs))


def adapted_columns(parts: Sequence[Predicted]) -> dict[str, pa.Array]:
    """Return what adaptation did to each sample's batch: losses over the seeds, steps by seed."""
    losses = {
        f"reconstruction_{name}": np.stack([getattr(part, name) for part in parts]).mean(axis=0)
        for name in ("before", "after")
    }
    steps = np.stack([part.steps for part in parts], axis=1)
    found = {name: pa.array(each, pa.float64(), from_pandas=True) for name, each in losses.items()}
    found["steps"] = pa.FixedSizeListArray.from_arrays(pa.array(steps.ravel()), len(parts))
    return found
