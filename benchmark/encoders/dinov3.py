"""DINOv3: a ViT-L/16 for pictures, distilled from one trained on the web or on Maxar's satellites.

Source: Siméoni et al. 2025, DINOv3, arXiv 2508.10104; weights through timm (DINOv3 licence).
"""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import RGB, grid_of, sentinel2
from mmearth.benchmark.encoders.pictures import IMAGENET, Picture
from mmearth.loaders.inputs import Normalisation

STATISTICS = {
    "lvd1689m": IMAGENET,
    "sat493m": ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),
}
"""timm's tag of the weights → mean and deviation of red, green and blue in training."""


class DINOv3(Encoder):
    """1024 features on a grid of 8 × 8.

    Args:
        tag: A key of STATISTICS.
    """

    net: Any  # timm has no types

    def __init__(
        self, statistics: Normalisation, weights: str, recipe: str, tag: str = "lvd1689m"
    ) -> None:
        super().__init__()
        self.inputs = Normalisation.of([sentinel2(RGB)])
        self.dim, self.grid = 1024, (8, 8)
        self.picture = Picture(recipe, STATISTICS[tag])
        name = f"vit_large_patch16_dinov3.{tag}"
        self.net = timm.create_model(
            name, pretrained=weights == "published", img_size=128, num_classes=0
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 1024, 8, 8); see `Encoder.forward`."""
        tokens = self.net.forward_features(self.picture(batch))
        return grid_of(tokens[:, self.net.num_prefix_tokens :], self.grid)
