"""What a model says of a split, on all ranks together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from mmearth.benchmark.intervals import RESAMPLES, Score, score
from mmearth.benchmark.metrics import headline
from mmearth.benchmark.predictions import Predictions, pixel_predictions, tile_predictions
from mmearth.benchmark.ranks import gather
from mmearth.catalog.task import Task

Predict = Callable[[Any], Tensor]
"""Batch → predictions as `in_unit` returns them."""


def evaluate(fabric: Fabric, task: Task, batches: Iterable[Any], predict: Predict) -> Predictions:
    """Return the predictions of a split, without gradients."""
    parts = []
    with torch.no_grad():
        for batch in batches:
            here = fabric.to_device(batch)
            parts.append(predictions_of(task, batch, predict(here)))
    return gather(fabric, parts)


def predictions_of(task: Task, batch: Any, prediction: Tensor) -> Predictions:
    """Return a batch's predictions beside its truth; padding is dropped."""
    values = prediction.float().cpu().numpy()
    target, weight = batch["target"].cpu().numpy(), batch["weight"].cpu().numpy()
    mask = batch["mask"]["target"].cpu().numpy()
    if task.is_pixel:
        return pixel_predictions(task, batch["key"], values, target, mask, weight)
    return tile_predictions(task, batch["key"], values, target, weight * mask.all(axis=1))


def goodness(predictions: Predictions) -> float:
    """Return the task's headline metric, signed so that more is better; -inf where undefined."""
    metric = headline(predictions.task)
    value = metric.value(predictions) * (1.0 if metric.higher_is_better else -1.0)
    return -np.inf if np.isnan(value) else value


def all_scores(predictions: Predictions, resamples: int = RESAMPLES) -> list[Score]:
    """Return all metrics of a split, then those of each output where a regression has several."""
    task, scores = predictions.task, score(predictions, resamples=resamples)
    if task.kind == "regression" and len(task.outputs) > 1:
        for i, name in enumerate(task.outputs):
            of_output = score(predictions.of_output(i), resamples=resamples)
            scores += [replace(each, output=name) for each in of_output]
    return scores
