"""A task's samples as a run wants them: which modalities, normalised how, in which batches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from mmearth.benchmark.encoder import Batch, Encoder, as_wanted
from mmearth.benchmark.losses import RAW, TargetScale
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.statistics import SUBSETS
from mmearth.catalog.tasks import TASKS
from mmearth.loaders.dataset import Dataset
from mmearth.loaders.inputs import Normalisation
from mmearth.loaders.loader import Loader
from mmearth.loaders.selection import Selection

SUBSET_OF = {100: SUBSETS[0], 50: SUBSETS[1], 5: SUBSETS[2]}
"""Percent of the train split → the subset whose statistics are used."""
TEST_SPLITS = ("random_test", "geographic_test")
"""What results are about."""


@dataclass(frozen=True)
class TaskData:
    """One task and one fraction of its train split."""

    dataset: Dataset
    """Where the samples are."""
    task: str
    """A key of TASKS."""
    fraction: int
    """Percent of the train split."""

    @cached_property
    def statistics(self) -> Normalisation:
        """The z-scores of the train subset in use, of all modalities."""
        return self.dataset.normalisation(self.task, SUBSET_OF[self.fraction])

    @cached_property
    def target_scale(self) -> TargetScale:
        """How a regression's target is standardised; RAW for labels."""
        if TASKS[self.task].kind == "multilabel":
            return RAW
        bands = self.dataset.statistics(self.task)[SUBSET_OF[self.fraction]]["target"]
        numbers = next(iter(bands.values()), None)
        if numbers is None or numbers["mean"] is None:
            raise ConfigError(
                f"{self.task}: {self.fraction} % of the train split hold no target; choose a "
                "larger fraction"
            )
        return TargetScale(numbers["mean"], numbers["std"] or 1.0)

    def select(self, split: str, modalities: tuple[str, ...]) -> Selection:
        """Return a split; of train only the fraction."""
        fraction = self.fraction if split == "train" else 100
        return self.dataset.select(self.task, split, fraction, modalities)

    def for_encoder(
        self, split: str, encoder: Encoder, batch_size: int, order: str, seed: int
    ) -> Loader:
        """Return batches of what an encoder wants and nothing else."""
        chosen = self.select(split, tuple(encoder.inputs))
        return _loader(chosen, batch_size, order, seed, encoder.normalisation)

    def for_reconstruction(self, split: str, batch_size: int, order: str, seed: int) -> Loader:
        """Return batches of all modalities, normalised with the train statistics."""
        chosen = self.select(split, tuple(MODALITIES))
        return _loader(chosen, batch_size, order, seed, self.statistics)

    def fed(self, batch: Batch, encoder: Encoder) -> Batch:
        """Return a batch of `for_reconstruction` as an encoder wants it."""
        return as_wanted(batch, self.statistics, encoder)


def _loader(
    chosen: Selection, batch_size: int, order: str, seed: int, normalise: Normalisation
) -> Loader:
    pins = torch.cuda.is_available()  # so that copies to the GPU run beside its work
    return chosen.loader(batch_size, order, seed, normalise=normalise, pin_memory=pins)
