"""Pictures: red, green and blue as a camera's, for models that were trained on pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmearth.benchmark.encoder import Batch
from mmearth.benchmark.encoders.inputs import PUBLISHED

BRIGHTEST = 2550.0
"""Stored reflectance that is white in 8 bits: stored values / 10, as the authors of Satlas render
Sentinel-2 (rslearn, vis/render_raster.py)."""
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of red, green and blue, 0 to 1 (torchvision)."""


def eight_bit(stored: Tensor) -> Tensor:
    """Return stored reflectances as brightness, 0 to 1: the same everywhere on Earth."""
    return (stored / BRIGHTEST).clamp(0, 1)


def stretched(stored: Tensor, valid: Tensor) -> Tensor:
    """Return each band of each tile between its own least and greatest valid value, 0 to 1.

    As published (MMEarth-Bench §5.1); it forgets how bright a place is. A constant band is 0.
    """
    low = torch.where(valid, stored, torch.inf).amin((2, 3), keepdim=True)
    high = torch.where(valid, stored, -torch.inf).amax((2, 3), keepdim=True)
    span = (high - low).clamp(min=1)
    return torch.where(valid, (stored - low) / span, 0.0)


class Picture(nn.Module):
    """Stored red, green and blue → what a model of pictures takes, (B, 3, 128, 128)."""

    mean: Tensor
    std: Tensor

    def __init__(self, recipe: str, statistics: Sequence[Sequence[float]] = IMAGENET) -> None:
        super().__init__()
        self.stretches = recipe == PUBLISHED
        for name, values in zip(("mean", "std"), statistics, strict=True):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Return z-scores of brightness; 0 where nothing is valid."""
        stored, valid = batch["sentinel2"], batch["mask"]["sentinel2"]
        shown = stretched(stored, valid) if self.stretches else eight_bit(stored)
        return torch.where(valid, (shown - self.mean) / self.std, 0.0)
