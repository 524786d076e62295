"""Steps a second of fine-tuning, joint training and test-time training, and what waits for data.

`mmearth benchmark speed` on a GPU where there is one, else on the CPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mmearth.benchmark.config import BenchmarkConfig, Training
from mmearth.benchmark.speed import speeds
from mmearth.loaders.dataset import open_dataset
from mmearth.tests.make_tiny import make_sealed

ENCODER, TASK, N_TILES = "convnextv2_atto_multimodal", "soil_pH", 120


@pytest.mark.performance
@pytest.mark.timeout(1200)
def test_steps_a_second(tmp_path: Path) -> None:
    place = str(make_sealed(tmp_path, N_TILES))
    size = 64 if torch.cuda.is_available() else 8
    config = BenchmarkConfig(
        dataset=place, tasks=(TASK,), encoders=(ENCODER,), training=Training(batch_size=size)
    )
    for each in speeds(open_dataset(place), config, seconds=20):
        sys.stdout.write(f"\n  {each}")
        assert each.waits < 0.25
