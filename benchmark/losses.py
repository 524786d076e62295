"""Losses: of the task, of the reconstructed modalities, and both together (MMEarth-Bench §5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mmearth.catalog.task import Task


@dataclass(frozen=True, slots=True)
class TargetScale:
    """How a regression target is standardised, output by output: (target - mean) / std."""

    mean: tuple[float, ...] = (0.0,)
    """Of the train targets, in the task's unit; 0 leaves it."""
    std: tuple[float, ...] = (1.0,)
    """Of the train targets, in the task's unit, above 0; 1 leaves it."""

    def standardised(self, target: Tensor) -> Tensor:
        """Return targets in the task's unit as what a head is to predict."""
        return (target - target.new_tensor(self.mean)) / target.new_tensor(self.std)

    def in_unit(self, prediction: Tensor) -> Tensor:
        """Return what a head predicts in the task's unit."""
        return prediction * prediction.new_tensor(self.std) + prediction.new_tensor(self.mean)


RAW = TargetScale()
"""Targets as published: in the task's own unit."""


def task_loss(
    task: Task,
    prediction: Tensor,
    target: Tensor,
    mask: Tensor,
    weight: Tensor | None = None,
    scale: TargetScale = RAW,
) -> Tensor:
    """Return the loss of a batch, a scalar: the mean over all valid elements of all tiles.

    Squared error of a regression; cross-entropy of each label of a multi-label task, and of the
    classes of a classification. NaN, with a gradient of 0, where nothing is valid.

    Args:
        task: What is predicted.
        prediction: (B, outputs) or (B, row, column): standardised as `scale`; logits of labels or,
            (B, class) or (B, class, row, column), of classes.
        target: (B, outputs) or (B, row, column) in the task's unit; (B, 1) or (B, row, column)
            class indices; anything where `mask` is False.
        mask: Of the target's shape, True where it is valid.
        weight: (B,) 0 marks padding, which does not count; None is no padding.
        scale: Of a regression's target.
    """
    valid = _real(mask, weight)
    if task.kind == "classification":
        if task.is_pixel:
            target, valid = target[:, None], valid[:, None]
        each = _cross_entropy(prediction, target, valid)
        return _mean(each, valid, tuple(range(each.ndim)))
    truth = target.to(prediction.dtype)
    if task.kind == "multilabel":
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
        target: By modality, (B, band, …) normalised numbers, or whole numbers: class indices.
            Anything where `mask` is False.
        mask: Of the same shapes, True where the target is valid.
        weight: (B,) 0 marks padding, which is valid nowhere; None is no padding.
    """
    losses = {}
    for name, output in outputs.items():
        valid = _real(mask[name], weight)
        if target[name].is_floating_point():
            truth = torch.where(valid, target[name].to(output.dtype), 0.0)
            each = (output - truth).square()
        else:
            each = _cross_entropy(output, target[name], valid)
        losses[name] = _mean(each, valid, tuple(range(1, each.ndim)))
    return losses


def losses_of_batch(outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return `reconstruction_losses` against a loader's batch: what test-time training asks for."""
    return reconstruction_losses(outputs, batch, batch["mask"], batch.get("weight"))


def losses_of_parts(outputs: Mapping[str, Tensor], batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return `losses_of_batch` with a quarter of the pixels apart, under `held(name)`.

    They are whole blocks, an eighth of the tile a side: a pixel among others of its kind is known
    by its neighbours. What has no pixels is not parted.
    """
    weight, masks = batch.get("weight"), batch["mask"]
    pixels = {name: _is_held(masks[name]) for name in outputs if masks[name].ndim == 4}
    kept = {name: masks[name] & ~apart for name, apart in pixels.items()}
    losses = reconstruction_losses(outputs, batch, {**masks, **kept}, weight)
    for name, apart in pixels.items():
        parts = {name: outputs[name]}, batch, {name: masks[name] & apart}
        losses[held(name)] = reconstruction_losses(*parts, weight)[name]
    return losses


def held(name: str) -> str:
    """Return what the loss of a modality's held-back pixels is called."""
    return f"{name}, held back"


def _is_held(mask: Tensor) -> Tensor:
    """Return (row, column) True where pixels are held back: one of four blocks, none in a row."""
    sides = [torch.arange(n, device=mask.device) // max(1, n // 8) for n in mask.shape[-2:]]
    return (sides[0][:, None] + 2 * sides[1][None]) % 4 == 0


def auxiliary_loss(losses: Mapping[str, Tensor]) -> Tensor:
    """Return the mean over all tiles × modalities that have a loss; NaN where none has."""
    return torch.stack(list(losses.values())).nanmean()


def _cross_entropy(scores: Tensor, classes: Tensor, valid: Tensor) -> Tensor:
    """Return the loss of every value, (B, band, …).

    Args:
        scores: (B, band × class, …) logits.
        classes: (B, band, …) class indices; anything where `valid` is False.
        valid: Of the same shape, True where a class is known.
    """
    known = torch.where(valid, classes.long(), 0).flatten(0, 1)
    n_classes = scores.shape[1] // classes.shape[1]
    by_band = scores.reshape(-1, n_classes, *scores.shape[2:])
    each = functional.cross_entropy(by_band, known, reduction="none")
    return each.view(classes.shape)


def _real(mask: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mask without the rows of padding."""
    if weight is None:
        return mask
    return mask & (weight > 0).view(-1, *(1,) * (mask.ndim - 1))


def _mean(each: Tensor, valid: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the mean over some axes of what is valid; NaN where nothing is."""
    count = valid.sum(axes)
    total = torch.where(valid, each, 0.0).sum(axes)
    # Divided by 1 and not by 0: the gradient of 0 / 0 is not 0 but NaN.
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan)
