"""What a batch's iteration is chosen by, and the learning rates of a configuration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from mmearth.benchmark.adapted import ADAPTED, MODES, ORACLES, PREDICTING, choice_of, mode_of
from mmearth.benchmark.config import METHODS, BenchmarkConfig
from mmearth.benchmark.losses import held, losses_of_batch, losses_of_parts
from mmearth.benchmark.matrix import Cell, setting
from mmearth.benchmark.methods.choices import least_change


def test_names_say_batches_and_choice() -> None:
    assert set(ADAPTED) < set(METHODS) and len(ADAPTED) == 10
    assert {mode_of(name) for name in ADAPTED} == set(MODES)
    assert (mode_of("TTT-MMR-Geo"), choice_of("TTT-MMR-Geo")) == ("TTT-MMR-Geo", "validation")
    assert (mode_of("TTT-MMR-pixels"), choice_of("TTT-MMR-pixels")) == ("TTT-MMR", "pixels")
    assert set(ORACLES) == {"TTT-MMR-oracle", "TTT-MMR-Geo-oracle"}
    assert not set(ORACLES) & set(PREDICTING)


def test_the_least_change_leaves_padding_out() -> None:
    real = torch.tensor([True, True, False])
    # The next step changes by 1, 0.5 and 2; the padding by 9.
    values = [(0.0, 0.0), (1.0, 9.0), (1.5, 18.0), (3.5, 18.0)]
    predictions = [torch.tensor([[one], [one], [pad]]) for one, pad in values]
    assert least_change(predictions, real) == 1
    assert least_change(predictions, torch.tensor([False, False, True])) == 2
    assert least_change(predictions[:1], real) == 0


def test_a_quarter_of_the_pixels_is_held_back() -> None:
    torch.manual_seed(0)
    outputs = {"sentinel2": torch.randn(2, 3, 32, 32), "climate": torch.randn(2, 4)}
    batch: dict[str, Any] = {name: torch.zeros_like(each) for name, each in outputs.items()}
    batch["mask"] = {name: torch.ones_like(each).bool() for name, each in outputs.items()}
    batch["mask"]["sentinel2"][1, :, :16] = False
    found, whole = losses_of_parts(outputs, batch), losses_of_batch(outputs, batch)
    assert set(found) == {"sentinel2", "climate", held("sentinel2")}
    assert torch.equal(found["climate"], whole["climate"])
    kept, apart = found["sentinel2"], found[held("sentinel2")]
    assert torch.allclose(0.75 * kept + 0.25 * apart, whole["sentinel2"])
    # What is held back decides nothing of the rest, and a block is a whole one.
    outputs["sentinel2"][:, :, :4, :4] = 100.0
    again = losses_of_parts(outputs, batch)
    assert torch.equal(again["sentinel2"], kept)
    assert again[held("sentinel2")][0] > apart[0]
    assert torch.equal(again[held("sentinel2")][1], apart[1])  # nothing is valid there


def _config(**adaptation: Any) -> BenchmarkConfig:
    document = {"dataset": "d", "encoders": ["a", "b"], "methods": ["JT", "TTT-MMR"]}
    return BenchmarkConfig.model_validate({**document, "adaptation": adaptation})


def test_rates_are_one_or_several_for_all_or_for_each_encoder() -> None:
    assert _config().adaptation.rates("a") == (0.01,)
    assert _config(lr="1e-3").adaptation.rates("a") == (0.001,)
    assert _config(lr=[0.1, 0.01]).adaptation.rates("b") == (0.1, 0.01)
    each = _config(lr={"a": 0.1, "b": [0.2, 0.3]})
    assert (each.adaptation.rates("a"), each.adaptation.rates("b")) == ((0.1,), (0.2, 0.3))
    read = BenchmarkConfig.model_validate(each.model_dump(mode="json"))
    assert read == each
    # What another encoder is tried with is no part of a run.
    other = _config(lr={"a": 0.1, "b": 0.5})
    same, differs = (
        [setting(config, "d", Cell("t", "a", "TTT-MMR", 100, 1)).config_hash for config in pair]
        for pair in ((each, other), (each, _config(lr=0.2)))
    )
    assert same[0] == same[1] and differs[0] != differs[1]


@pytest.mark.parametrize(
    ("adaptation", "sentence"),
    [
        ({"lr": 0}, "expected a finite number above 0, a list of them"),
        ({"lr": float("inf")}, "expected a finite number above 0"),
        ({"lr": []}, "expected a finite number above 0"),
        ({"lr": [0.1, -1]}, "expected a finite number above 0"),
        ({"lr": "fast"}, "expected a finite number above 0"),
        ({"lr": {"a": 0.1, "b": []}}, "expected a finite number above 0"),
        ({"lr": {"a": 0.1}}, "has rates of a; expected one for each encoder: a, b"),
    ],
)
def test_other_rates_are_refused(adaptation: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        _config(**adaptation)


def test_what_is_held_back_must_be_named() -> None:
    methods = ["TTT-MMR-Geo-held-back"]
    with pytest.raises(ValidationError, match=r"TTT-MMR-Geo-held-back .* adaptation.held_back"):
        BenchmarkConfig(dataset="d", encoders=("a",), methods=methods)
