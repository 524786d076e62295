"""Losses: of the task, of the reconstructed modalities, and both together (MMEarth-Bench §5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.tasks import TASKS


@dataclass(frozen=True, slots=True)
class TargetScale:
    """How a regression target is standardised: (target - mean) / std."""

    mean: float = 0.0
    """Of the train targets, in the task's unit; 0 leaves it."""
    std: float = 1.0
    """Of the train targets, in the task's unit, above 0; 1 leaves it."""

    def standardised(self, target: Tensor) -> Tensor:
        """Return targets in the task's unit as what a head is to predict."""
        return (target - self.mean) / self.std

    def in_unit(self, prediction: Tensor) -> Tensor:
        """Return what a head predicts in the task's unit."""
        return prediction * self.std + self.mean


RAW = TargetScale()
"""Targets as published: in the task's own unit."""


def task_loss(
    task: str,
    prediction: Tensor,
    target: Tensor,
    mask: Tensor,
    weight: Tensor | None = None,
    scale: TargetScale = RAW,
) -> Tensor:
    """Return the loss of a batch, a scalar: the mean over all valid elements of all tiles.

    Squared error of a regression; cross-entropy of each label of a multi-label task. NaN, with a
    gradient of 0, where nothing is valid.

    Args:
        task: A key of TASKS.
        prediction: (B, n_outputs) or (B, 128, 128): standardised as `scale`; logits of labels.
        target: Of the same shape, in the task's unit; anything where `mask` is False.
        mask: Of the same shape, True where the target is valid.
        weight: (B,) 0 marks padding, which does not count; None is no padding.
        scale: Of a regression's target.
    """
    valid = _real(mask, weight)
    truth = target.to(prediction.dtype)
    if TASKS[task].kind == "multilabel":
        truth = torch.where(valid, truth, 0.0)
        each = functional.binary_cross_entropy_with_logits(prediction, truth, reduction="none")
    else:
        # In float64 a large unit does not cost the digits of a small deviation.
        truth = scale.standardised(target.double()).to(prediction.dtype)
        each = (prediction - torch.where(valid, truth, 0.0)).square()
    return _mean(each, valid, tuple(range(each.ndim)))


def reconstruction_losses(
    outputs: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    mask: Mapping[str, Tensor],
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the loss of every reconstructed modality and tile, (B,) by modality.

    A tile's is the mean over its valid elements: squared error of bands, cross-entropy of classes.
    NaN, with a gradient of 0, where nothing is valid.

    Args:
        outputs: What `ReconstructionHead` returns.
        target: By modality, (B, band, …) normalised, or (B, 1, …) class indices; anything where
            `mask` is False.
        mask: Of the same shapes, True where the target is valid.
        weight: (B,) 0 marks padding, which is valid nowhere; None is no padding.
    """
    losses = {}
    for name, output in outputs.items():
        valid = _real(mask[name], weight)
        if MODALITIES[name].kind == "categorical":
            valid = valid[:, 0]
            codes = torch.where(valid, target[name][:, 0].long(), 0)
            each = functional.cross_entropy(output, codes, reduction="none")
        else:
            truth = torch.where(valid, target[name].to(output.dtype), 0.0)
            each = (output - truth).square()
        losses[name] = _mean(each, valid, tuple(range(1, each.ndim)))
    return losses


def losses_of_batch(outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return `reconstruction_losses` against a loader's batch: what test-time training asks for."""
    return reconstruction_losses(outputs, batch, batch["mask"], batch.get("weight"))


def auxiliary_loss(losses: Mapping[str, Tensor]) -> Tensor:
    """Return the mean over all tiles × modalities that have a loss; NaN where none has."""
    return torch.stack(list(losses.values())).nanmean()


def _real(mask: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mask without the rows of padding."""
    if weight is None:
        return mask
    return mask & (weight > 0).view(-1, *(1,) * (mask.ndim - 1))


def _mean(each: Tensor, valid: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the mean over some axes of what is valid; NaN where nothing is."""
    count = valid.sum(axes) if axes else valid.to(torch.int64)
    total = torch.where(valid, each, 0.0)
    total = total.sum(axes) if axes else total
    # Divided by 1 and not by 0: the gradient of 0 / 0 is not 0 but NaN.
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan)
