"""Confidence intervals by bootstrap: tiles are drawn, never pixels, which lie too close together.

Percentiles of the draws around their own mean (Efron & Tibshirani 1993, An Introduction to the
Bootstrap, §13.3), laid around the estimate: a positive that is drawn twice lies beside itself in
the ranking, which lifts the draws' average precision as a whole, and without the shift the interval
may miss its own estimate. A resample is a row of counts, so a metric's sums of all resamples are
one product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.sums import Weights
from mmearth.catalog.errors import DataError
from mmearth.catalog.tasks import TASKS

RESAMPLES = 1000
"""Draws of an interval: its ends are then good to about a tenth of its width."""
_PERCENT = (2.5, 97.5)
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


def score(predictions: Predictions, seed: int = 0, resamples: int = RESAMPLES) -> list[Score]:
    """Return all metrics of the predictions' task, the headline first.

    Args:
        predictions: Of a whole split.
        seed: Of the draws; equal seeds give equal intervals.
        resamples: How many draws.
    """
    names = TASKS[predictions.task].metrics
    values = {name: METRICS[name].value(predictions) for name in names}
    drawn: dict[str, NDArray[np.float64]] = dict.fromkeys(names, np.zeros(0))
    if np.isfinite(predictions.prediction).all():
        for weights in draws(len(predictions.key), seed, resamples):
            for name in names:
                more = METRICS[name].resampled(predictions, weights)
                drawn[name] = np.concatenate([drawn[name], more])
    n = len(predictions.key)
    return [Score(name, values[name], *interval(values[name], drawn[name]), n) for name in names]


def difference(
    metric: str,
    adapted: Sequence[Predictions],
    plain: Sequence[Predictions],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """Return the mean over pairs of (adapted - plain), and its interval over tiles.

    Both of a pair, and all pairs, see the same draws: what tiles have in common drops out.

    Args:
        metric: A key of METRICS.
        adapted: One a seed.
        plain: Their references, in the same order.
        seed: Of the draws.
        resamples: How many draws.

    Raises:
        DataError: There is no pair, or they are not of the same samples.
    """
    if not adapted or len(adapted) != len(plain):
        raise DataError(f"found {len(adapted)} and {len(plain)} predictions, expected pairs")
    key = adapted[0].key
    if any(not np.array_equal(other.key, key) for other in (*adapted, *plain)):
        raise DataError("predictions to compare are of different samples; expected one split")
    formula = METRICS[metric].resampled

    def mean(weights: Weights) -> NDArray[np.float64]:
        pairs = zip(adapted, plain, strict=True)
        each = [formula(one, weights) - formula(other, weights) for one, other in pairs]
        return np.asarray(np.stack(each).mean(axis=0), np.float64)

    value = float(mean(np.ones((1, len(key))))[0])
    blocks = [mean(weights) for weights in draws(len(key), seed, resamples)]
    drawn = np.concatenate([np.zeros(0), *blocks])
    return Score(metric, value, *interval(value, drawn), len(key))


def draws(n: int, seed: int, resamples: int = RESAMPLES) -> Iterator[Weights]:
    """Yield blocks of resamples of `n` samples: counts, (some resamples, n), each row adds to n."""
    generator = np.random.default_rng(seed)
    most = max(_MOST_WEIGHTS // max(n, 1), 1)
    for begin in range(0, resamples if n else 0, most):
        rows = min(most, resamples - begin)
        drawn = generator.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def interval(value: float, drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the 95 % interval around `value`; NaN where nothing is defined.

    Args:
        value: The metric of the split itself.
        drawn: Of the resamples; undefined ones are left out.
    """
    defined = drawn[~np.isnan(drawn)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = value + np.percentile(defined, _PERCENT) - defined.mean()
    return float(low), float(high)
