"""Losses: the mean of what is valid, computed by hand; what is absent says nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmearth.benchmark.losses import (
    TargetScale,
    auxiliary_loss,
    losses_of_batch,
    reconstruction_losses,
    task_loss,
)
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.make_tiny import OWN

SOIL, SPECIES, BIOMASS = (MMEARTH_BENCH.tasks[name] for name in ("soil_pH", "species", "biomass"))


def test_biomass_pools_the_labelled_pixels_of_all_tiles() -> None:
    target = torch.full((2, 128, 128), -9999.0)
    mask = torch.zeros(2, 128, 128, dtype=torch.bool)
    for tile, row, value in ((0, 3, 10.0), (0, 4, 20.0), (1, 9, 60.0)):
        target[tile, row, 0], mask[tile, row, 0] = value, True
    found = task_loss(BIOMASS, torch.zeros(2, 128, 128), target, mask)
    assert float(found) == pytest.approx((10**2 + 20**2 + 60**2) / 3)  # not a mean of tiles' means


def test_a_standardised_target() -> None:
    scale = TargetScale((60.0,), (20.0,))
    target, mask = torch.tensor([[100.0], [20.0]]), torch.ones(2, 1, dtype=torch.bool)
    found = task_loss(SOIL, torch.tensor([[1.0], [-1.0]]), target, mask, scale=scale)
    assert float(found) == pytest.approx((1 + 1) / 2)
    assert scale.in_unit(torch.tensor(2.0)) == 100


def test_each_output_is_standardised_by_itself() -> None:
    scale = TargetScale((60.0, 10.0, 0.0), (20.0, 2.0, 1.0))
    target, mask = torch.tensor([[100.0, 6.0, 3.0]]), torch.ones(1, 3, dtype=torch.bool)
    found = task_loss(OWN.tasks["texture"], torch.zeros(1, 3), target, mask, scale=scale)
    assert float(found) == pytest.approx((2**2 + 2**2 + 3**2) / 3)
    assert scale.in_unit(torch.tensor([[2.0, -2.0, 3.0]])).tolist() == target.tolist()


def test_a_class_is_the_cross_entropy_of_the_classes() -> None:
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [9.0, 9.0, 9.0]])
    target, mask = torch.tensor([[0], [1], [-100]]), torch.tensor([[True], [True], [False]])
    found = task_loss(OWN.tasks["crop"], logits, target, mask)
    first, second = math.log(math.e + 2) - 1, math.log(2 + math.e**2)
    assert float(found) == pytest.approx((first + second) / 2, rel=1e-6)


def test_segmentation_pools_the_labelled_pixels_of_all_tiles() -> None:
    target = torch.full((2, 32, 32), -100)
    target[0, 3, 0], target[0, 4, 0], target[1, 9, 0] = 1, 1, 2
    logits = torch.zeros(2, 3, 32, 32)
    logits[1, 2] = 1.0
    found = task_loss(OWN.tasks["landcover"], logits, target, target >= 0)
    assert float(found) == pytest.approx((2 * math.log(3) + math.log(math.e + 2) - 1) / 3, rel=1e-6)
    assert task_loss(OWN.tasks["landcover"], logits, target, target > 2).isnan()


def test_species_is_the_cross_entropy_of_each_label() -> None:
    target = torch.zeros(2, 100, dtype=torch.uint8)
    target[0, 7] = 1
    logits = torch.full((2, 100), -2.0)
    found = task_loss(SPECIES, logits, target, torch.ones(2, 100, dtype=torch.bool))
    absent = math.log(1 + math.exp(-2))
    assert float(found) == pytest.approx((199 * absent + absent + 2) / 200, rel=1e-6)


def test_padding_does_not_count() -> None:
    target, mask = torch.tensor([[1.0], [9.0]]), torch.ones(2, 1, dtype=torch.bool)
    weight = torch.tensor([1.0, 0.0])
    assert task_loss(SOIL, torch.zeros(2, 1), target, mask, weight) == 1
    everything_padded = task_loss(SOIL, torch.zeros(2, 1), target, mask, 0 * weight)
    assert everything_padded.isnan()


def batch() -> dict[str, Any]:
    """Return two tiles: the first lacks a pixel of each, the second has no temperature."""
    torch.manual_seed(0)
    masks = {
        "sentinel1": torch.ones(2, 8, 128, 128, dtype=torch.bool),
        "dynamic_world": torch.ones(2, 1, 128, 128, dtype=torch.bool),
        "temperature": torch.ones(2, 9, dtype=torch.bool),
        "biome": torch.ones(2, 1, dtype=torch.bool),
    }
    masks["sentinel1"][0, 2:] = False
    masks["dynamic_world"][0, 0, 5, 7] = False
    masks["temperature"][1] = False
    values: dict[str, Any] = {"mask": masks}
    values["sentinel1"] = torch.randn(2, 8, 128, 128)
    values["dynamic_world"] = torch.randint(0, 9, (2, 1, 128, 128))
    values["temperature"] = torch.randn(2, 9)
    values["biome"] = torch.tensor([[3], [13]])
    return values


def outputs() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        "sentinel1": torch.randn(2, 8, 128, 128),
        "dynamic_world": torch.randn(2, 9, 128, 128),
        "temperature": torch.randn(2, 9),
        "biome": torch.randn(2, 14),
    }


def test_a_tiles_reconstruction_is_the_mean_of_what_it_has() -> None:
    given, made = batch(), outputs()
    found = losses_of_batch(made, given)
    first = (made["sentinel1"][0, :2] - given["sentinel1"][0, :2]).square().mean()
    assert float(found["sentinel1"][0]) == pytest.approx(float(first), rel=1e-6)
    every = functional.cross_entropy(
        made["dynamic_world"], given["dynamic_world"][:, 0], reduction="none"
    )
    expected = (every[0].sum() - every[0, 5, 7]) / (128 * 128 - 1)
    assert float(found["dynamic_world"][0]) == pytest.approx(float(expected), rel=1e-6)
    assert found["temperature"].isnan().tolist() == [False, True]
    scores = made["biome"].log_softmax(1)
    assert found["biome"].tolist() == pytest.approx([-float(scores[0, 3]), -float(scores[1, 13])])


def test_each_band_of_classes_has_its_own_scores() -> None:
    codes, mask = torch.tensor([[2, 0], [1, 1]]), torch.tensor([[True, True], [True, False]])
    scores = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    found = reconstruction_losses({"cover": scores}, {"cover": codes}, {"cover": mask})["cover"]
    logged = scores.view(2, 2, 3).log_softmax(2)  # (tile, band, class)
    first = -(logged[0, 0, 2] + logged[0, 1, 0]) / 2
    assert found.tolist() == pytest.approx([float(first), -float(logged[1, 0, 1])])


def test_the_auxiliary_loss_is_the_mean_over_tiles_and_modalities() -> None:
    found = losses_of_batch(outputs(), batch())
    seven = [
        value for losses in found.values() for value in losses.tolist() if not math.isnan(value)
    ]
    assert len(seven) == 7
    assert float(auxiliary_loss(found)) == pytest.approx(sum(seven) / 7, rel=1e-6)


def test_what_lies_under_a_false_mask_has_no_influence() -> None:
    given, made = batch(), outputs()
    other = batch()
    for name, mask in given["mask"].items():
        spoilt = torch.full_like(other[name], 7777)
        other[name] = torch.where(mask, other[name], spoilt)
    for name, losses in losses_of_batch(made, given).items():
        assert torch.equal(losses_of_batch(made, other)[name].nan_to_num(-1), losses.nan_to_num(-1))


def test_a_tile_that_lacks_a_modality_has_a_gradient_of_zero() -> None:
    made = outputs()
    made["temperature"].requires_grad_()
    loss = auxiliary_loss(losses_of_batch(made, batch()))
    (gradient,) = torch.autograd.grad(loss, made["temperature"])
    assert gradient.isfinite().all()
    assert gradient[0].abs().min() > 0
    assert gradient[1].eq(0).all()


def test_rows_of_padding_reconstruct_nothing() -> None:
    given = batch()
    found = reconstruction_losses(outputs(), given, given["mask"], torch.tensor([1.0, 0.0]))
    assert all(losses[1].isnan() and not losses[0].isnan() for losses in found.values())
