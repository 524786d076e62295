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
from mmearth.catalog.task import Task

_TASK_KEY = b"mmearth:task"
_WHOLE = -1  # stands for "no pixel: the whole tile"


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions and targets of one split, sorted by (key, pixel), each sample once.

    A row is a sample for tile-level tasks and a labelled pixel for pixel-level ones.
    """

    task: Task
    """What is predicted."""
    key: NDArray[np.str_]
    """(n_samples,) keys of the samples, sorted, each once; all have a row at least."""
    sample: NDArray[np.int64]
    """(n,) position in `key` of every row, not falling."""
    pixel: NDArray[np.int32]
    """(n,) row × columns + column in the tile, rows from the north; -1 for tile-level tasks."""
    prediction: NDArray[np.float32]
    """(n, outputs) in the task's unit; of labels and of a tile's class the probabilities, 0 to 1,
    and (n, 1) class indices of pixels."""
    target: NDArray[np.float64]
    """(n, outputs) in the task's unit; 0 or 1 for labels; (n, 1) class indices."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sample)

    @property
    def classes(self) -> NDArray[np.int64]:
        """(n,) predicted class indices of a classification: the most probable, the first of two."""
        if self.task.is_pixel:
            return self.prediction[:, 0].astype(np.int64)
        return np.asarray(self.prediction.argmax(axis=1), np.int64)

    def of_output(self, i: int) -> Predictions:
        """Return the predictions of one output of a regression, as of a task of its own."""
        target = replace(self.task.target, bands=self.task.target.bands[i : i + 1])
        return replace(
            self,
            task=replace(self.task, target=target),
            prediction=self.prediction[:, i : i + 1],
            target=self.target[:, i : i + 1],
        )

    def with_tiles(self, key: Sequence[str], prediction: NDArray[np.floating]) -> Predictions:
        """Return the same truth with one prediction a tile in every row of that tile.

        Args:
            key: Of the tiles, in any order; every sample here must be among them.
            prediction: (tiles, …) as in `prediction`.

        Raises:
            DataError: A sample here is not among the tiles.
        """
        keys = np.asarray(key, dtype=np.str_)
        order = np.argsort(keys)
        place = np.minimum(np.searchsorted(keys, self.key, sorter=order), max(len(keys) - 1, 0))
        found = keys[order[place]] == self.key if len(keys) else np.zeros(len(self.key), np.bool_)
        if not found.all():
            raise DataError(
                f"{self.task.name}: sample {self.key[~found][0]} has no prediction; expected one "
                "for each sample of the split"
            )
        rows = order[place][self.sample]
        return replace(self, prediction=np.asarray(prediction, np.float32)[rows])


def tile_predictions(
    task: Task,
    key: Sequence[str],
    prediction: NDArray[np.floating],
    target: NDArray[np.generic],
    weight: NDArray[np.generic] | None = None,
) -> Predictions:
    """Return the predictions of a batch, or of many, of a tile-level task.

    Args:
        task: What is predicted.
        key: Of the samples, in any order.
        prediction: (n, outputs) in the task's unit; probabilities of labels or classes.
        target: (n, outputs) in the task's unit; (n, 1) class indices.
        weight: (n,) 0 marks padding, which is dropped; None is no padding.

    Raises:
        DataError: The shapes do not fit the task.
    """
    widths = _widths(task)
    for name, array, width in zip(
        ("prediction", "target"), (prediction, target), widths, strict=True
    ):
        if array.shape != (len(key), width):
            raise DataError(
                f"{task.name}: {name} has shape {array.shape}, expected {(len(key), width)}"
            )
    real = np.ones(len(key), np.bool_) if weight is None else np.asarray(weight) > 0
    sample = np.flatnonzero(real)
    pixel = np.full(len(sample), _WHOLE, np.int32)
    return _sorted(task, np.asarray(key, np.str_), sample, pixel, prediction[real], target[real])


def pixel_predictions(
    task: Task,
    key: Sequence[str],
    prediction: NDArray[np.floating],
    target: NDArray[np.generic],
    mask: NDArray[np.bool_],
    weight: NDArray[np.generic] | None = None,
) -> Predictions:
    """Return the labelled pixels of a batch of a pixel-level task.

    Args:
        task: What is predicted.
        key: Of the samples, in any order.
        prediction: (n, row, column) in the task's unit, or class indices.
        target: Of the same shape and meaning; anything where `mask` is False.
        mask: Of the same shape, True where a pixel is labelled.
        weight: (n,) 0 marks padding, which is dropped; None is no padding.

    Raises:
        DataError: The shapes do not fit the task or one another.
    """
    shape = (len(key), *task.shape)
    for name, array in (("prediction", prediction), ("target", target), ("mask", mask)):
        if array.shape != shape:
            raise DataError(f"{task.name}: {name} has shape {array.shape}, expected {shape}")
    labelled = mask if weight is None else mask & (np.asarray(weight) > 0)[:, None, None]
    tile, row, column = np.nonzero(labelled)
    pixel = (row * shape[2] + column).astype(np.int32)
    values = prediction[labelled][:, None], target[labelled][:, None]
    return _sorted(task, np.asarray(key, np.str_), tile, pixel, *values)


def _widths(task: Task) -> tuple[int, int]:
    """Return how many numbers a row's prediction and its target have."""
    if task.is_pixel:
        return 1, 1
    return len(task.outputs), len(task.target.bands)


def merge_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of all batches or ranks as one: sorted, every sample once.

    Of a sample that comes twice the first part's rows stay.

    Raises:
        DataError: There is no part, the parts are of several tasks, or two of them say different
            truths of one sample.
    """
    names = sorted({part.task.name for part in parts})
    if len(names) != 1:
        raise DataError(f"found predictions of {names}, expected those of one task")
    begins = np.cumsum([0, *(len(part.key) for part in parts)])
    return _sorted(
        parts[0].task,
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
    schema = _schema(predictions.task)
    places = pa.array(predictions.sample, pa.int32())
    keys = pa.DictionaryArray.from_arrays(places, pa.array(predictions.key, pa.string()))
    columns = {
        "key": keys.cast(pa.string()),
        "pixel": pa.array(predictions.pixel, mask=predictions.pixel == _WHOLE),
        "prediction": _lists(predictions.prediction),
        "target": _lists(predictions.target),
    }
    write_table(pa.table(columns, schema=schema), path, schema)


def read_predictions(path: Path, task: Task) -> Predictions:
    """Read what `write_predictions` wrote of a task.

    Raises:
        FormatError: The file is missing, is not Parquet or holds something else.
        DataError: Two rows say different truths of one pixel.
    """
    table = read_table(path)
    name = (table.schema.metadata or {}).get(_TASK_KEY)
    if name != task.name.encode() or not table.schema.equals(_schema(task)):
        raise FormatError(
            f"{path} does not hold predictions of {task.name}; expected a file that mmearth wrote"
        )
    arrays = {
        name: table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        for name in ("prediction", "target")
    }
    keys = table["key"].combine_chunks().dictionary_encode()
    prediction, target = _widths(task)
    return _sorted(
        task,
        np.asarray(keys.dictionary.to_pylist(), dtype=np.str_),
        keys.indices.to_numpy(),
        table["pixel"].combine_chunks().fill_null(_WHOLE).to_numpy(zero_copy_only=False),
        arrays["prediction"].reshape(-1, prediction),
        arrays["target"].reshape(-1, target),
    )


def _schema(task: Task) -> pa.Schema:
    prediction, target = _widths(task)
    columns = [
        pa.field("key", pa.string()),
        pa.field("pixel", pa.int32()),
        pa.field("prediction", pa.list_(pa.float32(), prediction)),
        pa.field("target", pa.list_(pa.float64(), target)),
    ]
    return pa.schema(columns, metadata={_TASK_KEY: task.name.encode()})


def _lists(values: NDArray[np.floating]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _sorted(
    task: Task,
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
    order = _order(sample, pixel)
    sample, pixel, prediction = sample[order], pixel[order], prediction[order]
    truth = target[order].astype(np.float64, copy=False)
    again = np.zeros(len(sample), np.bool_)
    again[1:] = (sample[1:] == sample[:-1]) & (pixel[1:] == pixel[:-1])
    repeats = np.flatnonzero(again)
    differ = (truth[repeats] != truth[repeats - 1]).any(axis=1)
    if differ.any():
        raise DataError(
            f"{task.name}: sample {unique[sample[repeats[differ][0]]]} comes twice with different "
            "targets; predict on one dataset only"
        )
    if repeats.size:
        sample, pixel = sample[~again], pixel[~again]
        prediction, truth = prediction[~again], truth[~again]
    return Predictions(
        task,
        unique,
        sample.astype(np.int64, copy=False),
        pixel.astype(np.int32, copy=False),
        prediction.astype(np.float32, copy=False),
        truth,
    )


def _order(sample: NDArray[np.integer], pixel: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the order by (sample, pixel), of equal ones the first first.

    A sample's pixels mostly come together and in order: then samples are sorted, and not millions
    of pixels.
    """
    begins = np.flatnonzero(np.diff(sample, prepend=-1))
    lengths = np.diff(begins, append=len(sample))
    runs = np.argsort(sample[begins], kind="stable")
    shifts = begins[runs] - np.cumsum(lengths[runs]) + lengths[runs]
    order = np.repeat(shifts, lengths[runs]) + np.arange(len(sample))
    by_sample, by_pixel = np.diff(sample[order]), np.diff(pixel[order])
    if ((by_sample > 0) | (by_pixel > 0)).all():
        return order
    return np.lexsort((pixel, sample))
