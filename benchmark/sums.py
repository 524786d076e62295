"""Per-tile sums from which R², RMSE and scores of classes of any set of tiles follow exactly.

Pixels are too many to keep. A few float64 numbers a tile are not: the same numbers give the score
of a whole split, however it was batched or spread over ranks, bit for bit, because tiles are merged
in the order of their keys; and the score of every bootstrap resample of tiles, at the price of a
product of matrices. Deviations are taken from the tile's mean and then from the split's (Chan,
Golub & LeVeque 1983, doi:10.1080/00031305.1983.10483115), so that nothing cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
"""(resamples, tiles): how often each tile was drawn; a row of ones is the split itself."""


@dataclass(frozen=True, slots=True)
class Moments:
    """What regression scores need to know of each tile; arrays of float64, (tiles,)."""

    n: NDArray[np.float64]
    """Valid values of the tile, whole numbers."""
    mean: NDArray[np.float64]
    """Of its targets; 0 where there is none."""
    spread: NDArray[np.float64]
    """Sum of squared deviations of its targets from `mean`."""
    error: NDArray[np.float64]
    """Sum of squared differences between prediction and target."""

    def r2(self, weights: Weights) -> NDArray[np.float64]:
        """Return R² of every resample, (resamples,); one number over all bands and pixels.

        As scikit-learn's `r2_score`: where the targets do not vary, 1 for exact predictions and
        else 0. NaN with fewer than two values.
        """
        n = weights @ self.n
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = (self.n @ self.mean) / self.n.sum()
            away = self.mean - centre
            drift = weights @ (self.n * away) / n
            about_centre = weights @ (self.spread + self.n * away**2)
            total = about_centre - n * drift**2
            error = weights @ self.error
            score = 1 - error / total
        # Equal targets leave rounding in the two differences above, not zero.
        rounding = 1e-12 * about_centre + n * (4 * np.finfo(np.float64).eps * centre) ** 2
        flat = total <= rounding
        score = np.where(flat, np.where(error == 0, 1.0, 0.0), score)
        return np.where(n >= 2, score, np.nan)

    def rmse(self, weights: Weights) -> NDArray[np.float64]:
        """Return the root mean square error of every resample, (resamples,), in the data's unit."""
        n = weights @ self.n
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.sqrt(weights @ self.error / n)


@dataclass(frozen=True, slots=True)
class Hits:
    """What scores of classes need to know of each tile; arrays (tiles, classes)."""

    support: NDArray[Any]
    """Values whose true class it is."""
    predicted: NDArray[Any]
    """Values whose predicted class it is."""
    hits: NDArray[Any]
    """Those that are both."""

    def accuracy(self, weights: Weights) -> NDArray[np.float64]:
        """Return the share of values predicted right, (resamples,); NaN where there is nothing.

        As scikit-learn's `accuracy_score`.
        """
        found, n = (weights @ part.sum(axis=1) for part in (self.hits, self.support))
        share = np.divide(found, n, out=np.full(len(n), np.nan), where=n > 0)
        return np.asarray(share, np.float64)

    def balanced_accuracy(self, weights: Weights) -> NDArray[np.float64]:
        """Return the mean over classes of the share predicted right, (resamples,).

        As scikit-learn's `balanced_accuracy_score`: classes that the truth does not hold are left
        out, predicted or not. NaN where there is nothing.
        """
        support = weights @ self.support
        return _mean_over_classes(weights @ self.hits, support)

    def macro_f1(self, weights: Weights) -> NDArray[np.float64]:
        """Return the mean over classes of F1, (resamples,).

        As scikit-learn's `f1_score(average="macro")`: over classes that are true or predicted
        somewhere. NaN where there is nothing.
        """
        return _mean_over_classes(2 * (weights @ self.hits), weights @ self._both)

    def miou(self, weights: Weights) -> NDArray[np.float64]:
        """Return the mean over classes of intersection over union, (resamples,).

        As scikit-learn's `jaccard_score(average="macro")`: over classes that are true or predicted
        somewhere. NaN where there is nothing.
        """
        hits = weights @ self.hits
        return _mean_over_classes(hits, weights @ self._both - hits)

    @property
    def _both(self) -> NDArray[Any]:
        return np.asarray(self.support + self.predicted)


def _mean_over_classes(
    part: NDArray[np.float64], whole: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return means of part / whole, (resamples,), over the classes that have a whole."""
    share = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    n_classes = (whole > 0).sum(axis=1)
    return np.where(n_classes > 0, share.sum(axis=1) / np.maximum(n_classes, 1), np.nan)


def moments(
    prediction: NDArray[np.floating], target: NDArray[np.floating], sample: NDArray[np.int64]
) -> Moments:
    """Return the moments of rows by sample.

    Args:
        prediction: (n,) or (n, outputs).
        target: Of the same shape, same unit.
        sample: (n,) which tile a row belongs to, from 0 up.
    """
    truth = _flat(target).astype(np.float64)
    differences = (prediction.reshape(truth.shape).astype(np.float64) - truth) ** 2
    n_tiles = int(sample.max()) + 1 if len(sample) else 0
    n = _sums(sample, np.full(len(sample), float(truth.shape[1])), n_tiles)
    mean = _sums(sample, truth.sum(axis=1), n_tiles) / np.maximum(n, 1)
    deviations = ((truth - mean[sample][:, None]) ** 2).sum(axis=1)
    return Moments(
        n,
        mean,
        _sums(sample, deviations, n_tiles),
        _sums(sample, differences.sum(axis=1), n_tiles),
    )


def _sums(sample: NDArray[np.int64], values: NDArray[Any], n_tiles: int) -> NDArray[np.float64]:
    return np.bincount(sample, values, n_tiles).astype(np.float64)


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """Return (tiles, values of each); a batch of padding only has no tile and no -1 to solve."""
    return values.reshape(len(values), math.prod(values.shape[1:]))


def tile_moments(
    prediction: NDArray[np.floating], target: NDArray[np.floating], mask: NDArray[np.bool_]
) -> Moments:
    """Return the moments of a batch of one continuous modality: all valid values of each tile.

    Args:
        prediction: (tiles, …) any further axes.
        target: Of the same shape, same unit.
        mask: Of the same shape, True where the target is valid.
    """
    valid = _flat(mask)
    truth = np.where(valid, _flat(target), 0).astype(np.float64)
    guess = np.where(valid, _flat(prediction), 0).astype(np.float64)
    n = valid.sum(axis=1).astype(np.float64)
    mean = truth.sum(axis=1) / np.maximum(n, 1)
    deviations = np.where(valid, truth - mean[:, None], 0.0)
    return Moments(n, mean, (deviations**2).sum(axis=1), ((guess - truth) ** 2).sum(axis=1))


def tile_hits(
    prediction: NDArray[np.integer],
    target: NDArray[np.integer],
    mask: NDArray[np.bool_],
    n_classes: int,
) -> Hits:
    """Return the hits of a batch of one categorical modality.

    Args:
        prediction: (tiles, …) predicted class indices.
        target: Of the same shape, true class indices; anything where `mask` is False.
        mask: Of the same shape, True where the target is valid.
        n_classes: Of the modality, no-data not counted.
    """
    valid = _flat(mask)
    tile = np.broadcast_to(np.arange(len(target))[:, None], valid.shape)[valid]
    return hits(_flat(prediction)[valid], _flat(target)[valid], tile, len(target), n_classes)


def hits(
    prediction: NDArray[np.integer],
    target: NDArray[np.integer],
    tile: NDArray[np.integer],
    n_tiles: int,
    n_classes: int,
) -> Hits:
    """Return the hits of values in any order.

    Args:
        prediction: (n,) predicted class indices.
        target: (n,) true class indices.
        tile: (n,) which tile a value belongs to, from 0 up.
        n_tiles: How many there are.
        n_classes: How many a value can have.
    """
    true, said = tile * n_classes + target, tile * n_classes + prediction
    parts = (true, said, true[prediction == target])
    size = n_tiles * n_classes
    counts = (np.bincount(part, minlength=size).reshape(n_tiles, n_classes) for part in parts)
    return Hits(*(count.astype(np.int32) for count in counts))


def join_moments(parts: Sequence[Moments], order: NDArray[np.int64]) -> Moments:
    """Return the tiles of all parts, those of `order` in its order."""
    names = ("n", "mean", "spread", "error")
    return Moments(*(np.concatenate([getattr(p, name) for p in parts])[order] for name in names))


def join_hits(parts: Sequence[Hits], order: NDArray[np.int64]) -> Hits:
    """Return the tiles of all parts, those of `order` in its order."""
    names = ("support", "predicted", "hits")
    return Hits(*(np.concatenate([getattr(p, name) for p in parts])[order] for name in names))
