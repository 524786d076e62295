"""TerraMind: a ViT-B/16 for Sentinel-2, Sentinel-1, elevation and pictures together.

Source: Jakubik et al. 2025, TerraMind, arXiv 2504.11171; weights through terratorch.
"""

from __future__ import annotations

from typing import Any

import torch
from terratorch.models.backbones.terramind.model.terramind_register import terramind_v1_base
from torch import Tensor

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import (
    PUBLISHED,
    RGB,
    SENTINEL2,
    both_orbits,
    elevation,
    grid_of,
    orbit_pair,
    sentinel2,
)
from mmearth.loaders.inputs import Normalisation

# Means and deviations: terratorch, terramind_register.py.
OPTICAL = (
    (1390.458, 1503.317, 1718.197, 1853.91, 2199.1, 2779.975, 2987.011, 3083.234, 3132.22,
     3162.988, 2424.884, 1857.648),
    (2106.761, 2141.107, 2038.973, 2134.138, 2085.321, 1889.926, 1820.257, 1871.918, 1753.829,
     1797.379, 1434.261, 1334.311),
)  # fmt: skip
RADAR = (-12.599, -20.293), (5.195, 5.89)
ELEVATION = 670.665, 951.272
PICTURE = (87.271, 80.931, 66.667), (58.767, 47.663, 42.631)
OFFSET = {"default": 0.0, PUBLISHED: 1000.0}
"""Subtracted before the picture is made. Our Sentinel-2 is harmonised, so that the offset of later
baselines is gone already; as published (MMEarth-Bench §5.1) it is subtracted again."""


class TerraMind(Encoder):
    """768 features on a grid of 8 × 8: the mean over the four modalities' tokens."""

    net: Any  # terratorch has no types
    mean: Tensor
    std: Tensor
    picture: Tensor

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        self.inputs = Normalisation.of(
            [
                sentinel2(SENTINEL2, *OPTICAL),
                both_orbits(*RADAR),
                elevation(*ELEVATION),
            ]
        )
        self.dim, self.grid = 768, (8, 8)
        self.offset = OFFSET[recipe]
        self.rgb = [SENTINEL2.index(band) for band in RGB]
        for name, values in zip(("mean", "std"), OPTICAL, strict=True):
            chosen = torch.tensor([values[i] for i in self.rgb]).view(3, 1, 1)
            self.register_buffer(name, chosen, persistent=False)
        self.register_buffer("picture", torch.tensor(PICTURE).view(2, 3, 1, 1), persistent=False)
        self.net = terramind_v1_base(
            pretrained=weights == "published",
            modalities=["S2L2A", "S1GRD", "DEM", "RGB"],
            merge_method="mean",
            img_size=128,
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 768, 8, 8); see `Encoder.forward`."""
        valid = batch["mask"]["sentinel2"][:, self.rgb]
        stored = batch["sentinel2"][:, self.rgb] * self.std + self.mean
        with torch.no_grad():
            shown = rendered(stored - self.offset, valid)
        picture = torch.where(valid, (shown - self.picture[0]) / self.picture[1], 0.0)
        fed = {
            "S2L2A": batch["sentinel2"],
            "S1GRD": orbit_pair(batch)[0],
            "DEM": batch["aster_gdem"],
            "RGB": picture,
        }
        return grid_of(self.net(fed)[-1], self.grid)


def rendered(stored: Tensor, valid: Tensor) -> Tensor:
    """Return red, green and blue as a picture of 0 to 255, as TerraMind's were made.

    Beyond the 2nd and the 98th percentile of a tile's three bands values count half. White is the
    99.8th percentile but no less than 2000, black the 0.2nd, or 0 where the median is below 1000
    (MMEarth-Bench §5.1).

    Args:
        stored: (B, 3, 128, 128) reflectances as stored.
        valid: Of the same shape.
    """
    known = torch.where(valid, stored, torch.nan).flatten(1)
    at = known.new_tensor([0.02, 0.98])
    low, high = (each[:, None] for each in known.nanquantile(at, 1))
    squeezed = torch.where(known < low, low - (low - known) / 2, known)
    squeezed = torch.where(known > high, high + (known - high) / 2, squeezed)
    black, median, white = squeezed.nanquantile(known.new_tensor([0.002, 0.5, 0.998]), 1)
    black = torch.where(median < 1000, 0.0, black)[:, None]
    white = white[:, None].clamp(min=2000)
    shown: Tensor = (squeezed - black) / (white - black).clamp(min=1) * 255
    return shown.clamp(0, 255).nan_to_num(0.0).view_as(stored)
