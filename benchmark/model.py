"""An encoder with its heads, and what a prediction means."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmearth.benchmark.decoders import PixelHead, ReconstructionHead, TileHead
from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.losses import TargetScale
from mmearth.catalog.tasks import TASKS


class Model(nn.Module):
    """An encoder, the head of a task, and for joint training the head of all modalities."""

    def __init__(self, encoder: Encoder, task: str, reconstructs: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = task_head(encoder, task)
        head = ReconstructionHead(encoder.dim, encoder.grid) if reconstructs else None
        self.reconstruction_head = head

    def forward(self, fed: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the task's prediction, and the reconstruction by modality, if any."""
        features = self.encoder(fed)
        head = self.reconstruction_head
        return self.head(features), {} if head is None else head(features)


def task_head(encoder: Encoder, task: str) -> TileHead | PixelHead:
    """Return the published head of a task (MMEarth-Bench §5.2)."""
    if TASKS[task].level == "pixel":
        return PixelHead(encoder.dim, encoder.grid)
    return TileHead(encoder.dim, len(TASKS[task].outputs))


def in_unit(task: str, prediction: Tensor, scale: TargetScale) -> Tensor:
    """Return what a head predicts in the task's unit, or as probabilities of the labels."""
    if TASKS[task].kind == "multilabel":
        return torch.sigmoid(prediction.float())
    return scale.in_unit(prediction.float())
