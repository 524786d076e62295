"""By what the iteration that answers a batch is chosen, and what is adapted to meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from torch import Tensor

from mmearth.benchmark.adapted import choice_of
from mmearth.benchmark.job import Job
from mmearth.benchmark.losses import held, losses_of_batch, losses_of_parts
from mmearth.benchmark.methods.cotangents import Losses
from mmearth.benchmark.methods.trace import Adapted


def adapted_to(job: Job) -> tuple[Losses, tuple[str, ...]]:
    """Return the losses of a run's batches, and the names of those that are watched alone."""
    choice = choice_of(job.cell.method)
    if choice == "pixels":
        with_pixels = [name for name, layer in job.data.layers.items() if layer.is_pixel]
        return losses_of_parts, tuple(map(held, with_pixels))
    return losses_of_batch, job.config.adaptation.held_back if choice == "held-back" else ()


def answering(job: Job, adapted: Adapted, real: Tensor, losses: Sequence[float] = ()) -> Adapted:
    """Return the same with the iteration that answers, as the run's method chooses it.

    Args:
        job: Whose method it is.
        adapted: To one batch; what is held back has chosen by itself.
        real: (B,) bool, False for padding.
        losses: Of the task, an iteration; the oracle alone looks at them, and takes 0 without.
    """
    choice = choice_of(job.cell.method)
    if choice == "change":
        predictions = [prediction for prediction, _ in adapted.predictions]
        return replace(adapted, chosen=least_change(predictions, real))
    if choice == "oracle":
        return replace(adapted, chosen=_least(losses))
    return adapted


def least_change(predictions: Sequence[Tensor], real: Tensor) -> int:
    """Return the iteration whose predictions the next step changes least: 0 to K - 1."""
    steps = pairwise(predictions)
    return _least([float((after - before)[real].double().norm()) for before, after in steps])


def _least(values: Sequence[float]) -> int:
    """Return the place of the least number, the first of several; 0 where there is none."""
    known = np.nan_to_num(np.asarray(values, np.float64), nan=np.inf)
    return int(known.argmin()) if len(known) else 0
