"""The heads compute what the published ones do, where it is cheap."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmearth.benchmark.decoders import PixelHead, ReconstructionHead, TileHead, bilinear
from mmearth.benchmark.encoder import Encoder
from mmearth.benchmark.losses import RAW
from mmearth.benchmark.model import Model, in_unit
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.make_tiny import OWN

LAYERS = tuple(MMEARTH_BENCH.layers.values())
GRIDS = [(4, 4), (8, 8), (15, 15), (9, 16)]
"""Of ConvNeXt V2, of ViTs, of MP-MAE, which does not divide 128, and one that is not square."""


@pytest.fixture(autouse=True)
def _doubles() -> object:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def layers(*names: str) -> list[Layer]:
    return [MMEARTH_BENCH.layers[name] for name in names]


def upsampled(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, (128, 128), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("n_to", [48, 128])
@pytest.mark.parametrize("n", [1, 3, 4, 15, 16, 48])
def test_the_matrix_interpolates_as_torch_does(n: int, n_to: int) -> None:
    line = torch.randn(1, 1, n)
    expected = functional.interpolate(line, n_to, mode="linear", align_corners=False)
    assert torch.allclose(line @ bilinear(n, n_to).T, expected, rtol=0, atol=1e-14)
    assert torch.allclose(bilinear(n, n_to).sum(1), torch.ones(n_to))


@pytest.mark.parametrize("grid", GRIDS)
def test_reconstruction_is_the_plain_head(grid: tuple[int, int]) -> None:
    head = ReconstructionHead(6, grid, LAYERS)
    assert head.weight.shape == (922, 6)
    features = torch.randn(2, 6, *grid)
    maps = functional.conv2d(upsampled(features), head.weight[:, :, None, None], head.bias)
    plain = dict(zip(MMEARTH_BENCH.layers, maps.split(head.widths, 1), strict=True))
    found = head(features)
    assert list(found) == list(MMEARTH_BENCH.layers)
    for name, output in found.items():
        of_tile = MMEARTH_BENCH.layers[name].level == "tile"
        expected = plain[name].mean((2, 3)) if of_tile else plain[name]
        assert output.shape == expected.shape
        assert torch.allclose(output, expected, rtol=1e-12, atol=1e-12), name


def test_a_plain_mean_is_wrong_where_the_grid_does_not_divide_the_tile() -> None:
    head = ReconstructionHead(1, (15, 15), layers("month"))
    with torch.no_grad():
        head.weight.fill_(1.0)
        assert head.bias is not None
        head.bias.zero_()
    features = torch.zeros(1, 1, 15, 15)
    features[0, 0, 0, 0] = 1.0  # a corner does not count for a 225th
    found = float(head(features)["month"][0, 0].detach())
    assert found == pytest.approx(float(upsampled(features).mean()), rel=1e-12)
    assert abs(found * 225 - 1) > 1e-4


def test_gradients_are_those_of_the_plain_head() -> None:
    head = ReconstructionHead(6, (15, 15), layers("sentinel2", "temperature"))
    features = torch.randn(2, 6, 15, 15, requires_grad=True)
    weights = torch.randn(2, 12, 128, 128)
    found = head(features)
    ours = torch.autograd.grad(
        (found["sentinel2"] * weights).sum() + found["temperature"].square().sum(),
        [features, head.weight],
    )
    maps = functional.conv2d(upsampled(features), head.weight[:, :, None, None], head.bias)
    pixels, tile = maps.split([12, 9], 1)
    loss = (pixels * weights).sum() + tile.mean((2, 3)).square().sum()
    for one, other in zip(ours, torch.autograd.grad(loss, [features, head.weight]), strict=True):
        assert float((one - other).norm() / other.norm()) <= 1e-12


def test_biomass_is_the_plain_head() -> None:
    head = PixelHead(6, (15, 15), 128)
    features = torch.randn(2, 6, 15, 15)
    assert torch.allclose(head(features), head.conv(upsampled(features))[:, 0], rtol=1e-12)


def test_a_tile_is_the_mean_normed_and_mapped() -> None:
    head = TileHead(6, 3)
    features = torch.randn(2, 6, 4, 4)
    mean = features.mean((2, 3))
    expected = head.linear(functional.layer_norm(mean, (6,), eps=1e-6))
    assert torch.allclose(head(features), expected, rtol=1e-12)
    assert torch.equal(head(features), head.pooled(mean))


def test_a_convolution_is_read_too() -> None:
    head = ReconstructionHead(6, (4, 4), layers("biome"))
    state = {"weight": torch.randn(14, 6, 1, 1), "bias": torch.randn(14)}
    head.load_state_dict(state)
    assert torch.equal(head.weight.detach(), state["weight"][:, :, 0, 0])


def test_own_layers_have_a_row_a_band_or_class_of_a_band() -> None:
    soil = OWN.layers["soil_map"]
    two = replace(soil, name="soils", bands=tuple(replace(soil.bands[0], name=n) for n in "ab"))
    head = ReconstructionHead(6, (2, 2), (*OWN.layers.values(), two))
    # Four bands, three classes, two bands, two numbers, one number, three classes, twice three.
    assert head.widths == [4, 3, 2, 2, 1, 3, 6]
    shapes = {
        name: tuple(output.shape[1:]) for name, output in head(torch.randn(1, 6, 2, 2)).items()
    }
    assert shapes == {
        "embedding": (4, 32, 32),
        "soil_map": (3, 32, 32),
        "landsat": (2, 32, 32),
        "climate": (2,),
        "season": (1,),
        "zone": (3,),
        "soils": (6, 32, 32),
    }


class Features(Encoder):
    """Six features of four cells."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.grid = 6, (2, 2)

    def forward(self, batch: Tensor) -> Tensor:
        return batch


@pytest.mark.parametrize(
    ("task", "predicted", "said"),
    [
        ("height", (32, 32), (32, 32)),
        ("landcover", (3, 32, 32), (32, 32)),
        ("yields", (1,), (1,)),
        ("texture", (3,), (3,)),
        ("crop", (3,), (3,)),
        ("birds", (3,), (3,)),
    ],
)
def test_each_kind_of_task_has_its_head(
    task: str, predicted: tuple[int, ...], said: tuple[int, ...]
) -> None:
    of = OWN.tasks[task]
    made, outputs = Model(Features(), of)(torch.randn(4, 6, 2, 2))
    assert outputs == {} and tuple(made.shape[1:]) == predicted
    answer = in_unit(of, made, RAW)
    assert tuple(answer.shape[1:]) == said
    if task == "landcover":
        assert torch.equal(answer, made.argmax(1))
    if task == "crop":
        assert torch.allclose(answer.sum(1), torch.ones(4, dtype=torch.float32))
        assert torch.equal(answer.argmax(1), made.argmax(1))
