"""Encoders of the adaptation study: as small as can be, so that ten seeds are trained in minutes.

mmearth benchmark check examples/study_encoders.py:Sentinel2
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import RGB as RED_GREEN_BLUE
from mmearth.benchmark.encoders.inputs import of_statistics
from mmearth.catalog.catalogue import Catalogue
from mmearth.loaders.inputs import ModalityInput, Normalisation


class Small(Encoder):
    """A ConvNeXt V2 of two blocks that sees 32 × 32 means of pixels: 4 × 4 cells of 64 features.

    What a tile has one value of is added to all cells alike; a class is one channel a class.
    """

    tiles = None  # of 32 pixels and multiples of it

    def __init__(self, inputs: Iterable[ModalityInput], catalogue: Catalogue) -> None:
        super().__init__()
        self.inputs = Normalisation.of(inputs)
        self.layers = [catalogue.layer(name) for name in self.inputs]
        self.dim, self.grid = 64, (4, 4)
        self.pool = catalogue.grid.pixels // 32
        self.of_pixels = nn.Conv2d(self._channels("pixel"), 8, 1)
        self.of_tile = nn.Linear(n, 8, bias=False) if (n := self._channels("tile")) else None
        model = timm.create_model(
            "convnextv2_atto", depths=(0, 0, 1, 1), dims=(8, 16, 32, 64), num_classes=0
        )
        self.net = nn.Sequential(model.stem[1], model.stages, model.norm_pre)

    def forward(self, batch: Batch) -> Tensor:
        maps = torch.cat(list(self._of("pixel", batch)), 1)
        features = self.of_pixels(functional.avg_pool2d(maps, self.pool))
        if self.of_tile is not None:
            values = self.of_tile(torch.cat(list(self._of("tile", batch)), 1))
            features = features + values[:, :, None, None]
        return self.net(features)

    def _of(self, level: str, batch: Batch) -> Iterator[Tensor]:
        for layer in self.layers:
            values = batch[layer.name]
            if layer.level != level:
                continue
            if layer.kind == "categorical":
                n_classes = len(layer.classes) + 1
                codes = torch.where(batch["mask"][layer.name], values, n_classes - 1)[:, 0]
                values = functional.one_hot(codes, n_classes).movedim(-1, 1)
            yield values.to(self.of_pixels.weight.dtype)

    def _channels(self, level: str) -> int:
        return sum(
            len(each.classes) + 1
            if each.kind == "categorical"
            else len(self.inputs[each.name].bands)
            for each in self.layers
            if each.level == level
        )


class RGB(Small):
    """Sees red, green and blue."""

    def __init__(self, statistics: Normalisation, catalogue: Catalogue) -> None:
        super().__init__([of_statistics(statistics, "sentinel2", RED_GREEN_BLUE)], catalogue)


class Sentinel2(Small):
    """Sees the twelve bands of Sentinel-2."""

    def __init__(self, statistics: Normalisation, catalogue: Catalogue) -> None:
        bands = statistics["sentinel2"].bands
        super().__init__([of_statistics(statistics, "sentinel2", bands)], catalogue)


class Everything(Small):
    """Sees all modalities: what is reconstructed is what it is fed."""

    def __init__(self, statistics: Normalisation, catalogue: Catalogue) -> None:
        super().__init__(statistics.values(), catalogue)
