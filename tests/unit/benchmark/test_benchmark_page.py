"""docs/benchmark.md names every key, and a wrong value is told before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmearth.benchmark.config import BenchmarkConfig, load_config
from mmearth.catalog.errors import ConfigError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "benchmark.md"


@pytest.mark.parametrize("key", BenchmarkConfig.model_fields)
def test_every_key_is_on_the_page(key: str) -> None:
    assert f"`{key}`" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "methods: [lp]",
            r"methods: 'lp' is no method .did you mean 'LP'\?., expected 'LP', 'FT', ",
        ),
        (
            "method: [LP]",
            "method: unknown key .did you mean 'methods'.*, allowed here: dataset, ta",
        ),
        ("seeds: []", "seeds: it is empty, expected one or more"),
        ("encoders: convnextv2_tiny", "encoders: found 'convnextv2_tiny', expected a list"),
        ("baselines: [trees]", "baselines.0: found 'trees', expected 'mean', 'neighbours' or 'bo"),
        ("weights: random", "weights: found 'random', expected 'none' or 'published'"),
        ("training: {epochs: 0}", "training.epochs: found 0, expected a number of at least 1"),
        ("training: {lr: .nan}", "training.lr: found nan, expected a finite number"),
        ("adaptation: {products: all}", "found 'all', expected 'auto', 'stream' or 'batched'"),
        ("adaptation: {parameters: last}", "expected all, norm or last:<layers> .found 'last'"),
        ("1: 2", "1: unknown key, allowed here: dataset, "),
    ],
)
def test_a_wrong_value_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"dataset: data/demo\n{text}\n")
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(path)
    assert "should" not in str(caught.value)  # as pydantic would begin
    assert "Tuple" not in str(caught.value)
