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
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.layer import Layer
from mmearth.loaders.inputs import ModalityInput, Normalisation


class ConvNeXtV2(Encoder):
    """A ConvNeXt V2 of any size with random weights, fed with all bands of its inputs.

    Pixel-level modalities come in as they are, tile-level ones as constant maps, classes as one
    map a class and one for no-data. The published twelve modalities are 46 + 880 = 926 channels.

    Args:
        inputs: What is fed, one modality with pixels at least.
        catalogue: Of the dataset, which says what the modalities are.
        depths: Blocks of each stage.
        dims: Features of each stage.

    Raises:
        ConfigError: No modality has pixels.
    """

    tiles = None
    backbone: Any  # timm has no types

    def __init__(
        self,
        inputs: Iterable[ModalityInput],
        catalogue: Catalogue,
        depths: tuple[int, ...],
        dims: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.inputs = Normalisation.of(inputs)
        self.layers = [catalogue.layer(name) for name in self.inputs]
        if not any(layer.is_pixel for layer in self.layers):
            raise ConfigError(
                f"found {', '.join(self.inputs)}, of which none has pixels; a ConvNeXt needs a "
                "modality that has: build the dataset with one"
            )
        self.dim = dims[-1]
        # A stem of 4, then 2 × 2 × 2; the last of them only where it divides the tile.
        patch = 32 if catalogue.grid.pixels % 32 == 0 else 16
        self.grid = (catalogue.grid.pixels // patch,) * 2
        channels = [_channels(layer, self.inputs[layer.name]) for layer in self.layers]
        of_tile = [n for n, layer in zip(channels, self.layers, strict=True) if not layer.is_pixel]
        self.backbone = timm.create_model(
            "convnextv2_atto",
            in_chans=sum(channels),
            depths=depths,
            dims=dims,
            num_classes=0,
            output_stride=patch,
        )
        self.backbone.head = nn.Identity()
        self.backbone.stem[0] = _Stem(self.backbone.stem[0], sum(of_tile))

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, D, h, w); see `Encoder.forward`."""
        of_pixels: list[Tensor] = []
        of_tile: list[Tensor] = []
        for layer in self.layers:
            values = batch[layer.name]
            if layer.classes:
                unknown = len(layer.classes)
                codes = torch.where(batch["mask"][layer.name], values, unknown)
                values = functional.one_hot(codes, unknown + 1).movedim(-1, 2).flatten(1, 2)
            into = of_pixels if layer.is_pixel else of_tile
            into.append(values.to(self.backbone.stem[0].weight.dtype))
        stem, rest = self.backbone.stem[0], self.backbone.stem[1:]
        features = rest(stem(torch.cat(of_pixels, 1), torch.cat(of_tile, 1) if of_tile else None))
        grid: Tensor = self.backbone.norm_pre(self.backbone.stages(features))
        return grid


class ConvNeXtV2Atto(ConvNeXtV2):
    """ConvNeXt V2-Atto: 3.4 million weights, 320 features.

    Args:
        statistics: What the loader's batches are normalised with: the train statistics.
        catalogue: Of the dataset.
        multimodal: Whether all modalities in `statistics` are fed, as in the published revision,
            and not the red, green and blue of Sentinel-2 alone.
    """

    def __init__(
        self, statistics: Normalisation, catalogue: Catalogue, multimodal: bool = False
    ) -> None:
        inputs = _inputs(statistics, multimodal)
        super().__init__(inputs, catalogue, (2, 2, 6, 2), (40, 80, 160, 320))


class ConvNeXtV2Tiny(ConvNeXtV2):
    """The same with 0.06 million weights and 64 features: for tests and demonstrations.

    Args:
        statistics: See `ConvNeXtV2Atto`.
        catalogue: See `ConvNeXtV2Atto`.
        multimodal: See `ConvNeXtV2Atto`.
    """

    def __init__(
        self, statistics: Normalisation, catalogue: Catalogue, multimodal: bool = False
    ) -> None:
        inputs = _inputs(statistics, multimodal)
        super().__init__(inputs, catalogue, (1, 1, 1, 1), (8, 16, 32, 64))


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
        """Return the convolution of (B, channel, row, column) and (B, channel)."""
        if constants is None:
            return super().forward(maps)
        weight, of_tile = torch.split(self.weight, [maps.shape[1], self.of_tile], 1)
        result = functional.conv2d(maps, weight, self.bias, self.stride)
        return result + functional.linear(constants, of_tile.sum((2, 3)))[:, :, None, None]


def _channels(layer: Layer, wanted: ModalityInput) -> int:
    """Return how many channels a modality takes: a band, or its classes and one for no-data."""
    return len(wanted.bands) * (len(layer.classes) + 1 if layer.classes else 1)


def _inputs(statistics: Normalisation, multimodal: bool) -> list[ModalityInput]:
    if multimodal:
        return list(statistics.values())
    return [of_statistics(statistics, "sentinel2", RGB)]
