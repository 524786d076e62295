"""Decoders: features on a grid → predictions of a tile, of its pixels, of every modality.

Published (MMEarth-Bench §5.2): upsample the features bilinearly to the pixels, then a 1 × 1
convolution, then a mean over the tile for tile-level outputs. All three are linear and the
convolution acts on channels alone, so the order does not matter; here the convolution comes first,
on the grid, and a tile-level output is the convolution of the features' weighted mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mmearth.catalog.layer import Layer


def bilinear(n_from: int, n_to: int) -> Tensor:
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

    rows: Tensor  # (row, h)
    columns: Tensor  # (column, w)

    def __init__(self, grid: tuple[int, int], pixels: int) -> None:
        super().__init__()
        self.register_buffer("rows", bilinear(grid[0], pixels), persistent=False)
        self.register_buffer("columns", bilinear(grid[1], pixels), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (…, h, w) as (…, row, column)."""
        return self.rows @ (maps @ self.columns.T)

    def mean(self, maps: Tensor) -> Tensor:
        """Return the mean of the upsampled maps, (…,) where a cell is no whole pixels too."""
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
    """Features → a prediction a pixel: 1 × 1 convolution, bilinear to the tile's pixels.

    Args:
        dim: Features of a cell.
        grid: Cells down and across.
        pixels: Of the tile, down and across.
        n_classes: Of a pixel; 0 for a number.
    """

    def __init__(self, dim: int, grid: tuple[int, int], pixels: int, n_classes: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, n_classes or 1, 1)
        self.n_classes = n_classes
        self.upsampling = _Upsampling(grid, pixels)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, D, h, w) as (B, row, column), or (B, class, row, column) of classes."""
        maps = self.conv(features)
        prediction: Tensor = self.upsampling(maps if self.n_classes else maps[:, 0])
        return prediction


class ReconstructionHead(nn.Module):
    """Features → all modalities: one linear map, of which each modality owns some rows.

    The published twelve have 922 rows: 12 + 8 + 2 + 2 + 9 + 11 + 3 + 9 + 4 + 2 + 14 + 846, a row a
    band or a class. The state is `weight`, (rows, D), and `bias`, (rows,); a convolution's
    (rows, D, 1, 1) is read as well.

    Args:
        dim: Features of a cell.
        grid: Cells down and across.
        layers: The modalities to reconstruct.
    """

    def __init__(self, dim: int, grid: tuple[int, int], layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.widths = [len(layer.bands) * max(len(layer.classes), 1) for layer in self.layers]
        start = nn.Linear(dim, sum(self.widths))
        self.weight, self.bias = start.weight, start.bias
        self.upsampling = _Upsampling(grid, self.layers[0].pixels)
        self.register_load_state_dict_pre_hook(_flatten)  # type: ignore[no-untyped-call]

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the features, (B, D, h, w), as a dict by modality.

        Of a pixel-level modality (B, channel, row, column), of a tile-level one (B, channel): bands
        as they were normalised, or of each band the scores (logits) of its classes.
        """
        # A modality's map is its own rows' alone, so that its gradient costs no other modality's.
        weights = torch.split(self.weight, self.widths)
        biases = torch.split(self.bias, self.widths)
        mean = self.upsampling.mean(features)
        outputs = {}
        for layer, weight, bias in zip(self.layers, weights, biases, strict=True):
            if layer.is_pixel:
                maps = weight @ features.flatten(2) + bias[:, None]
                maps = maps.reshape(*maps.shape[:2], *features.shape[2:])
                outputs[layer.name] = self.upsampling(maps)
            else:
                outputs[layer.name] = linear(mean, weight, bias)
        return outputs


def _flatten(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give a 1 × 1 convolution's weight the shape of ours."""
    if f"{prefix}weight" in state:
        state[f"{prefix}weight"] = state[f"{prefix}weight"].flatten(1)
