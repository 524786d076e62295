"""Panopticon: a ViT-B/14 that reads any bands, told by their wavelengths.

Source: Waldmann et al. 2025, Panopticon, arXiv 2503.10845; weights through torchgeo.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchgeo.models import Panopticon_Weights, panopticon_vitb14

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import ORBITS, SENTINEL2, grid_of, of_statistics
from mmearth.loaders.inputs import Normalisation

OPTICAL = (442.9, 493.0, 559.6, 664.6, 704.0, 740.6, 782.4, 827.5, 864.8, 945.0, 1613.9, 2203.6)
"""Nanometres of Sentinel-2's bands (Panopticon, sensors/sentinel2.yaml)."""
RADAR = (-5.0, -6.0, -9.0, -10.0)
"""Its numbers of ascending and descending VV and VH (Panopticon, sensors/sentinel1.yaml)."""
SIDE = 126
"""Pixels: nine patches of 14, and nearest to 128."""


class Panopticon(Encoder):
    """768 features on a grid of 9 × 9. A band of which a tile has nothing is not attended to."""

    net: Any  # holds a model of timm, which has no types
    channels: Tensor

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        self.inputs = Normalisation.of(
            [
                of_statistics(statistics, "sentinel2", SENTINEL2),
                of_statistics(statistics, "sentinel1", ORBITS),
            ]
        )
        self.dim, self.grid = 768, (9, 9)
        self.register_buffer("channels", torch.tensor(OPTICAL + RADAR), persistent=False)
        chosen = Panopticon_Weights.VIT_BASE14 if weights == "published" else None
        self.net = panopticon_vitb14(chosen, img_size=SIDE)

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 768, 9, 9); see `Encoder.forward`."""
        names = ("sentinel2", "sentinel1")
        images = torch.cat([batch[name] for name in names], 1)
        absent = ~torch.cat([batch["mask"][name] for name in names], 1).any((2, 3))
        # Attention to nothing at all would be no number.
        absent = absent & ~absent.all(1, keepdim=True)
        fed = {
            "imgs": interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True),
            "chn_ids": self.channels.repeat(len(images), 1),  # the model writes to them
            "spec_masks": absent,
        }
        tokens = self.net.model.forward_features(fed)
        return grid_of(tokens[:, 1:], self.grid)
