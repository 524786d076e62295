"""docs/benchmark.md names every key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmearth.benchmark.config import BenchmarkConfig

PAGE = Path(__file__).resolve().parents[3] / "docs" / "benchmark.md"


@pytest.mark.parametrize("key", BenchmarkConfig.model_fields)
def test_every_key_is_on_the_page(key: str) -> None:
    assert f"`{key}`" in PAGE.read_text(encoding="utf-8")
