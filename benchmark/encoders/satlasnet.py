"""SatlasNet: a Swin V2-B that was trained to find what is labelled on Sentinel-2 images.

Source: Bastani et al. 2023, SatlasPretrain, arXiv 2211.15660; weights through torchgeo.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchgeo.models import Swin_V2_B_Weights, swin_v2_b

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import PUBLISHED, RGB, sentinel2
from mmearth.benchmark.encoders.pictures import BRIGHTEST
from mmearth.loaders.inputs import Normalisation

BANDS = (*RGB, "B5", "B6", "B7", "B8", "B11", "B12")
SATURATES_AT = {"default": BRIGHTEST, PUBLISHED: 255.0}
"""Stored red, green and blue that become 1. The model was trained on ESA's pictures of 8 bits / 255
(satlas, Normalization.md). As published (MMEarth-Bench §5.1), the stored values were divided by
255, where nearly all land is 1."""
OTHERS_SATURATE_AT = 8160.0
"""Stored values of the other bands that become 1 (satlas, Normalization.md)."""


class SatlasNet(Encoder):
    """1024 features on a grid of 4 × 4."""

    net: Any  # torchvision's class, found by torchgeo
    brightest: Tensor

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        self.inputs = Normalisation.of([sentinel2(BANDS)])
        self.dim, self.grid = 1024, (4, 4)
        brightest = [SATURATES_AT[recipe]] * 3 + [OTHERS_SATURATE_AT] * 6
        self.register_buffer("brightest", torch.tensor(brightest).view(9, 1, 1), persistent=False)
        published = Swin_V2_B_Weights.SENTINEL2_SI_MS_SATLAS if weights == "published" else None
        self.net = swin_v2_b(published)
        if published is None:
            width = self.net.features[0][0].out_channels
            self.net.features[0][0] = nn.Conv2d(len(BANDS), width, 4, 4)
        self.net.head = nn.Identity()

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 1024, 4, 4); see `Encoder.forward`."""
        bright = (batch["sentinel2"] / self.brightest).clamp(0, 1)
        features: Tensor = self.net.norm(self.net.features(bright))
        return features.permute(0, 3, 1, 2)
