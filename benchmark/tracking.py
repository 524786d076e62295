"""Trackers: where the curves of a run go while it is made; through Fabric's loggers, none needed.

Results never come from here: `results.parquet` has them. Trackers decide no number, so they are no
part of a run's hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import Logger

from mmearth.benchmark.intervals import Score
from mmearth.benchmark.matrix import Cell
from mmearth.catalog.errors import ConfigError

PROJECT = "mmearth"
"""What trackers that keep several projects file the runs under."""


def _local(kind: str) -> Callable[[Path, Cell], Logger]:
    def made(folder: Path, cell: Cell) -> Logger:
        logger: Logger = _class("lightning_fabric.loggers", kind)(folder, "tracked")
        return logger

    return made


def _wandb(folder: Path, cell: Cell) -> Logger:
    kind = _class("lightning.pytorch.loggers", "WandbLogger")
    # The run's id is its folder's name, so that what was killed goes on in the same curve.
    logger: Logger = kind(
        name=str(cell), save_dir=folder, project=PROJECT, id=folder.name, resume="allow"
    )
    return logger


def _mlflow(folder: Path, cell: Cell) -> Logger:
    kind = _class("lightning.pytorch.loggers", "MLFlowLogger")
    logger: Logger = kind(experiment_name=PROJECT, run_name=str(cell), tags={"run": folder.name})
    return logger


TRACKERS: dict[str, Callable[[Path, Cell], Logger]] = {
    "csv": _local("CSVLogger"),
    "tensorboard": _local("TensorBoardLogger"),
    "wandb": _wandb,
    "mlflow": _mlflow,
}
"""By name: (folder of the run, run) → a logger. The first two write to `tracked/version_N` in
the folder, N counting how often it was begun; the others read their own variables and key stores.
"""


def trackers(names: Iterable[str], folder: Path, cell: Cell) -> list[Logger]:
    """Return a run's loggers, told its settings.

    Args:
        names: Keys of TRACKERS.
        folder: Of the run.
        cell: The run.

    Raises:
        ConfigError: A package is missing.
    """
    made = [_made(name, folder, cell) for name in names]
    settings = {name: getattr(cell, name) for name in ("task", "encoder", "method", "fraction")}
    for logger in made:
        with suppress(NotImplementedError):  # of the CSV logger
            logger.log_hyperparams(settings | {"seed": cell.seed})
    return made


def track(loggers: Sequence[Logger], numbers: Mapping[str, float], step: int) -> None:
    """Send numbers of one step to all loggers, and have them written."""
    for logger in loggers:
        logger.log_metrics(dict(numbers), step)
        logger.save()


def finish(loggers: Sequence[Logger], scores: Mapping[str, Sequence[Score]], step: int) -> None:
    """Send a run's scores, by test split, and close its curves."""
    named = {f"{split}/{score.metric}": score.value for split, of in scores.items() for score in of}
    track(loggers, named, step)
    for logger in loggers:
        logger.finalize("success")


def _made(name: str, folder: Path, cell: Cell) -> Logger:
    try:
        return TRACKERS[name](folder, cell)
    except ImportError as exc:  # ModuleNotFoundError where the tracker's own package is missing
        raise ConfigError(
            f"the tracker {name} cannot be made ({str(exc).splitlines()[0]}); install its package, "
            "or leave it out of `trackers`"
        ) from exc


def _class(module: str, name: str) -> Any:
    return getattr(import_module(module), name)
