"""How many steps to take: K from a validation run."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmearth.catalog.errors import ConfigError

Rule = Literal["summed", "published"]


def choose_steps(losses: ArrayLike, zero: bool = False, rule: Rule = "summed") -> int:
    """Return K, the iteration that suits the batches of a validation run.

    Args:
        losses: (batches, iterations 0 to K) of one validation run, by the task's loss or by that
            of modalities that were held back; NaN where a batch has no label. Batches that have a
            NaN are left out.
        zero: Whether not to adapt at all, iteration 0, is a candidate; it is not as published.
        rule: `summed`: the iteration of the least sum over batches, the first of several.
            `published` (MMEarth-Bench §6): the mean over batches of the iteration that suits each
            best, rounded; it may suit none of them.

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
        raise ConfigError(
            "no validation batch has a loss at all iterations, so that none can be chosen by "
            "labels; choose without them, as TTT-MMR-held-back, -pixels and -change do"
        )
    if rule == "summed":
        return int(table.sum(axis=0)[first:].argmin()) + first
    return round(float((table[:, first:].argmin(axis=1) + first).mean()))
