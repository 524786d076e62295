"""Job: one run of the matrix as a method sees it; Outcome: what the method gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger

from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.encoder import Encoder
from mmearth.benchmark.encoders import build_encoder
from mmearth.benchmark.losses import RAW, TargetScale
from mmearth.benchmark.matrix import Cell
from mmearth.benchmark.model import Model
from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.task_data import TaskData
from mmearth.benchmark.tracking import trackers
from mmearth.catalog.task import Task


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found."""

    predictions: dict[str, Predictions]
    """By test split."""
    steps: int | None = None
    """Adaptation steps of all test batches; None where nothing is adapted, or they differ."""
    lr: float | None = None
    """Learning rate of those steps; None where nothing is adapted."""


@dataclass(frozen=True)
class Job:
    """One run."""

    config: BenchmarkConfig
    """Of the matrix."""
    cell: Cell
    """Which run."""
    data: TaskData
    """The task's samples."""
    fabric: Fabric
    """Device, precision and ranks."""
    folder: Path
    """Of the run: weights, traces, predictions."""
    start: Path = field(default=Path())
    """For a method that adapts: the folder of the JT run that it starts from."""

    @property
    def task(self) -> Task:
        """What is to be predicted."""
        return self.data.task

    @property
    def batch_size(self) -> int:
        """Samples of a step on one rank."""
        return self.config.training.batch_size // self.fabric.world_size

    @property
    def scale(self) -> TargetScale:
        """How the target is standardised; as published it is not."""
        return RAW if self.config.recipe == "mmearth-bench-2026" else self.data.target_scale

    @cached_property
    def loggers(self) -> list[Logger]:
        """Where the run's curves go; nowhere from ranks but the first."""
        if not self.fabric.is_global_zero:
            return []
        return trackers(self.config.trackers, self.folder, self.cell)

    @cached_property
    def encoder(self) -> Encoder:
        """A new encoder, the same for equal seeds."""
        torch.manual_seed(self.cell.seed)
        data, config = self.data, self.config
        catalogue = data.dataset.catalogue
        encoder = build_encoder(
            self.cell.encoder, data.statistics, catalogue, config.weights, config.recipe
        )
        return encoder.to(self.fabric.device)

    @cached_property
    def _models(self) -> dict[bool, Model]:
        return {}

    def model(self, reconstructs: bool) -> Model:
        """Return the run's model: made once, the same for equal seeds."""
        if reconstructs not in self._models:
            encoder = self.encoder
            torch.manual_seed(self.cell.seed + 1)
            layers = tuple(self.data.layers.values()) if reconstructs else ()
            self._models[reconstructs] = Model(encoder, self.task, layers).to(self.fabric.device)
        return self._models[reconstructs]
