"""`mmearth benchmark predict`: from the weights of runs to predictions for any dataset.

A run scores test splits; this is for places without labels. Each seed's weights predict every
chosen sample, adapted to its batch or not; a batch that is finished is kept on disk, so that what
was interrupted goes on there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmearth.benchmark.adapted import ADAPTED, choice_of, mode_of
from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.encoder import Batch
from mmearth.benchmark.job import Job
from mmearth.benchmark.kept import read_kept
from mmearth.benchmark.losses import auxiliary_loss, losses_of_batch
from mmearth.benchmark.matrix import Cell
from mmearth.benchmark.methods.adaptation import ORDERS, ttt_of
from mmearth.benchmark.methods.choices import answering
from mmearth.benchmark.model import Model, in_unit
from mmearth.benchmark.results import RUNS, config_hash
from mmearth.benchmark.run import fabric_of
from mmearth.benchmark.task_data import TaskData
from mmearth.benchmark.training import load_best
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, storage_errors
from mmearth.catalog.files import atomic_path
from mmearth.catalog.wording import one_of
from mmearth.loaders.dataset import Dataset
from mmearth.loaders.loader import Loader

_PARTS = ".parts"
Progress = Callable[[int, int], None]
"""(batches done, of how many)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which runs predict, and for what."""

    runs: Path
    """Folder of a matrix: `results.parquet`, `catalogue.json` and `runs/`."""
    settings: tuple[Mapping[str, Any], ...]
    """A row of `results.parquet` for each seed: task, encoder, method, seed, steps, config_hash."""
    catalogue: Catalogue
    """Of the dataset that they were trained on."""
    dataset: Dataset
    """What is predicted for."""
    places: str
    """The task of `dataset` whose samples they are; its labels are not looked at."""
    where: str | None
    """SQL on its manifest; None for all."""

    @property
    def seeds(self) -> list[int]:
        """Of the runs, in their order."""
        return [int(row["seed"]) for row in self.settings]

    @property
    def part(self) -> str:
        """Name of what is kept while it is made: another question has another."""
        hashes = [str(row["config_hash"]) for row in self.settings]
        return config_hash(
            {"runs": hashes, "of": self.dataset.hash, "in": self.places, "where": self.where}
        )


@dataclass(frozen=True, slots=True)
class Predicted:
    """What one seed's weights said of some samples."""

    key: NDArray[np.str_]
    """(n,) of the samples."""
    values: NDArray[np.float32]
    """(n, outputs), or (n, row, column): as `in_unit` says."""
    before: NDArray[np.float64]
    """(n,) mean reconstruction loss of the batch as trained; NaN without adaptation."""
    after: NDArray[np.float64]
    """(n,) the same after adaptation."""
    steps: NDArray[np.int32]
    """(n,) adaptation steps of the batch; 0 without adaptation."""


def choose_runs(
    table: Sequence[Mapping[str, Any]], task: str | None, encoder: str | None, method: str
) -> tuple[Mapping[str, Any], ...]:
    """Return the runs that are meant, one a seed, by seed.

    Args:
        table: Rows of `results.parquet`.
        task: Whose; None where the results have one.
        encoder: Likewise.
        method: One of PREDICTING.

    Raises:
        ConfigError: There are none, or several tasks, encoders or configurations.
    """
    found = [row for row in table if row["method"] == method and row["fraction"] == 100]
    for name, wanted in (("task", task), ("encoder", encoder)):
        there = sorted({str(row[name]) for row in found})
        if wanted is None and len(there) > 1:
            raise ConfigError(f"the runs of {method} have several; say --{name} {one_of(there)}")
        if wanted is not None and wanted not in there:
            raise ConfigError(
                f"found no run of {method} with the {name} {wanted!r}; expected "
                f"{one_of(there) if there else 'some: run the benchmark with that method first'}"
            )
        found = [row for row in found if wanted in (None, row[name])]
    if not found:
        raise ConfigError(f"found no run of {method}; run the benchmark with that method first")
    by_seed = {(row["seed"], row["config_hash"]): row for row in found}
    if len({seed for seed, _ in by_seed}) < len(by_seed):
        raise ConfigError(
            "the results hold runs of one seed under several configurations; keep each in a "
            "folder of its own"
        )
    return tuple(by_seed[key] for key in sorted(by_seed))


def check_alike(asked: Asked) -> None:
    """Refuse a dataset whose arrays mean something else than those that were trained on.

    Raises:
        ConfigError: It has another grid or other layers.
    """
    ours, theirs = asked.catalogue, asked.dataset.catalogue
    if ours.grid != theirs.grid:
        raise ConfigError(
            f"{asked.dataset.root.url} has tiles of {theirs.grid.pixels} pixels of "
            f"{theirs.grid.resolution_m} m, the runs were trained on {ours.grid.pixels} of "
            f"{ours.grid.resolution_m} m; build it with the same grid"
        )
    if list(ours.layers.values()) != list(theirs.layers.values()):
        unlike = [name for name in ours.layers if theirs.layers.get(name) != ours.layers[name]]
        unlike += [name for name in theirs.layers if name not in ours.layers]
        raise ConfigError(
            f"{asked.dataset.root.url} and the dataset that the runs were trained on differ in "
            f"{unlike[0] if unlike else 'the order of their layers'}; build it with the same layers"
        )


def predict_all(asked: Asked, out: Path, progress: Progress) -> list[Made]:
    """Make what is missing of each seed's predictions.

    Raises:
        ConfigError: The datasets are unlike.
        FormatError: A run's folder is damaged.
        StorageError: The disk is full.
    """
    check_alike(asked)
    folder = out / _PARTS / asked.part
    for other in (out / _PARTS).glob("*"):
        if other != folder:
            shutil.rmtree(other)
    made, done = [], 0
    for row in asked.settings:  # one model at a time is in memory
        seed = _Seed.of(asked, row, folder)
        for _ in seed.make():
            done += 1
            progress(done, len(seed.loader) * len(asked.settings))
        made.append(Made(seed.folder))
    return made


def drop_parts(out: Path) -> None:
    """Delete what was kept to go on from."""
    shutil.rmtree(out / _PARTS, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Made:
    """One seed's predictions on disk, batch by batch."""

    folder: Path
    """A file a batch."""

    def batches(self) -> Iterator[Predicted]:
        """Yield them in the order in which they were made."""
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path) as found:
                yield Predicted(**{name: found[name] for name in Predicted.__slots__})

    def all(self, *, but_values: bool = False) -> Predicted:
        """Return each sample once, sorted by key: a published order repeats some.

        Args:
            but_values: Leave the values out, which may not fit into memory.
        """
        parts = [
            replace(part, values=part.values[:0] if but_values else part.values)
            for part in self.batches()
        ]
        columns = {n: np.concatenate([getattr(p, n) for p in parts]) for n in Predicted.__slots__}
        _, first = np.unique(columns["key"], return_index=True)
        return Predicted(**{n: each[first] if len(each) else each for n, each in columns.items()})


@dataclass(frozen=True)
class _Seed:
    """One run's weights over the chosen samples."""

    job: Job
    model: Model
    lr: float
    steps: int
    loader: Loader
    folder: Path

    @classmethod
    def of(cls, asked: Asked, row: Mapping[str, Any], folder: Path) -> _Seed:
        kept = read_kept(asked.runs / RUNS / str(row["config_hash"]))
        config, cell = kept.config, kept.cell
        task = asked.catalogue.task(cell.task)
        data = TaskData(asked.dataset, task, cell.fraction, kept.statistics)
        place = asked.runs / RUNS / kept.start
        job = Job(config, cell, data, fabric_of(config), place, place)
        model = job.model(reconstructs=True)
        load_best(model, place)
        loader = _loader(asked, config, cell, data)
        lr, steps = float(row["lr"] or 0), int(row["steps"] or 0)
        if cell.method in ADAPTED and choice_of(cell.method) != "validation":
            steps = config.adaptation.max_steps
        return cls(job, model, lr, steps, loader, folder / str(row["config_hash"]))

    def make(self) -> Iterator[None]:
        """Predict every batch that is not on disk yet, and yield after each."""
        for number, batch in enumerate(self.loader):
            path = self.folder / f"{number:06d}.npz"
            if not path.exists():
                _save(path, self._predicted(self.job.fabric.to_device(batch)))
            yield

    def _predicted(self, batch: Batch) -> Predicted:
        real = (batch["weight"] > 0).cpu().numpy()
        model, task, scale = self.model, self.job.task, self.job.scale
        if self.job.cell.method in ADAPTED:
            ttt = ttt_of(self.job, model, self.lr, self.steps)
            adapted = answering(self.job, ttt.adapt(batch, model.heads), batch["weight"] > 0)
            answer, losses = adapted.prediction[0], adapted.watched
            before, after, steps = losses[0], losses[adapted.chosen], adapted.chosen
        else:
            with torch.no_grad():
                answer, outputs = model(self.job.data.fed(batch, model.encoder))
                before = after = auxiliary_loss(losses_of_batch(outputs, batch))
            steps = 0
        values = in_unit(task, answer, scale).float().cpu().numpy()[real]
        n = len(values)
        return Predicted(
            np.asarray(batch["key"], np.str_)[real],
            values,
            np.full(n, float(before)),
            np.full(n, float(after)),
            np.full(n, steps, np.int32),
        )


def _loader(asked: Asked, config: BenchmarkConfig, cell: Cell, data: TaskData) -> Loader:
    layers = tuple(asked.catalogue.layers)
    chosen = asked.dataset.select(asked.places, None, 100, layers, asked.where)
    size, order = config.training.batch_size, "sequential"
    if cell.method in ADAPTED:
        size, order = config.adaptation.batch_size, ORDERS[mode_of(cell.method)][config.recipe]
    return chosen.loader(size, order, cell.seed, normalise=data.statistics)


def _save(path: Path, predicted: Predicted) -> None:
    arrays = {name: getattr(predicted, name) for name in Predicted.__slots__}
    with (
        storage_errors(f"write {path}"),
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
    ):
        np.savez(file, **arrays)
