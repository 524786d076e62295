"""A task's samples as a run wants them: which modalities, normalised how, in which batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from mmearth.benchmark.encoder import Batch, Encoder, as_wanted
from mmearth.benchmark.losses import RAW, TargetScale
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.layer import Layer
from mmearth.catalog.statistics import SUBSETS
from mmearth.catalog.task import Task
from mmearth.loaders.dataset import Dataset
from mmearth.loaders.inputs import Normalisation
from mmearth.loaders.loader import Loader
from mmearth.loaders.selection import Selection

SUBSET_OF = {100: SUBSETS[0], 50: SUBSETS[1], 5: SUBSETS[2]}
"""Percent of the train split → the subset whose statistics are used."""
TEST_SPLITS = ("random_test", "geographic_test")
"""What results are about."""


def splits_of(dataset: Dataset, task: str) -> set[str]:
    """Return the splits that a task has samples in."""
    found: list[str] = dataset.sql(f'SELECT DISTINCT split FROM "{task}"')["split"].to_pylist()
    return set(found)


@dataclass(frozen=True)
class TaskData:
    """One task and one fraction of its train split."""

    dataset: Dataset
    """Where the samples are."""
    task: Task
    """Of the dataset."""
    fraction: int
    """Percent of the train split."""
    trained_on: Mapping[str, Any] | None = None
    """`statistics/<task>.json` of another dataset, whose train split it was; None: its own."""

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """All modalities of the dataset, by name, in its order."""
        return self.dataset.catalogue.layers

    @cached_property
    def tests(self) -> tuple[str, ...]:
        """The test splits that have samples."""
        found = splits_of(self.dataset, self.task.name)
        return tuple(split for split in TEST_SPLITS if split in found)

    @cached_property
    def statistics(self) -> Normalisation:
        """The z-scores of the train subset in use, of all modalities."""
        subset = SUBSET_OF[self.fraction]
        if self.trained_on is None:
            return self.dataset.normalisation(self.task.name, subset)
        return Normalisation.from_statistics(self.trained_on, subset, self.layers.values())

    @cached_property
    def target_scale(self) -> TargetScale:
        """How a regression's target is standardised; RAW for labels and classes."""
        if self.task.kind != "regression":
            return RAW
        statistics = self.trained_on or self.dataset.statistics(self.task.name)
        bands = statistics[SUBSET_OF[self.fraction]]["target"]
        found = [bands.get(name, {}) for name in self.task.outputs]
        if any(numbers.get("mean") is None for numbers in found):
            raise ConfigError(
                f"{self.task.name}: {self.fraction} % of the train split hold no target; choose "
                + ("a larger fraction" if self.fraction < 100 else "a task that has labels there")
            )
        means, deviations = ([numbers[each] for numbers in found] for each in ("mean", "std"))
        return TargetScale(tuple(means), tuple(std or 1.0 for std in deviations))

    def select(self, split: str, modalities: tuple[str, ...]) -> Selection:
        """Return a split; of train only the fraction."""
        fraction = self.fraction if split == "train" else 100
        return self.dataset.select(self.task.name, split, fraction, modalities)

    def of_targets(self, split: str) -> Loader:
        """Return batches for their targets, with the modality that is read fastest."""
        least = min(self.layers.values(), key=lambda layer: (layer.is_pixel, layer.nbytes))
        return self.select(split, (least.name,)).loader(64, "sequential")

    def for_encoder(
        self, split: str, encoder: Encoder, batch_size: int, order: str, seed: int
    ) -> Loader:
        """Return batches of what an encoder wants and nothing else."""
        chosen = self.select(split, tuple(encoder.inputs))
        return _loader(chosen, batch_size, order, seed, encoder.normalisation)

    def for_reconstruction(self, split: str, batch_size: int, order: str, seed: int) -> Loader:
        """Return batches of all modalities, normalised with the train statistics."""
        chosen = self.select(split, tuple(self.layers))
        return _loader(chosen, batch_size, order, seed, self.statistics)

    def fed(self, batch: Batch, encoder: Encoder) -> Batch:
        """Return a batch of `for_reconstruction` as an encoder wants it."""
        return as_wanted(batch, self.statistics, encoder, self.layers)


def _loader(
    chosen: Selection, batch_size: int, order: str, seed: int, normalise: Normalisation
) -> Loader:
    pins = torch.cuda.is_available()  # so that copies to the GPU run beside its work
    return chosen.loader(batch_size, order, seed, normalise=normalise, pin_memory=pins)
