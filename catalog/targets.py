"""Targets as arrays, as plain values of tables and JSON, and as columns; one form per kind of task.

| task | array | plain value | column of the tables |
| --- | --- | --- | --- |
| one number | (1,) | 5.4 | `target`, float64 |
| several numbers | (output,) | {"sand": 60.0, "clay": 10.0} | the task's name, a struct |
| class | (1,), a code | "maize" | the task's name, text |
| labels | (label,), 0 or 1 | ["Canis lupus"] | the task's name, a list of texts |
| pixels | (row, column) | in a member of the shard | the task's name, TARGET_MEMBER |
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError
from mmearth.catalog.task import Task

TARGET_MEMBER = pa.struct(
    [
        ("valid_fraction", pa.float64()),
        ("mean", pa.float64()),  # over labelled pixels, in the task's unit; null for classes
        ("byte_offset", pa.int64()),
        ("byte_length", pa.int64()),
        ("sha256", pa.string()),
        ("source_ids", pa.list_(pa.string())),
    ]
)
"""A pixel-level target of one sample."""


def target_field(task: Task) -> pa.Field:
    """Return the column of a task's target, in the manifest and in `tiles.parquet`."""
    return pa.field(task.column, _target_type(task))


def _target_type(task: Task) -> pa.DataType:
    if task.is_pixel:
        return TARGET_MEMBER
    if task.kind == "multilabel":
        return pa.list_(pa.string())
    if task.kind == "classification":
        return pa.string()
    if task.column == "target":
        return pa.float64()
    return pa.struct([(name, pa.float64()) for name in task.outputs])


def plain_target(task: Task, target: NDArray[np.generic] | None) -> Any:
    """Return a tile-level target as a plain value; None for no target, or one with pixels."""
    if target is None or task.is_pixel:
        return None
    if task.kind == "multilabel":
        return [name for name, on in zip(task.outputs, target, strict=True) if on]
    if task.kind == "classification":
        return task.outputs[task.target.codes.index(int(target[0]))]
    # The shortest decimal that is this float32: 0.5152 and not 0.5152000188827515.
    numbers = [float(str(value)) for value in target]
    return numbers[0] if task.column == "target" else dict(zip(task.outputs, numbers, strict=True))


def target_array(task: Task, plain: Any) -> NDArray[np.generic] | None:
    """Return the array of a plain tile-level target; None where it has none.

    Raises:
        FormatError: It is not a target of this task.
    """
    if plain is None:
        return None
    try:
        return np.array(_values(task, plain), dtype=task.dtype)
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise FormatError(
            f"{task.name}: {str(plain)[:60]!r} is no target of it ({exc}); the dataset is damaged: "
            "build it again"
        ) from exc


def _values(task: Task, plain: Any) -> list[float]:
    if task.kind == "multilabel":
        unknown = set(plain) - set(task.outputs)
        if unknown:
            raise ValueError(f"unknown label {sorted(unknown)[0]}")
        return [name in plain for name in task.outputs]
    if task.kind == "classification":
        return [task.target.codes[task.outputs.index(plain)]]
    numbers = [plain] if task.column == "target" else [plain[name] for name in task.outputs]
    return list(map(float, numbers))
