"""Confidence intervals by bootstrap: tiles are drawn, never pixels, which lie too close together.

Percentiles of the draws around their own mean (Efron & Tibshirani 1993, An Introduction to the
Bootstrap, §13.3), laid around the estimate, on a scale that has no bound: an R² above 1 or a recall
below 0 cannot come out. Without the shift an interval of average precision may miss its own
estimate: a positive that is drawn twice lies beside itself in the ranking, which lifts all draws.

Draws of few tiles vary too little, and how much they vary is itself uncertain, the more so the
fewer tiles decide. So percentiles are stretched to those of Student's t (Hesterberg 2015,
doi:10.1080/00031305.2015.1089789, for equal tiles), with as many degrees of freedom as the
kurtosis of the tiles' influences leaves (Satterthwaite 1946, doi:10.2307/3002019). What that covers
is measured in docs/performance.md. A resample is a row of counts, so a metric's sums of all
resamples are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.scales import Bounds, scale_of
from mmearth.benchmark.sums import Weights
from mmearth.catalog.extras import needing

with needing("benchmark"):
    from scipy.special import ndtri, stdtrit

RESAMPLES = 1000
"""Draws of an interval: its ends are then good to about a tenth of its width."""
PERCENT = (2.5, 97.5)
"""Of the draws: the ends of a 95 % interval."""
_MOST_WEIGHTS = 4_000_000  # of one block, 32 MB, so that a large split stays within memory


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of a split and its 95 % interval."""

    metric: str
    """A key of METRICS."""
    value: float
    """Over the whole split; NaN where undefined."""
    low: float
    """Lower end of the interval; NaN where undefined."""
    high: float
    """Upper end."""
    n: int
    """Samples that it rests on."""
    output: str | None = None
    """Which output of a regression it is of; None: of all."""


def score(predictions: Predictions, seed: int = 0, resamples: int = RESAMPLES) -> list[Score]:
    """Return all metrics of the predictions' task, the headline first.

    Args:
        predictions: Of a whole split.
        seed: Of the draws; equal seeds give equal intervals.
        resamples: How many draws.
    """
    names = predictions.task.metrics
    n = len(predictions.key)
    values = {name: METRICS[name].value(predictions) for name in names}
    if not np.isfinite(predictions.prediction).all():
        return [Score(name, values[name], np.nan, np.nan, n) for name in names]
    drawn: dict[str, NDArray[np.float64]] = dict.fromkeys(names, np.zeros(0))
    first = np.zeros((0, n))
    for weights in draws(n, seed, resamples):
        first = first if len(first) else weights
        for name in names:
            more = METRICS[name].resampled(predictions, weights)
            drawn[name] = np.concatenate([drawn[name], more])
    ends = {m: interval(values[m], drawn[m], first, METRICS[m].bounds) for m in names}
    return [Score(name, values[name], *ends[name], n) for name in names]


def draws(n: int, seed: int, resamples: int = RESAMPLES) -> Iterator[Weights]:
    """Yield blocks of resamples of `n` samples: counts, (some resamples, n), each row adds to n."""
    generator = np.random.default_rng(seed)
    most = max(_MOST_WEIGHTS // max(n, 1), 1)
    for begin in range(0, resamples if n else 0, most):
        rows = min(most, resamples - begin)
        drawn = generator.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def interval(
    value: float, drawn: NDArray[np.float64], weights: Weights, bounds: Bounds
) -> tuple[float, float]:
    """Return the ends of the 95 % interval around `value`; NaN where nothing is defined.

    Args:
        value: The metric of the split itself.
        drawn: Of the resamples, (resamples,); undefined ones are left out.
        weights: Of the first of the resamples, (some resamples, samples).
        bounds: That the metric cannot cross; a value on an open one is its own interval.
    """
    scale = scale_of(bounds)
    centre, moved = float(scale.forward(np.array([value]))[0]), scale.forward(drawn)
    kept = moved[np.isfinite(moved)]
    n = weights.shape[1]
    if n < 2 or np.isnan(value) or not (kept.size or np.isinf(centre)):
        return float("nan"), float("nan")
    if np.isinf(centre):
        return value, value
    stretch = stretch_of(n) * heavier(degrees_of_freedom(moved[: len(weights)], weights))
    ends = centre + stretch * (np.percentile(kept, PERCENT) - kept.mean())
    low, high = scale.back(ends)
    return float(low), float(high)


def stretch_of(n: int) -> float:
    """Return √(n / (n - 1)): a resample of n varies around the mean that it was drawn from."""
    return float(np.sqrt(n / (n - 1)))


def heavier(freedom: float) -> float:
    """Return what Student's t of so many degrees of freedom adds to a normal percentile."""
    return float(stdtrit(freedom, PERCENT[1] / 100) / ndtri(PERCENT[1] / 100))


def degrees_of_freedom(drawn: NDArray[np.float64], weights: Weights) -> float:
    """Return how well the draws' variance is known: n - 1, less where a few samples decide.

    A sample's influence is the covariance of its count with the score (Efron 2014,
    doi:10.1080/01621459.2013.823775). A variance of n values of kurtosis k is known as well as that
    of normal ones with 2 (n - 1) / (k - 1) degrees of freedom.

    Args:
        drawn: Scores of the resamples; those that are not finite are left out.
        weights: Of the same resamples, (resamples, samples).
    """
    n, kept = int(weights.shape[1]), np.isfinite(drawn)
    if not kept.any():
        return n - 1.0
    influence = (drawn[kept] - drawn[kept].mean()) @ (weights[kept] - 1)
    influence = influence - influence.mean()
    square = float((influence**2).mean())
    kurtosis = float((influence**4).mean()) / square**2 if square > 0 else 3.0
    return min(max(2 * (n - 1) / max(kurtosis - 1, 1e-9), 1.0), n - 1.0)
