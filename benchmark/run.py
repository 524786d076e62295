"""`mmearth benchmark run`: makes the runs that are missing, one after another, and scores them."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger

import mmearth
from mmearth.benchmark import baselines
from mmearth.benchmark.canaries import BASELINE, canaries
from mmearth.benchmark.check import plain_statistics
from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.encoders import build_encoder, check_encoder
from mmearth.benchmark.evaluation import all_scores, evaluate
from mmearth.benchmark.job import Job, Outcome
from mmearth.benchmark.kept import Kept, keep
from mmearth.benchmark.matrix import Cell, cells, setting, shard_of
from mmearth.benchmark.methods import method
from mmearth.benchmark.predictions import Predictions, write_predictions
from mmearth.benchmark.results import (
    Circumstances,
    assemble,
    finished,
    keep_catalogue,
    missing,
    rows_of,
    run_folder,
    write_run,
)
from mmearth.benchmark.task_data import TEST_SPLITS, TaskData, splits_of
from mmearth.benchmark.traces import predictions_path
from mmearth.benchmark.tracking import finish
from mmearth.benchmark.training import LAST
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, DataError
from mmearth.catalog.wording import one_of
from mmearth.loaders.dataset import Dataset, open_dataset

Shard = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """How far a matrix has come."""

    done: int
    """Runs that are made; 0 at the beginning."""
    total: int
    """Runs that were missing."""
    cell: Cell | None = None
    """The run that was made last."""
    seconds: float = 0.0
    """What it took."""
    left_s: float = 0.0
    """What the rest will take, by what runs of the same methods took."""
    steps: int | None = None
    """Adaptation steps K that validation chose; None without adaptation."""


Progress = Callable[[Step], None]


def plan(config: BenchmarkConfig, out: Path, shard: Shard = (1, 1)) -> list[Cell]:
    """Return the runs of a shard that have no results yet.

    Raises:
        ConfigError: The dataset is not there or lacks a task, a modality to hold back or a split,
            or an encoder or a method cannot be made.
        FormatError: A results file is damaged.
    """
    for name in config.encoders:
        check_encoder(name, config.weights)
    for name in config.methods:
        method(name)
    dataset, config = _open(config)
    todo = shard_of(cells(config), *shard)
    settings = {setting(config, dataset.hash, cell): cell for cell in todo}
    return [settings[each] for each in missing(settings, finished(out))]


def run(config: BenchmarkConfig, out: Path, progress: Progress, shard: Shard = (1, 1)) -> list[str]:
    """Make what is missing of a matrix; return the sentences of canaries that do not stop it.

    A run is done when its results are written, last and in one piece: what was killed goes on in
    its epoch when the same command is run again, and ends in the same numbers.

    Args:
        config: The matrix.
        out: Folder of `results.parquet` and `runs/`; made when it is not there.
        progress: Told how many runs are missing, then after each run.
        shard: (number from 1, of how many): which part of the runs is made here.

    Raises:
        ConfigError: The dataset or an encoder is not there, they do not fit, `out` holds runs of
            other tasks and modalities, or the ranks do not divide a batch.
        DataError: A canary says that the numbers are surely wrong.
        StorageError: The disk is full.
    """
    fabric = fabric_of(config)
    _check_ranks(config, fabric.world_size)
    dataset, config = _open(config)
    todo = plan(config, out, shard)
    _try_encoders(config, todo, dataset.catalogue)
    keep_catalogue(out, dataset.catalogue)
    fabric.barrier()
    if fabric.is_global_zero:
        progress(Step(0, len(todo)))
    spent: dict[str, list[float]] = {}
    for i, cell in enumerate(todo):
        begin = time.perf_counter()
        steps = _one(config, cell, dataset, fabric, out)
        if fabric.is_global_zero:
            table = assemble(out)
            for finding in canaries(table, dataset.catalogue.tasks):
                if finding.stops:
                    raise DataError(finding.sentence)
        fabric.barrier()
        seconds = time.perf_counter() - begin
        spent.setdefault(cell.method, []).append(seconds)
        if fabric.is_global_zero:
            progress(Step(i + 1, len(todo), cell, seconds, _left(todo[i + 1 :], spent), steps))
    found = canaries(assemble(out), dataset.catalogue.tasks)
    return [finding.sentence for finding in found if not finding.stops]


def _check_ranks(config: BenchmarkConfig, n_ranks: int) -> None:
    """Refuse a batch that ranks cannot share alike: the numbers would depend on their number."""
    size = config.training.batch_size
    if size % n_ranks:
        fits = [n for n in range(1, size + 1) if size % n == 0]
        raise ConfigError(
            f"training.batch_size {size} cannot be dealt to {n_ranks} ranks alike; start "
            f"{one_of(fits)} of them, or choose a multiple of {n_ranks}, which is another run"
        )


def _left(todo: Sequence[Cell], spent: dict[str, list[float]]) -> float:
    """Return about how many seconds the rest takes; the slowest method stands for unknown ones."""
    means = {method: fmean(seconds) for method, seconds in spent.items()}
    return sum(means.get(cell.method, max(means.values())) for cell in todo)


def _open(config: BenchmarkConfig) -> tuple[Dataset, BenchmarkConfig]:
    """Return the dataset, and the configuration with the tasks that are meant."""
    dataset = open_dataset(config.dataset)
    config = config.for_dataset(dataset.catalogue)
    for task in config.tasks:
        splits = splits_of(dataset, task)
        lacking = [split for split in ("train", "val") if split not in splits]
        if lacking or not set(TEST_SPLITS) & splits:
            raise ConfigError(
                f"{config.dataset}: {task} has no sample in {(lacking or TEST_SPLITS)[0]}; "
                f"expected some in train, val and {' or '.join(TEST_SPLITS)}: leave it out of "
                "`tasks`, or build the dataset with another `split`"
            )
    return dataset, config


def _try_encoders(config: BenchmarkConfig, todo: Sequence[Cell], catalogue: Catalogue) -> None:
    """Refuse encoders that do not fit the dataset, before any of them runs for hours."""
    for name in dict.fromkeys(cell.encoder for cell in todo if cell.encoder != BASELINE):
        build_encoder(name, plain_statistics(catalogue), catalogue, "none", config.recipe)


def fabric_of(config: BenchmarkConfig) -> Fabric:
    """Return Fabric for this process, and for the others if `torchrun` started some."""
    # As published: bit for bit the same, where an operation can be (MMEarth-Bench §5.4).
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_float32_matmul_precision("high")  # TF32, as published
    fabric = Fabric(
        accelerator="auto",
        strategy="ddp" if world > 1 else "auto",
        devices=local if world > 1 else 1,
        num_nodes=max(1, world // local),
        precision=config.precision,
    )
    fabric.launch()
    return fabric


def _one(
    config: BenchmarkConfig, cell: Cell, dataset: Dataset, fabric: Fabric, out: Path
) -> int | None:
    """Make one run and write all that it leaves, its results last; return its K."""
    named = setting(config, dataset.hash, cell)
    folder = run_folder(out, named)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    loggers: list[Logger] = []
    if cell.encoder == BASELINE:
        outcome = _baseline(cell, dataset, fabric)
    else:
        start = run_folder(out, setting(config, dataset.hash, cell.jt))
        data = TaskData(dataset, dataset.catalogue.task(cell.task), cell.fraction)
        job = Job(config, cell, data, fabric, folder, start)
        if fabric.is_global_zero:
            keep(folder, Kept(config, cell, dataset.statistics(cell.task), start.name))
        loggers, outcome = job.loggers, method(cell.method)(job)
    if not fabric.is_global_zero:
        return outcome.steps
    for split, predictions in outcome.predictions.items():
        write_predictions(predictions, predictions_path(folder, split))
    scores = {split: all_scores(found) for split, found in outcome.predictions.items()}
    finish(loggers, scores, config.training.epochs)
    circumstances = Circumstances(
        dataset.hash,
        mmearth.__version__,
        _device(fabric),
        time.perf_counter() - begin,
        _peak_memory(),
        outcome.steps,
        outcome.lr,
    )
    write_run(out, named, rows_of(named, scores, circumstances))
    with suppress(FileNotFoundError):
        (folder / LAST).unlink()
    return outcome.steps


def _baseline(cell: Cell, dataset: Dataset, fabric: Fabric) -> Outcome:
    """Fit what needs no encoder, and put it under each labelled pixel or tile."""
    data = TaskData(dataset, dataset.catalogue.task(cell.task), cell.fraction)
    splits = ("train", "val", *data.tests) if baselines.has_maps(data.task) else data.tests
    truth = {split: _truth(data, split, fabric) for split in splits}
    manifest = dataset.sql(f'SELECT * FROM "{cell.task}"')
    known = baselines.places(manifest, data.task, data.layers, cell.fraction, truth.values())
    asked = {split: truth[split] for split in data.tests}
    return Outcome(baselines.predict(cell.method, known, asked, cell.seed))


def _truth(data: TaskData, split: str, fabric: Fabric) -> Predictions:
    """Return a split's targets, as predictions of zero."""
    shape = data.task.shape if data.task.is_pixel else (len(data.task.outputs),)
    batches = data.of_targets(split)
    return evaluate(
        fabric, data.task, batches, lambda batch: torch.zeros(len(batch["key"]), *shape)
    )


def _device(fabric: Fabric) -> str:
    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    return fabric.device.type


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
