"""Test-time training gives what the plainest loop gives, and leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth.benchmark.decoders import PixelHead, ReconstructionHead, TileHead
from mmearth.benchmark.encoder import Encoder, as_wanted
from mmearth.benchmark.encoders.scratch import ConvNeXtV2Tiny
from mmearth.benchmark.losses import losses_of_batch
from mmearth.benchmark.methods.products import PRODUCTS
from mmearth.benchmark.methods.ttt_mmr import TTTMMR
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.inputs import Normalisation

N_TILES = 2
NAMES = tuple(name for name in MMEARTH_BENCH.layers if name != "ecoregion")
"""Its 846 maps take the plain loop twelve times as long; test_decoders.py has them."""
LAYERS = tuple(MMEARTH_BENCH.layers[name] for name in NAMES)
EXACT = 1e-12
"""Relative, in float64."""


def _statistics() -> Normalisation:
    """Return means of 0 and deviations of 1, of Sentinel-2 reflectances other ones."""
    declared: dict[str, Any] = {}
    for name, modality in MMEARTH_BENCH.layers.items():
        units = [band.unit for band in modality.bands]
        n = len(units)
        declared[name] = {"unit": units, "mean": [0.0] * n, "std": [1.0] * n}
    declared["sentinel2"] |= {"scale": 1e-4, "mean": [2000.0] * 12, "std": [1000.0] * 12}
    return Normalisation.from_model(declared, MMEARTH_BENCH)


STATISTICS = _statistics()


@dataclass(frozen=True, slots=True)
class Model:
    encoder: Encoder
    reconstruction: ReconstructionHead
    task: nn.Module
    batch: dict[str, Any]

    def inputs(self, batch: dict[str, Any]) -> dict[str, Any]:
        return as_wanted(batch, STATISTICS, self.encoder, MMEARTH_BENCH.layers)

    def method(self, **options: Any) -> TTTMMR:
        options = {"lr": 0.5, "steps": 3, "inputs": self.inputs} | options
        return TTTMMR(self.encoder, self.reconstruction, losses_of_batch, **options)


def make(multimodal: bool, pixels: bool, dtype: torch.dtype = torch.float64) -> Model:
    torch.manual_seed(3)
    encoder = ConvNeXtV2Tiny(STATISTICS, MMEARTH_BENCH, multimodal)
    task = PixelHead(64, (4, 4), 128) if pixels else TileHead(64, 2)
    # The published start of a ConvNeXt is so small that everything is nearly linear; go beyond it.
    for parameter in encoder.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    model = Model(encoder, ReconstructionHead(64, (4, 4), LAYERS), task, make_batch(dtype))
    for module in (encoder, model.reconstruction, task):
        module.to(dtype)
    return model


def make_batch(dtype: torch.dtype, n: int = N_TILES) -> dict[str, Any]:
    """Return a batch with gaps of pixels, of bands, of a tile, and without Sentinel-1."""
    of = torch.Generator().manual_seed(11)
    batch: dict[str, Any] = {"mask": {}, "weight": torch.ones(n)}
    for name, modality in MMEARTH_BENCH.layers.items():
        shape = (n, *modality.shape)
        mask = torch.rand(shape, generator=of) > 0.3
        if name in ("aster_gdem", "biome", "temperature"):
            mask[1] = False
        if name == "eth_gch":
            mask[:, 1] = False
        if name == "sentinel1":
            mask[:] = False
        if modality.kind == "categorical":
            values = torch.randint(0, len(modality.classes), shape, generator=of)
            batch[name] = torch.where(mask, values, 0)
        else:
            values = torch.randn(shape, generator=of, dtype=torch.float64).to(dtype)
            batch[name] = torch.where(mask, values, 0.0)
        batch["mask"][name] = mask
    return batch


def plain_losses(model: Model, features: Tensor) -> dict[str, Tensor]:
    """Upsample, convolve to 922 maps, average: one loss a modality that the batch has."""
    head, batch = model.reconstruction, model.batch
    maps = functional.interpolate(features, (128, 128), mode="bilinear", align_corners=False)
    maps = functional.conv2d(maps, head.weight[:, :, None, None], head.bias)
    losses = {}
    for name, rows in zip(NAMES, maps.split(head.widths, 1), strict=True):
        output = rows.mean((2, 3)) if MMEARTH_BENCH.layers[name].level == "tile" else rows
        tiles = []
        for tile, truth, valid in zip(output, batch[name], batch["mask"][name], strict=True):
            if not valid.any():
                continue
            if MMEARTH_BENCH.layers[name].kind == "categorical":
                channels = tile.reshape(len(tile), -1).T[valid.flatten()]
                tiles.append(functional.cross_entropy(channels, truth[valid]))
            else:
                tiles.append(functional.mse_loss(tile[valid], truth[valid]))
        if tiles:
            losses[name] = torch.stack(tiles).mean()
    return losses


def plain_loop(
    model: Model, chosen: list[nn.Parameter], lr: float, steps: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Adapt in the plainest way; return the predictions of 0 to K and the adapted parameters."""
    start = [parameter.detach().clone() for parameter in chosen]
    predictions = []
    for i in range(steps + 1):
        features = model.encoder(model.inputs(model.batch))
        predictions.append(model.task(features).detach())
        if i == steps:
            break
        losses = plain_losses(model, features)
        directions = []
        for loss in losses.values():
            found = torch.autograd.grad(loss, chosen, retain_graph=True, allow_unused=True)
            parts = [
                torch.zeros_like(parameter) if part is None else part
                for part, parameter in zip(found, chosen, strict=True)
            ]
            norm = sum(float(part.double().square().sum()) for part in parts) ** 0.5
            directions.append([part / (norm + 1e-6) for part in parts])
        for parameter, *parts in zip(chosen, *directions, strict=True):
            parameter.data -= lr * torch.stack(parts).mean(0)
    adapted = [parameter.detach().clone() for parameter in chosen]
    for parameter, value in zip(chosen, start, strict=True):
        parameter.data.copy_(value)
    return predictions, adapted


def spy(model: Model) -> Callable[[Tensor], tuple[Tensor, list[Tensor]]]:
    """Return a `predict` that also copies the parameters of the moment."""

    def predict(features: Tensor) -> tuple[Tensor, list[Tensor]]:
        parameters = [each.detach().clone() for each in model.encoder.parameters()]
        return model.task(features), parameters

    return predict


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@cache
def plain(
    multimodal: bool, pixels: bool, dtype: torch.dtype, lr: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what the plain loop gives after 3 steps; it is slow, so once a case."""
    model = make(multimodal, pixels, dtype)
    return plain_loop(model, list(model.encoder.parameters()), lr, 3)


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize(("multimodal", "pixels"), [(False, False), (True, True)])
def test_equals_the_plain_loop_in_float64(products: str, multimodal: bool, pixels: bool) -> None:
    model = make(multimodal, pixels)
    expected, parameters = plain(multimodal, pixels, torch.float64, 0.5)
    adapted = model.method(products=products).adapt(model.batch, spy(model))
    assert len(adapted.predictions) == 4
    for (prediction, _), slow in zip(adapted.predictions, expected, strict=True):
        assert relative(prediction, slow) <= EXACT
    assert relative(expected[3], expected[0]) > 1e-3  # it does adapt
    for found, slow in zip(adapted.prediction[1], parameters, strict=True):
        assert relative(found, slow) <= EXACT


@pytest.mark.parametrize("products", PRODUCTS)
def test_float32_predictions_are_those_of_the_plain_loop(products: str) -> None:
    model = make(True, False, torch.float32)
    expected, _ = plain(True, False, torch.float32, 0.01)
    adapted = model.method(products=products, lr=0.01).adapt(model.batch, model.task)
    for prediction, slow in zip(adapted.predictions, expected, strict=True):
        assert relative(prediction, slow) <= 1e-5
    assert relative(expected[3], expected[0]) > 1e-4
