"""METRICS: what a run is scored by, always over the whole split and in the task's own unit.

A mean of batch scores is not the split's score. Every metric here takes weights on samples, so one
formula gives the split's value (all weights one) and that of each bootstrap resample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.scales import Bounds
from mmearth.benchmark.sums import Hits, Moments, Weights, hits, moments
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.extras import needing
from mmearth.catalog.task import METRICS as OF_KIND
from mmearth.catalog.task import Task

with needing("benchmark"):
    from scipy import sparse

THRESHOLD = 0.5
"""A label counts as predicted above this probability (MMEarth-Bench §5: recall at 0.5)."""

Resampled = Callable[[Predictions, Weights], NDArray[np.float64]]
"""(predictions, weights of their samples) → the metric of every row of weights, (resamples,)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One way to score predictions."""

    name: str
    """The name that results and tasks use."""
    title: str
    """For people."""
    higher_is_better: bool
    """Whether a better model has more of it."""
    has_unit: bool
    """Whether it is in the task's unit; otherwise it has none."""
    bounds: Bounds
    """The least and the greatest value it can have."""
    resampled: Resampled
    """Its formula."""

    def value(self, predictions: Predictions) -> float:
        """Return the metric of a whole split; NaN where undefined or a prediction is not finite."""
        if not np.isfinite(predictions.prediction).all():
            return float("nan")
        return float(self.resampled(predictions, np.ones((1, len(predictions.key))))[0])


def _r2(predictions: Predictions, weights: Weights) -> NDArray[np.float64]:
    return _mean_of_outputs(Moments.r2, predictions, weights)


def _rmse(predictions: Predictions, weights: Weights) -> NDArray[np.float64]:
    return _mean_of_outputs(Moments.rmse, predictions, weights)


def _mean_of_outputs(
    formula: Callable[[Moments, Weights], NDArray[np.float64]],
    predictions: Predictions,
    weights: Weights,
) -> NDArray[np.float64]:
    columns = zip(predictions.prediction.T, predictions.target.T, strict=True)
    each = [formula(moments(p, t, predictions.sample), weights) for p, t in columns]
    return np.asarray(np.mean(each, axis=0), np.float64)


def _share(
    name: str, title: str, formula: Callable[[Hits, Weights], NDArray[np.float64]]
) -> Metric:
    """Return a score of classes, 0 to 1."""

    def resampled(predictions: Predictions, weights: Weights) -> NDArray[np.float64]:
        return formula(hits_of(predictions), weights)

    return Metric(name, title, True, False, (0, 1), resampled)


def hits_of(predictions: Predictions) -> Hits:
    """Return the true and the predicted classes of each sample of a classification."""
    n_classes = len(predictions.task.outputs)
    target = predictions.target[:, 0].astype(np.int64)
    n = len(predictions.key)
    return hits(predictions.classes, target, predictions.sample, n, n_classes)


def _map(predictions: Predictions, weights: Weights) -> NDArray[np.float64]:
    return _mean_of_defined(average_precisions(predictions, weights))


def _recall(predictions: Predictions, weights: Weights) -> NDArray[np.float64]:
    positive = predictions.target > 0
    found = positive & (predictions.prediction > THRESHOLD)
    n_positive = weights @ positive
    n_found = weights @ found
    shares = np.full(n_positive.shape, np.nan)
    return _mean_of_defined(np.divide(n_found, n_positive, out=shares, where=n_positive > 0))


def average_precisions(predictions: Predictions, weights: Weights) -> NDArray[np.float64]:
    """Return the average precision of every label in every resample, (resamples, labels).

    As scikit-learn's `average_precision_score`: the step-wise sum, samples of equal score at once.
    NaN for a label without a positive, whose precision is undefined.

    Args:
        predictions: Of a multi-label task.
        weights: Of its samples.
    """
    columns = np.ascontiguousarray(weights.T, dtype=np.float32)  # (samples, resamples)
    labels = zip(predictions.prediction.T, predictions.target.T > 0, strict=True)
    return np.stack([_average_precision(p, t, columns) for p, t in labels], axis=1)


def _average_precision(
    score: NDArray[np.float32], positive: NDArray[np.bool_], columns: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return one label's average precision, (resamples,); `columns` is (samples, resamples)."""
    if not positive.any():
        return np.full(columns.shape[1], np.nan)
    order: NDArray[np.int64] = np.argsort(-score, kind="stable")
    is_positive: NDArray[np.bool_] = positive[order]
    # A group ends where samples of one score end and a positive is among them: elsewhere recall
    # does not grow, so those steps add nothing.
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True)) + 1
    ends = ends[np.diff(np.cumsum(is_positive)[ends - 1], prepend=0) > 0]
    seen = _sums_of_runs(order, ends, columns)
    positives = np.cumsum(is_positive, dtype=np.int64)[ends - 1]
    found = _sums_of_runs(order[is_positive], positives, columns)
    n_seen, n_found = np.cumsum(seen, axis=0), np.cumsum(found, axis=0)
    precision = np.divide(n_found, n_seen, out=np.zeros_like(n_found), where=n_seen > 0)
    area, n_positive = (precision * found).sum(axis=0), n_found[-1]
    undefined = np.full(len(area), np.nan)
    return np.asarray(np.divide(area, n_positive, out=undefined, where=n_positive > 0), np.float64)


def _sums_of_runs(
    order: NDArray[np.int64], ends: NDArray[np.int64], columns: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return sums of `columns` over runs of `order`, (runs, resamples); `ends` are excluded ends.

    A sparse product gathers and adds in one pass. Weights are counts, so float32 is exact.
    """
    n_used = int(ends[-1])
    bounds = np.concatenate([[0], ends])
    pick = sparse.csr_array(
        (np.ones(n_used, np.float32), order[:n_used], bounds), shape=(len(ends), len(columns))
    )
    return np.asarray(pick @ columns, dtype=np.float64)


def _mean_of_defined(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means over labels, (resamples,), leaving NaN out; NaN where no label is defined."""
    defined = ~np.isnan(scores)
    n_defined = defined.sum(axis=1)
    total = np.where(defined, scores, 0).sum(axis=1)
    return np.where(n_defined > 0, total / np.maximum(n_defined, 1), np.nan)


METRICS: dict[str, Metric] = {
    "r2": Metric("r2", "R²", True, False, (-math.inf, 1), _r2),
    "rmse": Metric("rmse", "RMSE", False, True, (0, math.inf), _rmse),
    "map": Metric("map", "mAP", True, False, (0, 1), _map),
    "recall": Metric("recall", "recall", True, False, (0, 1), _recall),
    "balanced_accuracy": _share("balanced_accuracy", "balanced accuracy", Hits.balanced_accuracy),
    "accuracy": _share("accuracy", "accuracy", Hits.accuracy),
    "macro_f1": _share("macro_f1", "macro F1", Hits.macro_f1),
    "miou": _share("miou", "mIoU", Hits.miou),
}
"""By name. Of a regression with several outputs R² and RMSE are means over the outputs, as
scikit-learn's `uniform_average`. The macro means of `map` and `recall` leave out labels without a
positive, as torchmetrics does for average precision and scikit-learn's
`recall_score(zero_division=nan)`; the published test splits hold all 100.
"""


def headline(task: Task) -> Metric:
    """Return what a task is judged by: its first metric."""
    return METRICS[task.metrics[0]]


def check_metrics(task: Task) -> None:
    """Refuse a task that is scored by what its kind is not.

    Raises:
        ConfigError: It names another metric, or none.
    """
    known = OF_KIND[task.kind].get(task.target.level, ())
    unknown = [name for name in task.metrics if name not in known]
    if unknown or not task.metrics:
        raise ConfigError(
            f"{task.name} is scored by {unknown[0] if unknown else 'nothing'}; expected some of "
            f"{', '.join(known)} as its metrics"
        )
