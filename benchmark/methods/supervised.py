"""FT and JT: everything is trained, on the task alone or on all modalities too."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmearth.benchmark.canaries import collapsed
from mmearth.benchmark.encoder import Batch
from mmearth.benchmark.evaluation import evaluate, goodness
from mmearth.benchmark.job import Job, Outcome
from mmearth.benchmark.losses import auxiliary_loss, losses_of_batch, task_loss
from mmearth.benchmark.model import Model, in_unit
from mmearth.benchmark.ranks import share_of
from mmearth.benchmark.reconstruction import Reconstruction
from mmearth.benchmark.traces import write_reconstruction
from mmearth.benchmark.training import Fit, fit
from mmearth.catalog.errors import DataError
from mmearth.loaders.loader import Loader


def fine_tune(job: Job) -> Outcome:
    """Train the encoder and the task's head on the task (FT)."""
    return _train(job, reconstructs=False)


def train_jointly(job: Job) -> Outcome:
    """Train both, and the reconstruction of all modalities beside them (JT)."""
    outcome = _train(job, reconstructs=True)
    if job.fabric.is_global_zero:
        scores = {split: _reconstruction(job, split) for split in job.data.tests}
        write_reconstruction(job.folder, scores)
    job.fabric.barrier()
    return outcome


def _train(job: Job, reconstructs: bool) -> Outcome:
    model = job.model(reconstructs)
    _refuse_collapsed(job, model, reconstructs)
    train = batches_of(job, "train", "shuffled", reconstructs)
    val = batches_of(job, "val", "sequential", reconstructs)

    def batches(epoch: int) -> Loader:
        train.set_epoch(epoch)
        return train

    def predict(batch: Batch) -> Tensor:
        return in_unit(job.task, model(_fed(job, model, batch, reconstructs))[0], job.scale)

    def validate() -> float:
        return goodness(evaluate(job.fabric, job.task, val, predict))

    fit(
        job.fabric,
        model,
        Fit(batches, len(train), loss_of(job, model), validate, job.cell.seed),
        job.config.training,
        job.folder,
        job.loggers,
    )
    return Outcome(
        {
            split: evaluate(
                job.fabric, job.task, batches_of(job, split, "sequential", reconstructs), predict
            )
            for split in job.data.tests
        }
    )


def loss_of(job: Job, model: Model) -> Callable[[nn.Module, Batch], Tensor]:
    """Return the loss of a step: of the task, and of what the model reconstructs, if anything."""
    reconstructs = model.reconstruction_head is not None

    def loss(wrapped: nn.Module, batch: Batch) -> Tensor:
        prediction, outputs = wrapped(_fed(job, model, batch, reconstructs))
        target, mask, weight = batch["target"], batch["mask"]["target"], batch["weight"]
        real = mask & (weight > 0).view(-1, *(1,) * (mask.ndim - 1))
        mean = task_loss(job.task, prediction, target, mask, weight, job.scale)
        total = share_of(job.fabric, mean, real.sum())
        if not outputs:
            return total.nan_to_num(0.0)
        losses = losses_of_batch(outputs, batch)
        count = torch.stack([(~each.isnan()).sum() for each in losses.values()]).sum()
        return torch.stack([total, share_of(job.fabric, auxiliary_loss(losses), count)]).nansum()

    return loss


def _refuse_collapsed(job: Job, model: Model, reconstructs: bool) -> None:
    """Stop before training where the features of a batch are alike, or no numbers.

    Raises:
        DataError: They are.
    """
    model.eval()
    batch = next(iter(batches_of(job, "train", "sequential", reconstructs)))
    with torch.no_grad():
        features = model.encoder(_fed(job, model, job.fabric.to_device(batch), reconstructs))
    real = features[batch["weight"].to(features.device) > 0].float().cpu().numpy()
    for finding in collapsed(str(job.cell), real):
        raise DataError(finding.sentence)


def batches_of(job: Job, split: str, order: str, reconstructs: bool) -> Loader:
    """Return batches of a split: of all modalities, or of what the encoder wants."""
    size = job.batch_size
    if reconstructs:
        return job.data.for_reconstruction(split, size, order, job.cell.seed)
    return job.data.for_encoder(split, job.encoder, size, order, job.cell.seed)


def _fed(job: Job, model: Model, batch: Batch, reconstructs: bool) -> Batch:
    return job.data.fed(batch, model.encoder) if reconstructs else batch


def _reconstruction(job: Job, split: str) -> dict[str, tuple[str, float]]:
    """Return how well the trained model reconstructs a split; on one rank."""
    model, seen = job.model(reconstructs=True), Reconstruction()
    with torch.no_grad():
        loader = job.data.for_reconstruction(split, job.batch_size, "sequential", job.cell.seed)
        loader.rank, loader.world = 0, 1
        for batch in loader:
            here = job.fabric.to_device(batch)
            _, outputs = model(job.data.fed(here, model.encoder))
            add_to(seen, outputs, batch)
    return seen.scores()


def add_to(seen: Reconstruction, outputs: dict[str, Tensor], batch: Batch) -> None:
    """Add a batch's reconstruction to what was seen."""

    def arrays(of: Mapping[str, Tensor]) -> dict[str, NDArray[np.generic]]:
        return {name: of[name].detach().cpu().numpy() for name in outputs}

    weight = batch["weight"].cpu().numpy()
    made = {name: output.float() for name, output in outputs.items()}
    seen.update(arrays(made), arrays(batch), arrays(batch["mask"]), batch["key"], weight)
