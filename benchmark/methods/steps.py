"""How many steps to take: K from a validation run."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mmearth.catalog.errors import ConfigError


def choose_steps(losses: ArrayLike, zero: bool = False) -> int:
    """Return K: the mean over batches of the iteration that suits each best, rounded.

    Published (MMEarth-Bench §6): of iterations 1 to 5, by the task's loss, with labels. The same
    rule without labels takes the loss of modalities that were held back.

    Args:
        losses: (batches, iterations 0 to K) of one validation run; NaN where a batch has no label.
            Batches that have a NaN are left out.
        zero: Whether not to adapt at all, iteration 0, is a candidate; it is not as published.

    Raises:
        ConfigError: There is no batch without NaN, or no iteration to choose.
    """
    table = np.asarray(losses, np.float64)
    first = 0 if zero else 1
    if table.ndim != 2 or table.shape[1] <= first:
        raise ConfigError(
            f"found losses of shape {table.shape}; expected (batches, iterations from 0 on)"
        )
    table = table[~np.isnan(table).any(axis=1)]
    if not len(table):
        raise ConfigError("no validation batch has a loss at all iterations; give steps yourself")
    return round(float((table[:, first:].argmin(axis=1) + first).mean()))
