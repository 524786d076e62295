"""Copernicus-FM: a ViT-B/16 that reads any band, told by wavelength or by name.

Source: Wang et al. 2025, Copernicus-FM, arXiv 2503.11849; weights through torchgeo. Sentinel-2,
Sentinel-1 and the elevation pass one after the other, and their features are averaged
(MMEarth-Bench §5.1).
"""

from __future__ import annotations

from datetime import date
from typing import Any

import torch
from torch import Tensor, nn
from torchgeo.models import CopernicusFM_Base_Weights, copernicusfm_base

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import (
    MONTH,
    PLACE,
    SENTINEL2,
    both_orbits,
    degrees_of,
    elevation,
    freeze,
    grid_of,
    month_of,
    orbit_pair,
    sentinel2,
)
from mmearth.benchmark.weights import fetch
from mmearth.loaders.inputs import Normalisation

# Means and deviations: those of SSL4EO-S12, by the same authors (torchgeo, resnet.py). Wavelengths
# and bandwidths in nanometres: MMEarth-Bench §5.1.
OPTICAL = (
    (1612.9, 1397.6, 1322.3, 1373.1, 1561.0, 2108.4, 2390.7, 2318.7, 2581.0, 837.7, 2195.2, 1537.4),
    (791.0, 854.3, 878.7, 1144.9, 1127.5, 1164.2, 1276.0, 1249.5, 1345.9, 577.5, 1340.0, 1142.9),
)
RADAR = (-12.59, -20.26), (5.26, 5.91)
ELEVATION = 0.0, 10000.0
OPTICAL_NM = (440, 490, 560, 665, 705, 740, 783, 842, 860, 940, 1610, 2190)
OPTICAL_WIDTH = (20, 65, 35, 30, 15, 15, 20, 115, 20, 20, 90, 180)
RADAR_NM, RADAR_WIDTH = (5e7, 5e7), (1e9, 1e9)
PATCH, PATCH_KM2 = 16, 0.0256
"""Pixels along a patch's side, and its area."""
EPOCH = date(1970, 1, 1)
ELEVATION_DAY = (date(2015, 1, 1) - EPOCH).days
"""What its elevations were dated in pretraining (MMEarth-Bench §5.1)."""
YEAR = 2020
"""Of the dataset: a batch tells the month, not the year."""
NAMES = (
    "https://huggingface.co/wangyi111/Copernicus-FM/resolve/main/varname_embed/"
    "varname_embed_llama3.2_1B.pt"
)
"""Names of variables as Llama 3.2 1B embeds them, 2048 numbers each (Copernicus-FM's README)."""
ELEVATION_NAME = "Copernicus Digital Elevation Model"


class CopernicusFM(Encoder):
    """768 features on a grid of 8 × 8."""

    net: Any  # torchgeo's, of which inner parts are used
    name: Tensor
    days: Tensor

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        self.inputs = Normalisation.of(
            [
                sentinel2(SENTINEL2, *OPTICAL),
                both_orbits(*RADAR),
                elevation(*ELEVATION),
                PLACE,
                MONTH,
            ]
        )
        self.dim, self.grid = 768, (8, 8)
        pretrained = weights == "published"
        self.net = copernicusfm_base(
            CopernicusFM_Base_Weights.CopernicusFM_ViT if pretrained else None
        )
        self.net.head = nn.Identity()
        self.net.fc_norm = nn.Identity()
        self.net.blocks.append(_Kept())
        freeze(self.net, "coord_token", "scale_token", "time_token")  # of unknown places and dates
        name = fetch(NAMES)[ELEVATION_NAME] if pretrained else torch.randn(2048)
        self.register_buffer("name", name.float())
        middles = [(date(YEAR, month, 15) - EPOCH).days for month in range(1, 13)]
        self.register_buffer("days", torch.tensor(middles).float(), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 768, 8, 8); see `Encoder.forward`."""
        place = self._place(batch)
        elevated = place.clone()
        elevated[:, 2] = ELEVATION_DAY
        radar, _ = orbit_pair(batch)
        passes = (
            self._tokens(batch["sentinel2"], place, OPTICAL_NM, OPTICAL_WIDTH),
            self._tokens(radar, place, RADAR_NM, RADAR_WIDTH),
            self._tokens(batch["aster_gdem"], elevated),
        )
        return grid_of(torch.stack(passes).mean(0), self.grid)

    def _place(self, batch: Batch) -> Tensor:
        """Return (B, 4): longitude, latitude, days since 1970, square kilometres of a patch."""
        lon, lat = degrees_of(batch["geolocation"]).unbind(1)
        day = self.days[month_of(batch["month"])]
        area = torch.full_like(lon, PATCH_KM2)
        return torch.stack([lon, lat, day.to(lon.dtype), area], 1)

    def _tokens(
        self,
        images: Tensor,
        place: Tensor,
        wavelengths: tuple[float, ...] | None = None,
        widths: tuple[float, ...] | None = None,
    ) -> Tensor:
        """Return one pass's tokens, (B, 64, 768)."""
        mode = "spectral" if wavelengths else "variable"
        self.net.forward_features(
            images, place, wavelengths, widths, self.name, mode, kernel_size=PATCH
        )
        kept = self.net.blocks[-1]
        tokens: Tensor = kept.tokens
        kept.tokens = None  # and with them the graph
        return tokens[:, 1:]


class _Kept(nn.Module):
    """Keeps the tokens that pass: the model itself returns only their mean."""

    tokens: Tensor | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        self.tokens = tokens
        return tokens
