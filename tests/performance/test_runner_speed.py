"""Steps a second of fine-tuning, joint training and test-time training, and what waits for data.

On a GPU where there is one, else on the CPU; ConvNeXt V2-Atto fed with all modalities.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.job import Job
from mmearth.benchmark.losses import auxiliary_loss, losses_of_batch, task_loss
from mmearth.benchmark.matrix import Cell
from mmearth.benchmark.methods.ttt_mmr import TTTMMR
from mmearth.benchmark.task_data import TaskData
from mmearth.loaders.dataset import open_dataset
from mmearth.tests.make_tiny import make_sealed

ENCODER, TASK, N_TILES = "convnextv2_atto_multimodal", "soil_pH", 120
Step = Callable[[Any], object]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    place = make_sealed(tmp_path_factory.mktemp("tiny"), N_TILES)
    config = BenchmarkConfig(dataset=str(place), encoders=(ENCODER,))
    cell = Cell(TASK, ENCODER, "JT", 100, 41)
    fabric = Fabric(accelerator="auto", devices=1)
    return Job(config, cell, TaskData(open_dataset(str(place)), TASK, 100), fabric, Path())


def measured(job: Job, batches: Iterable[Any], step: Step) -> tuple[float, float]:
    """Return steps a second, and the share of the time that waits for a batch; two passes."""
    waited, n = 0.0, 0
    step(job.fabric.to_device(next(iter(batches))))
    begin = time.perf_counter()
    for _ in range(2):
        asked = time.perf_counter()
        for batch in batches:
            waited += time.perf_counter() - asked
            step(job.fabric.to_device(batch))
            if job.fabric.device.type == "cuda":
                torch.cuda.synchronize()
            n += 1
            asked = time.perf_counter()
    seconds = time.perf_counter() - begin
    return n / seconds, waited / seconds


def steps_of(job: Job, size: int) -> dict[str, tuple[Iterable[Any], Step]]:
    """Return the batches and the step of each method."""
    model = job.model(reconstructs=True)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4)
    seed = job.cell.seed

    def train(batch: Any, jointly: bool) -> None:
        features = model.encoder(job.data.fed(batch, model.encoder))
        mask = batch["mask"]["target"]
        loss = task_loss(TASK, model.head(features), batch["target"], mask, scale=job.scale)
        if jointly:
            assert model.reconstruction_head is not None
            outputs = model.reconstruction_head(features)
            loss = loss + auxiliary_loss(losses_of_batch(outputs, batch))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()

    ttt = TTTMMR(
        model.encoder,
        model.reconstruction_head,  # type: ignore[arg-type]
        losses_of_batch,
        steps=1,
        products="auto",
        inputs=lambda batch: job.data.fed(batch, model.encoder),
    )
    loader = job.data.for_reconstruction("train", size, "shuffled", seed)
    return {
        "FT": (loader, lambda batch: train(batch, False)),
        "JT": (loader, lambda batch: train(batch, True)),
        "TTT-MMR, one adaptation": (loader, lambda batch: ttt.adapt(batch, model.head)),
    }


@pytest.mark.performance
@pytest.mark.timeout(1200)
def test_steps_a_second(job: Job) -> None:
    on_gpu = job.fabric.device.type == "cuda"
    size = 64 if on_gpu else 8
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    sys.stdout.write(f"\n{ENCODER}, batches of {size}, {device}\n")
    for name, (batches, step) in steps_of(job, size).items():
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        rate, waits = measured(job, batches, step)
        peak = f", peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if on_gpu else ""
        sys.stdout.write(f"  {name}: {rate:.2f} steps/s, {100 * waits:.1f} % waits{peak}\n")
        assert waits < 0.25
