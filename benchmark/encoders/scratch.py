"""ConvNeXt V2 from scratch: the baseline that was pretrained on nothing (MMEarth-Bench §5.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import RGB, of_statistics
from mmearth.catalog.modalities import MODALITIES
from mmearth.loaders.inputs import ModalityInput, Normalisation

PATCH = 32
"""Pixels of the tile along a side of a cell of the last stage: a stem of 4, then 2 × 2 × 2."""


class ConvNeXtV2(Encoder):
    """A ConvNeXt V2 of any size with random weights, fed with all bands of its inputs.

    Pixel-level modalities come in as they are, tile-level ones as constant maps, classes as one
    map a class and one for no-data. The twelve modalities are 46 + 880 = 926 channels.
    """

    backbone: Any  # timm has no types

    def __init__(
        self, inputs: Iterable[ModalityInput], depths: tuple[int, ...], dims: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.inputs = Normalisation.of(inputs)
        self.dim = dims[-1]
        self.grid = (128 // PATCH, 128 // PATCH)
        channels = {name: _channels(each) for name, each in self.inputs.items()}
        of_tile = sum(n for name, n in channels.items() if MODALITIES[name].level == "tile")
        self.backbone = timm.create_model(
            "convnextv2_atto",
            in_chans=sum(channels.values()),
            depths=depths,
            dims=dims,
            num_classes=0,
        )
        self.backbone.head = nn.Identity()
        self.backbone.stem[0] = _Stem(self.backbone.stem[0], of_tile)

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, D, 4, 4); see `Encoder.forward`."""
        of_pixels: list[Tensor] = []
        of_tile: list[Tensor] = []
        for name, wanted in self.inputs.items():
            values = batch[name]
            if MODALITIES[name].kind == "categorical":
                n_classes = _channels(wanted)
                codes = torch.where(batch["mask"][name], values, n_classes - 1)[:, 0]
                values = functional.one_hot(codes, n_classes).movedim(-1, 1)
            into = of_tile if MODALITIES[name].level == "tile" else of_pixels
            into.append(values.to(self.backbone.stem[0].weight.dtype))
        stem, rest = self.backbone.stem[0], self.backbone.stem[1:]
        features = rest(stem(torch.cat(of_pixels, 1), torch.cat(of_tile, 1) if of_tile else None))
        grid: Tensor = self.backbone.norm_pre(self.backbone.stages(features))
        return grid


class ConvNeXtV2Atto(ConvNeXtV2):
    """ConvNeXt V2-Atto: 3.4 million weights, 320 features.

    Args:
        statistics: What the loader's batches are normalised with: the train statistics.
        multimodal: Whether all modalities in `statistics` are fed, as in the published revision,
            and not the red, green and blue of Sentinel-2 alone.
    """

    def __init__(self, statistics: Normalisation, multimodal: bool = False) -> None:
        super().__init__(_inputs(statistics, multimodal), (2, 2, 6, 2), (40, 80, 160, 320))


class ConvNeXtV2Tiny(ConvNeXtV2):
    """The same with 0.06 million weights and 64 features: for tests and demonstrations.

    Args:
        statistics: See `ConvNeXtV2Atto`.
        multimodal: See `ConvNeXtV2Atto`.
    """

    def __init__(self, statistics: Normalisation, multimodal: bool = False) -> None:
        super().__init__(_inputs(statistics, multimodal), (1, 1, 1, 1), (8, 16, 32, 64))


class _Stem(nn.Conv2d):
    """A convolution of maps, of which the last channels may be constant over the tile.

    Those are never made into maps: a kernel that does not overlap the border sums a constant.
    """

    def __init__(self, like: nn.Conv2d, of_tile: int) -> None:
        kernel, stride = (like.kernel_size[0], like.stride[0])
        super().__init__(like.in_channels, like.out_channels, kernel, stride)
        self.load_state_dict(like.state_dict())
        self.of_tile = of_tile

    def forward(self, maps: Tensor, constants: Tensor | None = None) -> Tensor:
        """Return the convolution of (B, channel, 128, 128) and (B, channel)."""
        if constants is None:
            return super().forward(maps)
        weight, of_tile = torch.split(self.weight, [maps.shape[1], self.of_tile], 1)
        result = functional.conv2d(maps, weight, self.bias, self.stride)
        return result + functional.linear(constants, of_tile.sum((2, 3)))[:, :, None, None]


def _channels(wanted: ModalityInput) -> int:
    """Return how many channels a modality takes: its bands, or its classes and one for no-data."""
    modality = MODALITIES[wanted.modality]
    return len(modality.classes) + 1 if modality.kind == "categorical" else len(wanted.bands)


def _inputs(statistics: Normalisation, multimodal: bool) -> list[ModalityInput]:
    if multimodal:
        return list(statistics.values())
    return [of_statistics(statistics, "sentinel2", RGB)]
