"""Scales on which a bounded metric has no bound, so that no interval of it can cross one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bounds = tuple[float, float]
"""The least and the greatest value that a metric can have; infinite where there is none."""
FREE: Bounds = (-math.inf, math.inf)
"""Of what has no bound."""

_Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scale:
    """A rising function and its inverse."""

    forward: Callable[[_Values], _Values]
    """Metric → scale; not finite at an open bound."""
    back: Callable[[_Values], _Values]
    """Scale → metric, always inside the bounds."""


def scale_of(bounds: Bounds) -> Scale:
    """Return the scale of a metric with these bounds.

    One bound: the logarithm of the distance to it, which for R² is that of the share of variance
    not explained. Two: the arcsine of the root, on which a share varies alike everywhere.
    """
    low, high = bounds
    if math.isfinite(low) and math.isfinite(high):
        width = high - low
        return Scale(
            lambda x: np.arcsin(np.sqrt(np.clip((x - low) / width, 0, 1))),
            lambda z: low + width * np.sin(np.clip(z, 0, np.pi / 2)) ** 2,
        )
    if math.isfinite(high):
        return Scale(lambda x: -_log(high - x), lambda z: high - _exp(-z))
    if math.isfinite(low):
        return Scale(lambda x: _log(x - low), lambda z: low + _exp(z))
    return Scale(lambda x: x, lambda z: z)


def difference_bounds(bounds: Bounds) -> Bounds:
    """Return the bounds of a difference of two values inside `bounds`."""
    width = bounds[1] - bounds[0]
    return -width, width


def _log(distance: _Values) -> _Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(distance), np.float64)


def _exp(logarithm: _Values) -> _Values:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(logarithm), np.float64)
