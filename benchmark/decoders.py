"""Decoders: features on a grid → predictions of a tile, of its pixels, of every modality.

Published (MMEarth-Bench §5.2): upsample the features bilinearly to 128 × 128, then a 1 × 1
convolution, then a mean over the tile for tile-level outputs. All three are linear and the
convolution acts on channels alone, so the order does not matter; here the convolution comes first,
on the grid, and a tile-level output is the convolution of the features' weighted mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.modality import TILE_PX


def bilinear(n_from: int, n_to: int = TILE_PX) -> Tensor:
    """Return the matrix A, (n_to, n_from), of bilinear interpolation along one axis.

    Rows sum to 1. Cells' edges coincide and the outermost values are repeated, as in
    `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`. Exact in float32
    where `n_to` is a power of two.
    """
    place = (torch.arange(n_to, dtype=torch.float64) + 0.5) * n_from / n_to - 0.5
    place = place.clamp(0, n_from - 1)
    distance = (place[:, None] - torch.arange(n_from, dtype=torch.float64)).abs()
    return (1 - distance).clamp(min=0).to(torch.get_default_dtype())


class _Upsampling(nn.Module):
    """Bilinear interpolation from a grid to the tile's pixels, as two products of matrices."""

    rows: Tensor  # (128, h)
    columns: Tensor  # (128, w)

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("rows", bilinear(grid[0]), persistent=False)
        self.register_buffer("columns", bilinear(grid[1]), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (…, h, w) as (…, 128, 128)."""
        return self.rows @ (maps @ self.columns.T)

    def mean(self, maps: Tensor) -> Tensor:
        """Return the mean of the upsampled maps, (…,); a plain mean only if h and w divide 128."""
        return (maps @ self.columns.mean(0)) @ self.rows.mean(0)


class TileHead(nn.Module):
    """Features → a prediction a tile: mean over the grid, layer norm, linear."""

    def __init__(self, dim: int, n_outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.linear = nn.Linear(dim, n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, D, h, w) as (B, n_outputs)."""
        return self.pooled(features.mean((2, 3)))

    def pooled(self, features: Tensor) -> Tensor:
        """Return the prediction from features averaged over the grid, (B, D)."""
        prediction: Tensor = self.linear(self.norm(features))
        return prediction


class PixelHead(nn.Module):
    """Features → a prediction a pixel: 1 × 1 convolution, bilinear to 128 × 128."""

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, 1, 1)
        self.upsampling = _Upsampling(grid)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, D, h, w) as (B, 128, 128)."""
        prediction: Tensor = self.upsampling(self.conv(features)[:, 0])
        return prediction


class ReconstructionHead(nn.Module):
    """Features → all modalities: one linear map, of which each modality owns some rows.

    The twelve have 922 rows: 12 + 8 + 2 + 2 + 9 + 11 + 3 + 9 + 4 + 2 + 14 + 846, a row a band or
    a class. The state is `weight`, (rows, D), and `bias`, (rows,); a convolution's
    (rows, D, 1, 1) is read as well.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int], modalities: Iterable[str] = tuple(MODALITIES)
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.widths = [_width(name) for name in self.modalities]
        start = nn.Linear(dim, sum(self.widths))
        self.weight, self.bias = start.weight, start.bias
        self.upsampling = _Upsampling(grid)
        self.register_load_state_dict_pre_hook(_flatten)  # type: ignore[no-untyped-call]

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the features, (B, D, h, w), as a dict by modality.

        Of a pixel-level modality (B, channel, 128, 128), of a tile-level one (B, channel): bands
        as they were normalised, or scores (logits) of the classes.
        """
        # A modality's map is its own rows' alone, so that its gradient costs no other modality's.
        weights = torch.split(self.weight, self.widths)
        biases = torch.split(self.bias, self.widths)
        mean = self.upsampling.mean(features)
        outputs = {}
        for name, weight, bias in zip(self.modalities, weights, biases, strict=True):
            if MODALITIES[name].level == "tile":
                outputs[name] = linear(mean, weight, bias)
            else:
                maps = weight @ features.flatten(2) + bias[:, None]
                outputs[name] = self.upsampling(maps.reshape(*maps.shape[:2], *features.shape[2:]))
        return outputs


def _width(name: str) -> int:
    if name not in MODALITIES:
        raise ConfigError(
            f"there is no modality {name!r} to reconstruct; expected some of "
            f"{', '.join(MODALITIES)}"
        )
    modality = MODALITIES[name]
    return len(modality.classes) if modality.kind == "categorical" else len(modality.bands)


def _flatten(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give a 1 × 1 convolution's weight the shape of ours."""
    if f"{prefix}weight" in state:
        state[f"{prefix}weight"] = state[f"{prefix}weight"].flatten(1)
