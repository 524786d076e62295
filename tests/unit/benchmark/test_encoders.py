"""Every encoder keeps its promises without its weights; what its inputs become is as declared."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from mmearth.benchmark.check import check, made_up_batch, plain_statistics
from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.encoder import Encoder
from mmearth.benchmark.encoders import ENCODERS, build_encoder
from mmearth.benchmark.encoders.inputs import PUBLISHED, degrees_of, month_of, orbit_pair
from mmearth.benchmark.encoders.pictures import eight_bit, stretched
from mmearth.benchmark.matrix import Cell
from mmearth.benchmark.run import _left, plan
from mmearth.catalog.errors import ConfigError, UnavailableError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.collate import Batch
from mmearth.loaders.inputs import Normalisation
from mmearth.tests.unit.benchmark.documented import DOCUMENTED, batch_for, entered

# The packages warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")
STATISTICS = plain_statistics(MMEARTH_BENCH)


ASK_FOR_VALUES = ("copernicusfm", "galileo", "panopticon", "olmoearth_nano", "olmoearth_base")
"""Whose packages look at values in a forward pass: there a GPU is waited for, and no CUDA graph can
be made."""
TWINS = ("dinov3_sat", "olmoearth_base")
"""Of the class of another, with other weights or another size: what one promises, both do."""


def make(name: str, recipe: str = "default") -> Encoder:
    for package in ENCODERS[name].packages:
        pytest.importorskip(package)
    torch.manual_seed(0)
    return build_encoder(name, STATISTICS, MMEARTH_BENCH, "none", recipe).eval()


@pytest.mark.parametrize("name", ENCODERS)
def test_it_keeps_its_promises_and_feeds_its_model_as_documented(name: str) -> None:
    encoder = make(name)
    buffers = {key: each.clone() for key, each in encoder.named_buffers()}
    if name not in TWINS:
        findings = list(check(encoder, MMEARTH_BENCH))
        assert len(findings) == 9
        assert {finding.name: finding.problem for finding in findings if finding.problem} == {}
    if name not in DOCUMENTED:
        assert name.startswith("convnextv2")  # all others come pretrained
        return
    where, documented = DOCUMENTED[name]
    with entered(encoder, where) as calls, torch.no_grad():
        encoder(batch_for(encoder))
    for found, expected in documented(calls):
        assert found.shape == expected.shape
        assert torch.allclose(found.double(), expected.double(), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(buffers[key], each) for key, each in encoder.named_buffers())
    there = Batch(batch_for(encoder)).to("meta")
    try:  # the meta device has no values, and takes no tensor of another device
        assert encoder.to("meta")(there).is_meta
    except RuntimeError:
        assert name in ASK_FOR_VALUES
    else:
        assert name not in ASK_FOR_VALUES


@pytest.fixture(autouse=True)
def _precision() -> Iterator[None]:
    """Put back what terratorch sets where a test imports it by itself."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


_SETTING = """
import torch
from mmearth.benchmark.encoders.scratch import ConvNeXtV2Atto

torch.set_float32_matmul_precision("medium")


class Mine(ConvNeXtV2Atto):
    def __init__(self, statistics, catalogue):
        torch.set_default_dtype(torch.float64)
        super().__init__(statistics, catalogue)
"""


def test_what_a_package_sets_for_the_process_is_put_back(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(_SETTING)
    before = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    build_encoder(f"{tmp_path}/mine.py:Mine", STATISTICS, MMEARTH_BENCH, "none", "default")
    assert before == (torch.get_float32_matmul_precision(), torch.get_default_dtype())


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_listed_is_there(name: str) -> None:
    for package in ENCODERS[name].packages:
        pytest.importorskip(package)
    module, _, kind = ENCODERS[name].place.partition(":")
    assert issubclass(getattr(importlib.import_module(module), kind), Encoder)


def tiles(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(len(values), 1, 1, 1).expand(-1, 3, 128, 128).clone()


def test_a_picture_is_as_bright_everywhere() -> None:
    assert eight_bit(tiles(0, 1275, 2550, 9000))[:, 0, 0, 0].tolist() == [0, 0.5, 1, 1]


def test_a_stretched_picture_goes_from_its_least_to_its_greatest() -> None:
    stored, valid = tiles(500), torch.ones(1, 3, 128, 128, dtype=torch.bool)
    stored[0, 0, 0], stored[0, 1, 0], stored[0, 2, 0, 0] = 1500, 100, 30000
    valid[0, 2, 0, 0] = False
    shown = stretched(stored, valid)
    assert shown[0, 0, 0, 0] == 1
    assert shown[0, 0, 1, 0] == 0
    assert shown[0, 1, 0, 0] == 0
    assert shown[0, 1, 1, 0] == 1
    assert shown[0, 2].eq(0).all()  # constant where it is valid


def sentinel2(stored: float, encoder: Encoder) -> dict[str, Any]:
    """Return a batch whose Sentinel-2 is one stored value everywhere."""
    batch = made_up_batch(encoder, MMEARTH_BENCH)
    wanted = encoder.inputs["sentinel2"]
    for i in range(len(wanted.bands)):
        batch["sentinel2"][:, i] = (stored - wanted.mean[i]) / wanted.std[i]
    return batch


def test_satlas_saturates_as_published_and_not_by_default() -> None:
    ours, theirs = make("satlasnet"), make("satlasnet", PUBLISHED)
    assert ours.brightest.flatten().tolist() == [2550.0] * 3 + [8160.0] * 6
    assert theirs.brightest.flatten().tolist() == [255.0] * 3 + [8160.0] * 6
    for encoder, saturates in ((ours, False), (theirs, True)):
        with torch.no_grad():
            encoder.net.features[0][0].weight[:, 3:] = 0  # look at red, green and blue alone
            # 300 and 400 are both brighter than 255
            dark, bright = (encoder(sentinel2(stored, encoder)) for stored in (300, 400))
        assert torch.equal(dark, bright) == saturates


def test_terramind_subtracts_an_offset_as_published_and_not_by_default() -> None:
    pytest.importorskip("terratorch")
    from mmearth.benchmark.encoders.terramind import OFFSET, rendered

    assert OFFSET == {"default": 0.0, PUBLISHED: 1000.0}
    valid = torch.ones(1, 3, 128, 128, dtype=torch.bool)
    dark = rendered(tiles(800), valid)  # median below 1000: black is 0, white is 2000
    assert dark.unique().tolist() == pytest.approx([800 / 2000 * 255])
    nothing = rendered(tiles(800), ~valid)
    assert nothing.eq(0).all()


def test_terramind_compresses_what_is_rare() -> None:
    pytest.importorskip("terratorch")
    from mmearth.benchmark.encoders.terramind import rendered

    stored = torch.linspace(500, 2500, 3 * 128 * 128).view(1, 3, 128, 128)
    shown = rendered(stored, torch.ones_like(stored, dtype=torch.bool)).flatten()
    low, high = 540.0, 2460.0  # the 2nd and 98th percentile
    black = low - (low - 504) / 2  # the 0.2nd, compressed
    white = high + (2496 - high) / 2
    middle = (1500 - black) / (white - black) * 255
    assert float(shown[len(shown) // 2]) == pytest.approx(middle, abs=0.1)
    assert float(shown[0]) == 0
    assert float(shown[-1]) == 255


def test_the_orbit_with_more_pixels_is_fed() -> None:
    batch: dict[str, Any] = {"sentinel1": torch.arange(4.0).view(1, 4, 1, 1).repeat(3, 1, 8, 8)}
    mask = torch.ones(3, 4, 8, 8, dtype=torch.bool)
    mask[0, 0, 0, 0] = False  # less of the ascending one
    mask[1, 2:] = False  # nothing of the descending one
    batch["mask"] = {"sentinel1": mask}
    values, valid = orbit_pair(batch)
    assert values[:, :, 1, 1].tolist() == [[2, 3], [0, 1], [0, 1]]
    assert valid.all()


@pytest.mark.parametrize("month", range(1, 13))
def test_months_come_back(month: int) -> None:
    angle = math.pi * month / 6
    assert month_of(torch.tensor([[math.cos(angle), math.sin(angle)]])).tolist() == [month - 1]


@pytest.mark.parametrize(("lon", "lat"), [(-179.9, -89.0), (179.9, 89.0), (0.0, 0.0), (-70, 45)])
def test_places_come_back(lon: float, lat: float) -> None:
    angles = (math.radians(lon), math.radians(lat))
    encoded = torch.tensor([[f(a) for a in angles for f in (math.cos, math.sin)]])
    assert degrees_of(encoded)[0].tolist() == pytest.approx([lon, lat], abs=1e-3)


def test_units_of_another_kind_are_refused() -> None:
    bands = tuple(band.name for band in MMEARTH_BENCH.layers["sentinel1"].bands)
    with pytest.raises(ConfigError, match="unit"):
        Normalisation.from_model(
            {"sentinel1": {"bands": bands, "unit": "1", "mean": [0.1] * 8, "std": [1.0] * 8}},
            MMEARTH_BENCH,
        ).check(MMEARTH_BENCH)


def test_weights_that_cannot_be_fetched_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nowhere/at/all")
    with pytest.raises(UnavailableError, match="weights of mpmae could not be fetched"):
        build_encoder("mpmae", STATISTICS, MMEARTH_BENCH, "published", "default")


def test_what_has_no_weights_says_so() -> None:
    with pytest.raises(ConfigError, match="has no published weights"):
        build_encoder("convnextv2_tiny", STATISTICS, MMEARTH_BENCH, "published", "default")


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        ("convnextv2_tyni", "none", "no encoder 'convnextv2_tyni' .did you mean 'convnextv2_tiny'"),
        ("resnet50", "none", "there is no encoder 'resnet50'.*expected one of convnextv2_atto, "),
        ("convnextv2_tiny", "published", "has no published weights; say `weights: none`"),
        ("nowhere.py:Mine", "none", "there is no file nowhere.py"),
        ("nowhere:Mine", "none", "No module named 'nowhere'"),
        ("json:Mine", "none", "cannot be imported .*'Mine'"),
        ("json:JSONDecoder", "none", "is no mmearth.benchmark.encoder.Encoder; derive it"),
    ],
)
def test_encoders_are_looked_at_before_anything_runs(
    name: str, weights: Literal["none", "published"], said: str, tmp_path: Path
) -> None:
    config = BenchmarkConfig(dataset=str(tmp_path), encoders=(name,), weights=weights)
    with pytest.raises(ConfigError, match=said):
        plan(config, tmp_path)


def test_what_is_left_is_told_by_the_method() -> None:
    cells = [Cell("soil_pH", "mine", method, 100, 41) for method in ("LP", "FT", "JT", "LP")]
    # LP takes 2 s, FT 10 s; of JT nothing is known yet, so it counts as the slowest.
    assert _left(cells, {"LP": [1.0, 3.0], "FT": [10.0]}) == 2 + 10 + 10 + 2
    assert _left([], {"LP": [1.0]}) == 0.0
