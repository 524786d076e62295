"""Prithvi-EO-2.0: a ViT-L/16 for Harmonized Landsat and Sentinel-2.

Source: Szwarcman et al. 2024, Prithvi-EO-2.0, arXiv 2412.02732; weights through terratorch.
"""

from __future__ import annotations

from typing import Any

from terratorch.models.backbones.prithvi_vit import (
    PRITHVI_V2_MEAN,
    PRITHVI_V2_STD,
    prithvi_eo_v2_300,
)
from torch import Tensor

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import grid_of, sentinel2
from mmearth.loaders.inputs import Normalisation

BANDS = ("B2", "B3", "B4", "B8A", "B11", "B12")
"""Blue, green, red, narrow near infrared, two of short-wave infrared (Prithvi's config.json)."""


class Prithvi(Encoder):
    """Prithvi-EO-2.0-300M without times and places: 1024 features on a grid of 8 × 8."""

    net: Any  # terratorch has no types

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        mean, std = PRITHVI_V2_MEAN, PRITHVI_V2_STD
        self.inputs = Normalisation.of([sentinel2(BANDS, mean, std)])
        self.dim, self.grid = 1024, (8, 8)
        self.net = prithvi_eo_v2_300(pretrained=weights == "published", img_size=128)

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 1024, 8, 8); see `Encoder.forward`."""
        tokens = self.net.forward_features(batch["sentinel2"])[-1]
        return grid_of(tokens[:, 1:], self.grid)
