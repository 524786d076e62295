"""CROMA: ViT-B/8s for Sentinel-2 and Sentinel-1 and one that joins them.

Source: Fuller et al. 2023, CROMA, arXiv 2311.00566; weights through torchgeo.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchgeo.models import CROMABase_Weights, croma_base

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import (
    ORBITS,
    SENTINEL2,
    grid_of,
    of_statistics,
    orbit_pair,
    two_deviations,
)
from mmearth.loaders.inputs import Normalisation


class CROMA(Encoder):
    """768 features on a grid of 16 × 16.

    Bands come as 0 at two deviations below and 1 at two above the mean of the images at hand, cut
    off beyond (CROMA's README): so the train statistics in use are the model's.
    """

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        self.inputs = Normalisation.of(
            [
                of_statistics(statistics, "sentinel2", SENTINEL2),
                of_statistics(statistics, "sentinel1", ORBITS),
            ]
        )
        self.dim, self.grid = 768, (16, 16)
        chosen = CROMABase_Weights.CROMA_VIT if weights == "published" else None
        self.net = croma_base(chosen, image_size=128)
        for name in ("s1_GAP_FFN", "s2_GAP_FFN"):  # of features of a whole image
            setattr(self.net, name, nn.Identity())

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 768, 16, 16); see `Encoder.forward`."""
        radar, _ = orbit_pair(batch)
        optical = two_deviations(batch["sentinel2"]).clamp(0, 1)
        found = self.net(two_deviations(radar).clamp(0, 1), optical)
        tokens: Tensor = found["joint_encodings"]
        return grid_of(tokens, self.grid)
