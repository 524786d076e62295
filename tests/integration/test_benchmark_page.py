"""docs/benchmark.md: its encoder is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.encoders import build_encoder
from mmearth.benchmark.task_data import TaskData
from mmearth.loaders.dataset import open_dataset

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmark.md"


def test_the_encoder_of_the_page_runs(small_dataset: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    file = tmp_path / "my_encoder.py"
    file.write_text(block)
    data = TaskData(open_dataset(small_dataset), "soil_pH", 100)
    encoder = build_encoder(f"{file}:Mine", data.statistics, "none", "default")
    batch = next(iter(data.for_encoder("train", encoder, 2, "sequential", 0)))
    n = len(batch["key"])
    assert encoder(batch).shape == (n, encoder.dim, *encoder.grid)
    assert tuple(batch["sentinel2"].shape) == (n, 3, 128, 128)


@pytest.mark.parametrize("key", BenchmarkConfig.model_fields)
def test_every_key_is_on_the_page(key: str) -> None:
    assert f"`{key}`" in PAGE.read_text(encoding="utf-8")
