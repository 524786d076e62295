"""Predictions: what one run said about one split, beside the truth, and their Parquet file.

A run keeps its predictions, not only its scores: a metric that nobody thought of before, a paired
interval or a residual by bin needs no second run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.errors import DataError, FormatError
from mmearth.catalog.schema import read_table, write_table
from mmearth.catalog.tasks import TASKS

_TASK_KEY = b"mmearth:task"
_WHOLE = -1  # stands for "no pixel: the whole tile"


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions and targets of one split, sorted by (key, pixel), each sample once.

    A row is a sample for tile-level tasks and a labelled pixel for pixel-level ones.
    """

    task: str
    """A key of TASKS."""
    key: NDArray[np.str_]
    """(n_samples,) keys of the samples, sorted, each once; all have a row at least."""
    sample: NDArray[np.int64]
    """(n,) position in `key` of every row, not falling."""
    pixel: NDArray[np.int32]
    """(n,) row × 128 + column in the tile, rows from the north; -1 for tile-level tasks."""
    prediction: NDArray[np.float32]
    """(n, n_outputs) in the task's unit; for multi-label tasks the probability, 0 to 1."""
    target: NDArray[np.float64]
    """(n, n_outputs) in the task's unit; 0 or 1 for multi-label tasks."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sample)

    def with_tiles(self, key: Sequence[str], prediction: NDArray[np.floating]) -> Predictions:
        """Return the same truth with one prediction a tile in every row of that tile.

        Args:
            key: Of the tiles, in any order; every sample here must be among them.
            prediction: (tiles, n_outputs), in the task's unit.

        Raises:
            DataError: A sample here is not among the tiles.
        """
        keys = np.asarray(key, dtype=np.str_)
        order = np.argsort(keys)
        place = np.minimum(np.searchsorted(keys, self.key, sorter=order), max(len(keys) - 1, 0))
        found = keys[order[place]] == self.key if len(keys) else np.zeros(len(self.key), np.bool_)
        if not found.all():
            raise DataError(
                f"{self.task}: sample {self.key[~found][0]} has no prediction; expected one for "
                "each sample of the split"
            )
        rows = order[place][self.sample]
        return replace(self, prediction=np.asarray(prediction, np.float32)[rows])


def tile_predictions(
    task: str,
    key: Sequence[str],
    prediction: NDArray[np.floating],
    target: NDArray[np.generic],
    weight: NDArray[np.generic] | None = None,
) -> Predictions:
    """Return the predictions of a batch, or of many, of a tile-level task.

    Args:
        task: A key of TASKS.
        key: Of the samples, in any order.
        prediction: (n, n_outputs) in the task's unit; probabilities for multi-label tasks.
        target: (n, n_outputs) in the task's unit.
        weight: (n,) 0 marks padding, which is dropped; None is no padding.

    Raises:
        DataError: The shapes do not fit the task.
    """
    n_outputs = len(TASKS[task].outputs)
    for name, array in (("prediction", prediction), ("target", target)):
        if array.shape != (len(key), n_outputs):
            raise DataError(
                f"{task}: {name} has shape {array.shape}, expected {(len(key), n_outputs)}"
            )
    real = np.ones(len(key), np.bool_) if weight is None else np.asarray(weight) > 0
    sample = np.flatnonzero(real)
    pixel = np.full(len(sample), _WHOLE, np.int32)
    return _sorted(task, np.asarray(key, np.str_), sample, pixel, prediction[real], target[real])


def pixel_predictions(
    task: str,
    key: Sequence[str],
    prediction: NDArray[np.floating],
    target: NDArray[np.generic],
    mask: NDArray[np.bool_],
    weight: NDArray[np.generic] | None = None,
) -> Predictions:
    """Return the labelled pixels of a batch of a pixel-level task.

    Args:
        task: A key of TASKS.
        key: Of the samples, in any order.
        prediction: (n, 128, 128) in the task's unit.
        target: (n, 128, 128) in the task's unit; anything where `mask` is False.
        mask: (n, 128, 128) True where a pixel is labelled.
        weight: (n,) 0 marks padding, which is dropped; None is no padding.

    Raises:
        DataError: The shapes do not fit the task or one another.
    """
    shape = (len(key), *TASKS[task].shape)
    for name, array in (("prediction", prediction), ("target", target), ("mask", mask)):
        if array.shape != shape:
            raise DataError(f"{task}: {name} has shape {array.shape}, expected {shape}")
    labelled = mask if weight is None else mask & (np.asarray(weight) > 0)[:, None, None]
    tile, row, column = np.nonzero(labelled)
    pixel = (row * shape[2] + column).astype(np.int32)
    values = prediction[labelled][:, None], target[labelled][:, None]
    return _sorted(task, np.asarray(key, np.str_), tile, pixel, *values)


def merge_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of all batches or ranks as one: sorted, every sample once.

    Of a sample that comes twice the first part's rows stay.

    Raises:
        DataError: There is no part, the parts are of several tasks, or two of them say different
            truths of one sample.
    """
    tasks = sorted({part.task for part in parts})
    if len(tasks) != 1:
        raise DataError(f"found predictions of {tasks}, expected those of one task")
    begins = np.cumsum([0, *(len(part.key) for part in parts)])
    return _sorted(
        tasks[0],
        np.concatenate([part.key for part in parts]),
        np.concatenate([part.sample + begin for part, begin in zip(parts, begins, strict=False)]),
        np.concatenate([part.pixel for part in parts]),
        np.concatenate([part.prediction for part in parts]),
        np.concatenate([part.target for part in parts]),
    )


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write predictions as Parquet, atomically; equal predictions give equal bytes.

    Raises:
        StorageError: The disk is full or the directory cannot be written.
    """
    n_outputs = predictions.prediction.shape[1]
    schema = _schema(predictions.task)
    columns = {
        "key": pa.array(predictions.key[predictions.sample], pa.string()),
        "pixel": pa.array(predictions.pixel, mask=predictions.pixel == _WHOLE),
        "prediction": _lists(predictions.prediction, n_outputs),
        "target": _lists(predictions.target, n_outputs),
    }
    write_table(pa.table(columns, schema=schema), path, schema)


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        FormatError: The file is missing, is not Parquet or holds something else.
        DataError: Two rows say different truths of one pixel.
    """
    table = read_table(path)
    task = (table.schema.metadata or {}).get(_TASK_KEY, b"").decode()
    if task not in TASKS or not table.schema.equals(_schema(task)):
        raise FormatError(f"{path} does not hold predictions; expected a file that mmearth wrote")
    n_outputs = len(TASKS[task].outputs)
    arrays = {
        name: table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        for name in ("prediction", "target")
    }
    keys = table["key"].combine_chunks().dictionary_encode()
    return _sorted(
        task,
        np.asarray(keys.dictionary.to_pylist(), dtype=np.str_),
        keys.indices.to_numpy(),
        table["pixel"].combine_chunks().fill_null(_WHOLE).to_numpy(zero_copy_only=False),
        arrays["prediction"].reshape(-1, n_outputs),
        arrays["target"].reshape(-1, n_outputs),
    )


def _schema(task: str) -> pa.Schema:
    n_outputs = len(TASKS[task].outputs)
    columns = [
        pa.field("key", pa.string()),
        pa.field("pixel", pa.int32()),
        pa.field("prediction", pa.list_(pa.float32(), n_outputs)),
        pa.field("target", pa.list_(pa.float64(), n_outputs)),
    ]
    return pa.schema(columns, metadata={_TASK_KEY: task.encode()})


def _lists(values: NDArray[np.floating], size: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), size)


def _sorted(
    task: str,
    key: NDArray[np.str_],
    sample: NDArray[np.integer],
    pixel: NDArray[np.int32],
    prediction: NDArray[np.floating],
    target: NDArray[np.generic],
) -> Predictions:
    """Sort rows by (key, pixel), drop repeats and unused keys; `sample` points into `key`."""
    used = np.zeros(len(key), np.bool_)
    used[sample] = True
    unique, place = np.unique(key[used], return_inverse=True)
    sample = place[(np.cumsum(used) - 1)[sample]]
    order = np.lexsort((pixel, sample))  # stable: the first part's row comes first
    sample, pixel, truth = sample[order], pixel[order], target[order].astype(np.float64)
    again = np.zeros(len(sample), np.bool_)
    again[1:] = (sample[1:] == sample[:-1]) & (pixel[1:] == pixel[:-1])
    repeats = np.flatnonzero(again)
    differ = (truth[repeats] != truth[repeats - 1]).any(axis=1)
    if differ.any():
        raise DataError(
            f"{task}: sample {unique[sample[repeats[differ][0]]]} comes twice with different "
            "targets; predict on one dataset only"
        )
    return Predictions(
        task,
        unique,
        sample[~again].astype(np.int64),
        pixel[~again].astype(np.int32),
        prediction[order][~again].astype(np.float32),
        truth[~again],
    )
