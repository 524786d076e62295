"""Training: a plain loop that keeps the best weights and goes on after a kill where it was."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from torch import Tensor, nn

from mmearth.benchmark.config import Training
from mmearth.benchmark.tracking import track
from mmearth.catalog.errors import FormatError, StorageError
from mmearth.catalog.files import atomic_path

_LOG = logging.getLogger(__name__)
BEST, LAST = "best.pt", "last.pt"
"""In a run's folder: the weights of the best epoch; all that it takes to go on."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What a method says of its training."""

    batches: Callable[[int], Iterable[Any]]
    """Epoch → the batches of this rank."""
    n_batches: int
    """How many an epoch has on each rank."""
    loss: Callable[[nn.Module, Any], Tensor]
    """(the module as Fabric wraps it, a batch on its device) → a scalar."""
    goodness: Callable[[], float]
    """The headline metric on the validation split, more is better."""
    seed: int
    """Of what layers draw in training: dropout, stochastic depth."""


def fit(
    fabric: Fabric,
    module: nn.Module,
    how: Fit,
    training: Training,
    folder: Path,
    loggers: Sequence[Logger] = (),
) -> None:
    """Train a module in place; it ends with the weights of the epoch that validates best.

    Args:
        fabric: Device, precision and ranks.
        module: Parameters that need no gradient stay as they are.
        how: Batches, loss and validation.
        training: Of the configuration.
        folder: Of the run; `best.pt` stays there.
        loggers: Told the mean loss and the validation of each epoch.

    Raises:
        StorageError: The disk is full.
        FormatError: What an earlier try left is damaged.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, training.lr, weight_decay=training.weight_decay)
    faster: Any = torch.compile(module) if training.compile else module
    wrapped, optimiser = fabric.setup(faster, optimiser)
    begin, best = _resume(folder, module, optimiser)
    for epoch in range(begin, training.epochs):
        module.train()
        # A function of the epoch and not of what came before: a run that goes on draws the same.
        words = np.random.SeedSequence([how.seed, epoch, fabric.global_rank]).generate_state(1)
        torch.manual_seed(int(words[0]))
        mean_loss = _epoch(fabric, wrapped, optimiser, how, training, epoch)
        module.eval()
        found = how.goodness()
        track(loggers, {"loss": mean_loss, "validation": found}, epoch)
        _LOG.info(
            "epoch %d of %d: loss %.4g, validation %.4g",
            epoch + 1,
            training.epochs,
            mean_loss,
            found,
        )
        if found > best or best == -math.inf:  # without any score the last epoch's stay
            best = max(found, best)
            _save(fabric, {"model": module.state_dict()}, folder / BEST)
        state = {"model": module.state_dict(), "optimiser": optimiser.state_dict()}
        state |= {"epoch": epoch + 1, "best": best}
        _save(fabric, state, folder / LAST)
    if best == -math.inf:
        _LOG.warning(
            "%s: validation has no score, such as one sample or labels all alike, so no epoch is "
            "known to be the best; the weights of the last one are tested",
            folder.name,
        )
    load_best(module, folder)


def _epoch(
    fabric: Fabric, wrapped: Any, optimiser: Any, how: Fit, training: Training, epoch: int
) -> float:
    """Take the steps of an epoch; return the mean loss of this rank's batches."""
    losses = []
    for i, batch in enumerate(how.batches(epoch)):
        rate = learning_rate(epoch * how.n_batches + i, how.n_batches, training)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = how.loss(wrapped, fabric.to_device(batch))
        fabric.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.detach())  # read at the end, so that no step waits for the device
    return float(torch.stack(losses).mean())


def learning_rate(step: int, per_epoch: int, training: Training) -> float:
    """Return the rate of a step: linear warm-up from the least, then half a cosine back to it.

    Source:
        MMEarth-Bench §5.4.
    """
    warm, total = training.warmup_epochs * per_epoch, training.epochs * per_epoch
    low, high = training.min_lr, training.lr
    if step < warm:
        return low + (high - low) * step / warm
    share = (step - warm) / max(total - warm, 1.0)
    return low + (high - low) * 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))


def load_best(module: nn.Module, folder: Path) -> None:
    """Give a module the best weights of a run, and put it into evaluation mode."""
    _fill(folder / BEST, module)
    module.eval()


def _resume(folder: Path, module: nn.Module, optimiser: Any) -> tuple[int, float]:
    """Return the epoch to begin with, and the best validation before it."""
    path = folder / LAST
    if not path.exists():
        return 0, -math.inf
    state = _fill(path, module)
    optimiser.load_state_dict(state["optimiser"])
    return int(state["epoch"]), float(state["best"])


def _fill(path: Path, module: nn.Module) -> dict[str, Any]:
    """Give a module the weights of a file, and return all that is in it.

    Raises:
        FormatError: The file is damaged.
    """
    device = next(module.parameters()).device
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        module.load_state_dict(state["model"])
    except Exception as exc:  # torch names no errors: EOFError, struct.error, RuntimeError, ...
        raise FormatError(
            f"{path} is damaged ({type(exc).__name__}), such as by a power cut; delete it, and the "
            "run is trained from its beginning"
        ) from exc
    return state


def _save(fabric: Fabric, state: dict[str, Any], path: Path) -> None:
    if fabric.is_global_zero:
        with atomic_path(path, durable=True) as temporary:
            try:
                torch.save(state, temporary)
            except RuntimeError as exc:  # of torch's own writer, which names no cause
                raise StorageError(
                    f"cannot write {path}; the disk may be full or out of reach: look after it and "
                    "run the same command again, it goes on after the last whole epoch"
                ) from exc
    fabric.barrier()
