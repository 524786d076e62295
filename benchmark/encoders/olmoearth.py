"""OlmoEarth: a ViT for Sentinel-2 and Sentinel-1 in space and time.

Source: Herzog et al. 2025, OlmoEarth, arXiv 2511.13655; model and weights through
olmoearth-pretrain-minimal.
"""

from __future__ import annotations

from typing import Any

import torch
from olmoearth_pretrain_minimal import ModelID, OlmoEarthPretrain_v1, load_model_from_id
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.data.normalize import load_computed_config
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.utils.constants import Modality
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.utils.datatypes import (
    MaskedOlmoEarthSample,
    MaskValue,
)
from torch import Tensor

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import (
    MONTH,
    both_orbits,
    freeze,
    month_of,
    orbit_pair,
    sentinel2,
    two_deviations,
)
from mmearth.loaders.inputs import Normalisation

PATCH = 8
"""Pixels along a patch's side: the greatest the model was trained with."""
MIDDLE, YEAR = 15, 2020
"""Day and year of a batch's months, of which it tells the month alone."""
SIZES = {"nano": (128, ModelID.OLMOEARTH_V1_NANO), "base": (768, ModelID.OLMOEARTH_V1_BASE)}
"""Features of a patch, and whose weights."""


class OlmoEarth(Encoder):
    """Features of a patch of 8 pixels, a grid of 16 × 16: the mean of its tokens that are there.

    Args:
        size: A key of SIZES.
    """

    net: Any  # the package has no types

    def __init__(
        self, statistics: Normalisation, weights: str, recipe: str, size: str = "base"
    ) -> None:
        super().__init__()
        dim, model = SIZES[size]
        optical, radar = _numbers(Modality.SENTINEL2_L2A), _numbers(Modality.SENTINEL1)
        bands = [_ours(band) for band in Modality.SENTINEL2_L2A.band_order]
        self.inputs = Normalisation.of(
            [
                sentinel2(bands, *optical),
                both_orbits(*radar),
                MONTH,
            ]
        )
        self.dim, self.grid = dim, (16, 16)
        if weights == "published":
            whole: Any = load_model_from_id(model)
        else:
            whole = OlmoEarthPretrain_v1(size, "v1").model
        self.net = whole.encoder
        others = [name for name in self.net.supported_modality_names if not _is_fed(name)]
        freeze(self.net, "project_and_aggregate.", *(f"embeddings.{name}" for name in others))

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, D, 16, 16); see `Encoder.forward`."""
        radar, heard = orbit_pair(batch)
        optical, seen = batch["sentinel2"], batch["mask"]["sentinel2"]
        month = month_of(batch["month"])
        when = torch.stack([torch.full_like(month, MIDDLE), month, torch.full_like(month, YEAR)], 1)
        sample = MaskedOlmoEarthSample(
            timestamps=when[:, None],
            sentinel2_l2a=_in_time(two_deviations(optical)),
            # The model wants something of every tile; of nothing, its mean.
            sentinel2_l2a_mask=_mask(seen | ~_any(heard), len(Modality.SENTINEL2_L2A.band_sets)),
            sentinel1=_in_time(two_deviations(radar)),
            sentinel1_mask=_mask(heard, len(Modality.SENTINEL1.band_sets)),
        )
        found = self.net(sample, patch_size=PATCH)["tokens_and_masks"]
        return _mean_of_patches(found)


def _is_fed(modality: str) -> bool:
    return modality in (Modality.SENTINEL2_L2A.name, Modality.SENTINEL1.name)


def _mean_of_patches(found: Any) -> Tensor:
    """Return (B, D, h, w): of each patch the mean over the tokens that the model saw."""
    tokens = torch.cat([found.sentinel2_l2a.flatten(3, 4), found.sentinel1.flatten(3, 4)], 3)
    masks = [found.sentinel2_l2a_mask.flatten(3, 4), found.sentinel1_mask.flatten(3, 4)]
    there = (torch.cat(masks, 3) == MaskValue.ONLINE_ENCODER.value)[..., None]
    mean: Tensor = (tokens * there).sum(3) / there.sum(3).clamp(min=1)
    return mean.movedim(-1, 1)


def _numbers(modality: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the package's means and deviations of a modality's bands."""
    of = load_computed_config()[modality.name]
    mean, std = (
        tuple(float(of[band][each]) for band in modality.band_order) for each in ("mean", "std")
    )
    return mean, std


def _ours(band: str) -> str:
    """Return our name of a band: `B2` for `B02`."""
    return f"B{band[1:].lstrip('0')}"


def _in_time(maps: Tensor) -> Tensor:
    """Return (B, C, H, W) as (B, H, W, 1, C)."""
    return maps.movedim(1, -1)[:, :, :, None]


def _mask(valid: Tensor, n_groups: int) -> Tensor:
    """Return the package's mask, (B, H, W, 1, group): missing where a tile has nothing at all."""
    n, _, height, width = valid.shape
    value = torch.where(_any(valid), MaskValue.ONLINE_ENCODER.value, MaskValue.MISSING.value)
    return value[..., None].expand(n, height, width, 1, n_groups).contiguous()


def _any(valid: Tensor) -> Tensor:
    """Return whether a tile has anything, (B, 1, 1, 1)."""
    return valid.flatten(1).any(1).view(-1, 1, 1, 1)
