"""Task: what follows from its target, and which targets it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmearth.catalog.errors import DataError
from mmearth.catalog.task import METRICS
from mmearth.tests.make_tiny import OWN


@pytest.mark.parametrize(
    ("name", "outputs", "shape", "metrics"),
    [
        ("height", ("m",), (32, 32), ("r2", "rmse")),
        ("landcover", ("class 1", "class 2", "class 7"), (32, 32), ("miou", "accuracy")),
        ("yields", ("value",), (1,), ("r2", "rmse")),
        ("texture", ("sand", "silt", "clay"), (3,), ("r2", "rmse")),
        (
            *("crop", ("class 1", "class 2", "class 7"), (1,)),
            ("balanced_accuracy", "accuracy", "macro_f1"),
        ),
        ("birds", ("wren", "rook", "swift"), (3,), ("map", "recall")),
    ],
)
def test_what_follows_from_the_target(
    name: str, outputs: tuple[str, ...], shape: tuple[int, ...], metrics: tuple[str, ...]
) -> None:
    task = OWN.tasks[name]
    assert (task.outputs, task.shape) == (outputs, shape)
    assert task.metrics == METRICS[task.kind][task.target.level] == metrics
    assert (task.dtype, task.nodata) == (task.target.dtype, task.target.nodata)


def test_targets_that_are_refused() -> None:
    crop, landcover = OWN.tasks["crop"], OWN.tasks["landcover"]
    crop.check(np.array([2], np.uint8))
    with pytest.raises(DataError, match="crop class: found class code 3, expected one of 1, 2, 7"):
        crop.check(np.array([3], np.uint8))
    with pytest.raises(DataError, match=r"crop: there is no target; expected \(1,\)"):
        crop.check(None)
    replace(crop, optional=True).check(None)
    array = np.zeros((32, 32), np.uint8)
    with pytest.raises(DataError, match="landcover: nothing in the target is labelled"):
        landcover.check(array)
    array[0, 0] = 7
    landcover.check(array)
    with pytest.raises(DataError, match=r"landcover: found uint8 \(1, 32, 32\), expected uint8 \("):
        landcover.check(array[np.newaxis])
    with pytest.raises(DataError, match=r"landcover: found int64 .*expected uint8"):
        landcover.check(array.astype(np.int64))
