"""An encoder with its heads, and what a prediction means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmearth.benchmark.decoders import PixelHead, ReconstructionHead, TileHead
from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.losses import TargetScale
from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task


class Model(nn.Module):
    """An encoder, the head of a task, and for joint training the head of all modalities.

    Args:
        encoder: Of which the features are.
        task: What is to be predicted.
        reconstructed: The modalities that are reconstructed; none: there is no head of them.
    """

    def __init__(self, encoder: Encoder, task: Task, reconstructed: Sequence[Layer] = ()) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = task_head(encoder, task)
        self.reconstruction_head = (
            ReconstructionHead(encoder.dim, encoder.grid, reconstructed) if reconstructed else None
        )

    def forward(self, fed: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the task's prediction, and the reconstruction by modality, if any."""
        return self.heads(self.encoder(fed))

    def heads(self, features: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the same of an embedding."""
        head = self.reconstruction_head
        return self.head(features), {} if head is None else head(features)


def task_head(encoder: Encoder, task: Task) -> TileHead | PixelHead:
    """Return the head of a task (MMEarth-Bench §5.2): an output a quantity, label or class."""
    if task.is_pixel:
        n_classes = len(task.target.classes)
        return PixelHead(encoder.dim, encoder.grid, task.target.pixels, n_classes)
    return TileHead(encoder.dim, len(task.outputs))


def in_unit(task: Task, prediction: Tensor, scale: TargetScale) -> Tensor:
    """Return what a head predicts as `Predictions` holds it.

    In the task's unit; as probabilities of labels or of a tile's classes; as class indices of
    pixels, (B, row, column).
    """
    if task.kind == "multilabel":
        return torch.sigmoid(prediction.float())
    if task.kind == "classification":
        return prediction.argmax(1) if task.is_pixel else prediction.float().softmax(1)
    return scale.in_unit(prediction.float())
