"""What one method gains over another on the same samples: by samples, and by samples and seeds.

Samples and seeds are crossed: each seed's model sees every sample. So both are drawn, each for
itself, and what they move the difference by is added (compare Owen 2007, doi:10.1214/07-AOAS122),
each stretched for having come from few, as `intervals` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.benchmark.intervals import (
    PERCENT,
    RESAMPLES,
    degrees_of_freedom,
    draws,
    heavier,
    interval,
    stretch_of,
)
from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.scales import Bounds, difference_bounds
from mmearth.benchmark.sums import Weights
from mmearth.catalog.errors import DataError

_FEW = 200


@dataclass(frozen=True, slots=True)
class Spread:
    """Where a difference's variance comes from.

    Of the mean over S seeds on n samples it is samples / n + mixed / (n S) + seeds / S.
    """

    samples: float
    """Of one sample, common to all seeds."""
    mixed: float
    """Of one sample under one seed, beside that; 0 where there is one seed."""
    seeds: float
    """Of one seed, with all samples there are; NaN where there is one seed."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Mean over seeds of a metric of one method minus that of another."""

    value: float
    """In the metric's unit; NaN where undefined."""
    by_samples: tuple[float, float]
    """95 % interval for these seeds, over samples; NaN where undefined."""
    by_both: tuple[float, float]
    """The same over samples and seeds; NaN with one seed."""
    n: int
    """Samples."""
    n_seeds: int
    """Seeds."""
    spread: Spread
    """Of the differences."""


def paired(
    metric: str,
    one: Sequence[Predictions],
    other: Sequence[Predictions],
    seed: int = 0,
    resamples: int | None = None,
) -> Paired:
    """Return the mean over pairs of (one - other), its intervals and its spread.

    Both of a pair, and all pairs, see the same draws: what samples have in common drops out.

    Args:
        metric: A key of METRICS.
        one: Of the method that is looked at, one a seed.
        other: Of its reference, in the same order of seeds.
        seed: Of the draws.
        resamples: How many draws; None: RESAMPLES, fewer of mAP, which takes a hundred times as
            long as other metrics.

    Raises:
        DataError: There is no pair, or they are not of the same samples.
    """
    if not one or len(one) != len(other):
        raise DataError(f"found {len(one)} and {len(other)} predictions, expected pairs")
    key = one[0].key
    if any(not np.array_equal(each.key, key) for each in (*one, *other)):
        raise DataError("predictions to compare are of different samples; expected one split")
    formula = METRICS[metric].resampled
    resamples = resamples or (_FEW if metric == "map" else RESAMPLES)

    def differences(weights: Weights) -> NDArray[np.float64]:
        pairs = zip(one, other, strict=True)
        return np.stack([formula(a, weights) - formula(b, weights) for a, b in pairs], axis=1)

    found = differences(np.ones((1, len(key))))[0]
    blocks = list(draws(len(key), seed, resamples))
    drawn = np.concatenate([np.zeros((0, len(one))), *(differences(block) for block in blocks)])
    first = blocks[0] if blocks else np.zeros((0, len(key)))
    value, means = float(found.mean()), drawn.mean(axis=1)
    return Paired(
        value,
        interval(value, means, first, difference_bounds(METRICS[metric].bounds)),
        _by_both(found, drawn, first, seed, difference_bounds(METRICS[metric].bounds)),
        len(key),
        len(one),
        spread_of(found, drawn, len(key)),
    )


def _by_both(
    found: NDArray[np.float64],
    drawn: NDArray[np.float64],
    first: Weights,
    seed: int,
    bounds: Bounds,
) -> tuple[float, float]:
    """Return the 95 % interval when seeds are drawn too.

    Args:
        found: (seeds,) differences.
        drawn: (resamples, seeds) the same of resamples of the samples.
        first: Weights of the first resamples.
        seed: Of the draws of seeds.
        bounds: Of a difference, beyond which the t of few seeds would reach.
    """
    kept = drawn[np.isfinite(drawn).all(axis=1)]
    n, n_seeds = first.shape[1], len(found)
    if n < 2 or n_seeds < 2 or not len(kept) or not np.isfinite(found).all():
        return math.nan, math.nan
    picked = np.random.default_rng(seed).integers(0, n_seeds, (len(kept), n_seeds))
    by_samples = kept.mean(axis=1) - kept.mean()
    by_seeds = found[picked].mean(axis=1) - found.mean()
    freedom = degrees_of_freedom(drawn[: len(first)].mean(axis=1), first)
    # Each part for itself: what samples vary by is counted in the seeds' part again, as no seed is
    # seen without samples. So the interval errs on the wide side.
    moved = stretch_of(n) * heavier(freedom) * by_samples
    moved += stretch_of(n_seeds) * heavier(n_seeds - 1) * by_seeds
    low, high = np.clip(found.mean() + np.percentile(moved, PERCENT), *bounds)
    return float(low), float(high)


def spread_of(found: NDArray[np.float64], drawn: NDArray[np.float64], n: int) -> Spread:
    """Return the components of a difference's variance.

    Args:
        found: (seeds,) differences on all samples.
        drawn: (resamples, seeds) the same of resamples; rows that are not finite are left out.
        n: Samples.
    """
    kept = drawn[np.isfinite(drawn).all(axis=1)]
    if n < 2 or len(kept) < 2 or not np.isfinite(found).all():
        return Spread(math.nan, math.nan, math.nan)
    covariance = np.atleast_2d(np.cov(kept.T)) * n / (n - 1)
    n_seeds = len(found)
    own = float(covariance.diagonal().mean())
    if n_seeds == 1:
        return Spread(own * n, 0.0, math.nan)
    shared = float((covariance.sum() - covariance.trace()) / (n_seeds * (n_seeds - 1)))
    shared = min(max(shared, 0.0), own)
    seeds = max(0.0, float(found.var(ddof=1)) - (own - shared))
    return Spread(shared * n, (own - shared) * n, seeds)
