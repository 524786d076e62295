"""Several processes, one result: losses and predictions as if one had seen it all."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed

from mmearth.benchmark.predictions import Predictions, merge_predictions


def share_of(fabric: Fabric, mean: Tensor, count: Tensor) -> Tensor:
    """Return this rank's mean weighted so that the ranks' average is the mean over all.

    DDP averages the gradients of the ranks; of a batch with more labelled pixels on one rank than
    on another that would not be the gradient of the whole.

    Args:
        fabric: Knows the ranks.
        mean: This rank's mean loss, a scalar; anything where `count` is 0.
        count: How many values it is a mean of.
    """
    if fabric.world_size == 1:
        return mean
    total = count.detach().clone().double()
    distributed.all_reduce(total)
    weight = count.double() / total.clamp(min=1) * fabric.world_size
    # Not skipped where a rank has nothing: all must take part in the backward pass.
    return torch.where(count > 0, mean, mean.nan_to_num(0.0) * 0.0) * weight.to(mean.dtype)


def gather(fabric: Fabric, parts: list[Predictions]) -> Predictions:
    """Return the predictions of all ranks, sorted, each sample once."""
    if fabric.world_size == 1:
        return merge_predictions(parts)
    found: list[Any] = [None] * fabric.world_size
    distributed.all_gather_object(found, merge_predictions(parts) if parts else None)
    return merge_predictions([part for part in found if part is not None])


def gather_rows(fabric: Fabric, rows: list[Any]) -> list[Any]:
    """Return the rows of all ranks, rank after rank."""
    if fabric.world_size == 1:
        return rows
    found: list[Any] = [None] * fabric.world_size
    distributed.all_gather_object(found, rows)
    return [row for part in found for row in part]
