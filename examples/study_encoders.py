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
from mmearth.catalog.modalities import MODALITIES
from mmearth.loaders.inputs import ModalityInput, Normalisation


class Small(Encoder):
    """A ConvNeXt V2 of two blocks that sees means of 4 × 4 pixels: 4 × 4 cells of 64 features.

    What a tile has one value of is added to all cells alike; a class is one channel a class.
    """

    def __init__(self, inputs: Iterable[ModalityInput]) -> None:
        super().__init__()
        self.inputs = Normalisation.of(inputs)
        self.dim, self.grid = 64, (4, 4)
        self.of_pixels = nn.Conv2d(self._channels("pixel"), 8, 1)
        self.of_tile = nn.Linear(n, 8, bias=False) if (n := self._channels("tile")) else None
        model = timm.create_model(
            "convnextv2_atto", depths=(0, 0, 1, 1), dims=(8, 16, 32, 64), num_classes=0
        )
        self.net = nn.Sequential(model.stem[1], model.stages, model.norm_pre)

    def forward(self, batch: Batch) -> Tensor:
        maps = torch.cat([functional.avg_pool2d(each, 4) for each in self._of("pixel", batch)], 1)
        features = self.of_pixels(maps)
        if self.of_tile is not None:
            values = self.of_tile(torch.cat(list(self._of("tile", batch)), 1))
            features = features + values[:, :, None, None]
        return self.net(features)

    def _of(self, level: str, batch: Batch) -> Iterator[Tensor]:
        for name in self.inputs:
            modality, values = MODALITIES[name], batch[name]
            if modality.level != level:
                continue
            if modality.kind == "categorical":
                n_classes = len(modality.classes) + 1
                codes = torch.where(batch["mask"][name], values, n_classes - 1)[:, 0]
                values = functional.one_hot(codes, n_classes).movedim(-1, 1)
            yield values.to(self.of_pixels.weight.dtype)

    def _channels(self, level: str) -> int:
        found = {name: MODALITIES[name] for name in self.inputs}
        return sum(
            len(each.classes) + 1 if each.kind == "categorical" else len(self.inputs[name].bands)
            for name, each in found.items()
            if each.level == level
        )


class RGB(Small):
    """Sees red, green and blue."""

    def __init__(self, statistics: Normalisation) -> None:
        super().__init__([of_statistics(statistics, "sentinel2", RED_GREEN_BLUE)])


class Sentinel2(Small):
    """Sees the twelve bands of Sentinel-2."""

    def __init__(self, statistics: Normalisation) -> None:
        super().__init__([of_statistics(statistics, "sentinel2", None)])


class Everything(Small):
    """Sees all modalities: what is reconstructed is what it is fed."""

    def __init__(self, statistics: Normalisation) -> None:
        super().__init__(statistics.values())
