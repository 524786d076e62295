"""Scale-MAE: a ViT-L/16 for aerial pictures whose position embedding knows the pixel's size.

Source: Reed et al. 2023, Scale-MAE, arXiv 2212.14532; weights through torchgeo.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchgeo.models import ScaleMAELarge16_Weights, scalemae_large_patch16

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import RGB, grid_of, sentinel2
from mmearth.benchmark.encoders.pictures import Picture
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.loaders.inputs import Normalisation


class ScaleMAE(Encoder):
    """1024 features on a grid of 8 × 8."""

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        self.inputs = Normalisation.of([sentinel2(RGB)])
        self.dim, self.grid = 1024, (8, 8)
        self.picture = Picture(recipe)
        chosen = ScaleMAELarge16_Weights.FMOW_RGB if weights == "published" else None
        self.net = scalemae_large_patch16(
            chosen, img_size=128, res=float(DEFAULT_GRID.resolution_m)
        )
        self.net.head = nn.Identity()
        self.net.pos_embed = None  # positions are computed from the pixel's size

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 1024, 8, 8); see `Encoder.forward`."""
        tokens = self.net.forward_features(self.picture(batch))
        return grid_of(tokens[:, self.net.num_prefix_tokens :], self.grid)
