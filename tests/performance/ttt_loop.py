"""The straightforward loop that test-time training is compared with, and its decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth.benchmark.decoders import ReconstructionHead
from mmearth.catalog.published import MMEARTH_BENCH

Batch = Mapping[str, Any]


class PlainDecoder(nn.Module):
    """Upsample the features to 128 × 128, convolve them to 922 maps, average the tile-level ones.

    Source: MMEarth-Bench §5.2. It shares its weights with a head of ours.
    """

    def __init__(self, head: ReconstructionHead) -> None:
        super().__init__()
        self.widths = dict(zip((layer.name for layer in head.layers), head.widths, strict=True))
        self.conv = nn.Conv2d(head.weight.shape[1], head.weight.shape[0], 1)
        self.conv.weight.data.copy_(head.weight[:, :, None, None])
        self.conv.bias.data.copy_(head.bias)  # type: ignore[union-attr]

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return (B, D, h, w) as maps by modality, those of tile-level ones averaged."""
        large = functional.interpolate(features, (128, 128), mode="bilinear", align_corners=False)
        parts = self.conv(large).split(list(self.widths.values()), 1)
        return {
            name: part.mean((2, 3)) if MMEARTH_BENCH.layers[name].level == "tile" else part
            for name, part in zip(self.widths, parts, strict=True)
        }


def losses_of(outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Return one loss a modality that the batch has: the mean of those of its tiles."""
    losses = {}
    for name, output in outputs.items():
        mask, truth = batch["mask"][name], batch[name]
        if MMEARTH_BENCH.layers[name].kind == "categorical":
            each = functional.cross_entropy(output, truth[:, 0], reduction="none")[:, None]
        else:
            each = (output - truth).square()
        axes = tuple(range(1, each.ndim))
        tiles = (each * mask).sum(axes) / mask.sum(axes)
        if not tiles.isnan().all():
            losses[name] = tiles.nanmean()
    return losses


def step(encoder: nn.Module, decoder: PlainDecoder, inputs: Any, batch: Batch, lr: float) -> None:
    """Take one step along the mean of all modalities' normalised gradients."""
    parameters = list(encoder.parameters())
    losses = losses_of(decoder(encoder(inputs)), batch)
    normalised = []
    for loss in losses.values():
        gradient = torch.autograd.grad(
            loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        norm = torch.cat([part.flatten() for part in gradient]).norm()
        normalised.append([part / (norm + 1e-6) for part in gradient])
    with torch.no_grad():
        for parameter, *parts in zip(parameters, *normalised, strict=True):
            parameter.sub_(lr * torch.stack(parts).mean(0))
