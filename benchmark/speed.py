"""How fast this machine trains and adapts, and how long its steps wait for batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path

import torch

from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.encoder import Batch
from mmearth.benchmark.job import Job
from mmearth.benchmark.matrix import Cell
from mmearth.benchmark.methods.adaptation import ttt_of
from mmearth.benchmark.methods.supervised import batches_of, loss_of
from mmearth.benchmark.run import fabric_of
from mmearth.benchmark.task_data import TaskData, splits_of
from mmearth.catalog.errors import ConfigError
from mmearth.loaders.dataset import Dataset
from mmearth.loaders.loader import Loader

HEADER = ["method", "steps/s", "tiles/s", "waits for batches", "peak memory"]
"""Of `table_of`."""
Step = Callable[[Batch], object]
"""Takes a batch that lies on the device."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured of one method."""

    method: str
    """FT, JT, or TTT-MMR and its way to the gradients: one step of adaptation to one batch."""
    batch_size: int
    """Samples of a step; where train has fewer, those that it has."""
    steps_s: float
    """Steps a second."""
    tiles_s: float
    """Samples a second."""
    waits: float
    """Share of the time that waits for a batch, 0 to 1."""
    memory_bytes: int | None
    """Peak memory of the device; None on a CPU, where it is the process's."""


def speeds(dataset: Dataset, config: BenchmarkConfig, seconds: float) -> Iterator[Speed]:
    """Measure each method with the first task and encoder of a configuration.

    Args:
        dataset: Whose train split is read.
        config: Its `training.batch_size` is that of all rows.
        seconds: How long each is measured, after a step that does not count.

    Raises:
        ConfigError: The dataset has no such task, the task has no train split or no target in it,
            or the encoder does not fit the dataset.
    """
    config = config.for_dataset(dataset.catalogue)
    if "train" not in splits_of(dataset, config.tasks[0]):
        raise ConfigError(
            f"{config.dataset}: {config.tasks[0]} has no sample in train, which is what is read; "
            "choose another task"
        )
    fabric = fabric_of(config)
    cell = Cell(config.tasks[0], config.encoders[0], "JT", 100, config.seeds[0])
    data = TaskData(dataset, dataset.catalogue.task(cell.task), cell.fraction)
    job = Job(config, cell, data, fabric, Path())
    for method, make in _METHODS.items():
        batches, step = make(replace(job))  # a new model each
        yield _measured(job, method, batches, step, seconds)


def table_of(found: Iterable[Speed]) -> list[list[str]]:
    """Return a row of text a method."""
    return [
        [
            each.method,
            f"{each.steps_s:.2f}",
            f"{each.tiles_s:.1f}",
            f"{each.waits:.1%}",
            f"{each.memory_bytes / 2**30:.2f} GiB" if each.memory_bytes else "",
        ]
        for each in found
    ]


def _training(job: Job, reconstructs: bool) -> tuple[Loader, Step]:
    model, loss = job.model(reconstructs), loss_of(job, job.model(reconstructs))
    wrapped, optimiser = job.fabric.setup(model, torch.optim.AdamW(model.parameters(), 1e-4))

    def step(batch: Batch) -> None:
        job.fabric.backward(loss(wrapped, batch))
        optimiser.step()
        optimiser.zero_grad()

    return batches_of(job, "train", "shuffled", reconstructs), step


def _adapting(job: Job, products: str) -> tuple[Loader, Step]:
    how = job.config.adaptation.model_copy(update={"products": products})
    config = job.config.model_copy(update={"adaptation": how})
    job = replace(job, config=config, cell=replace(job.cell, method="TTT-MMR"))
    model = job.model(reconstructs=True)
    ttt = ttt_of(job, model, 1e-2, 1)
    loader = job.data.for_reconstruction("train", job.batch_size, "shuffled", job.cell.seed)
    return loader, lambda batch: ttt.adapt(batch, model.heads)


_METHODS: dict[str, Callable[[Job], tuple[Loader, Step]]] = {
    "FT": lambda job: _training(job, reconstructs=False),
    "JT": lambda job: _training(job, reconstructs=True),
    "TTT-MMR, stream": lambda job: _adapting(job, "stream"),
    "TTT-MMR, batched": lambda job: _adapting(job, "batched"),
}


def _measured(job: Job, method: str, batches: Loader, step: Step, seconds: float) -> Speed:
    on_gpu = job.fabric.device.type == "cuda"
    step(job.fabric.to_device(next(iter(batches))))
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    sizes: list[int] = []
    begin, waited = time.perf_counter(), 0.0
    stream = chain.from_iterable(repeat(batches))  # which goes on to the next epoch by itself
    while (asked := time.perf_counter()) - begin < seconds or not sizes:
        batch = next(stream)
        waited += time.perf_counter() - asked
        step(job.fabric.to_device(batch))
        if on_gpu:
            torch.cuda.synchronize()
        sizes.append(len(batch["key"]))
    took = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    return Speed(method, max(sizes), len(sizes) / took, sum(sizes) / took, waited / took, peak)
