"""LP: the encoder is frozen, its features are computed once, and only a head is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmearth.benchmark.canaries import collapsed
from mmearth.benchmark.decoders import TileHead
from mmearth.benchmark.encoder import Batch
from mmearth.benchmark.evaluation import evaluate, goodness
from mmearth.benchmark.job import Job, Outcome
from mmearth.benchmark.losses import task_loss
from mmearth.benchmark.model import in_unit, task_head
from mmearth.benchmark.ranks import share_of
from mmearth.benchmark.training import Fit, fit
from mmearth.catalog.errors import DataError
from mmearth.loaders.orders.order import ORDERS
from mmearth.loaders.orders.ranks import ranks
from mmearth.loaders.orders.schedule import rank_turns


@dataclass(frozen=True, slots=True)
class Features:
    """A split as a frozen encoder sees it; every rank holds it whole."""

    features: Tensor
    """(n, D) averaged over the grid for tile-level tasks, else (n, D, h, w)."""
    target: Tensor
    """As in a batch."""
    mask: Tensor
    """Of the target."""
    key: tuple[str, ...]
    """Of the samples."""


def probe(job: Job) -> Outcome:
    """Train the task's head on frozen features (LP).

    Raises:
        DataError: The features are the same for all samples.
    """
    job.encoder.eval().requires_grad_(requires_grad=False)
    torch.manual_seed(job.cell.seed + 1)
    head = task_head(job.encoder, job.task).to(job.fabric.device)
    train, val = _features(job, "train", head), _features(job, "val", head)
    for finding in collapsed(str(job.cell), train.features.flatten(1).cpu().numpy()):
        raise DataError(finding.sentence)

    def loss(wrapped: nn.Module, batch: Batch) -> Tensor:
        mask, weight = batch["mask"]["target"], batch["weight"]
        real = mask & (weight > 0).view(-1, *(1,) * (mask.ndim - 1))
        prediction = wrapped(batch["features"])
        mean = task_loss(job.task, prediction, batch["target"], mask, weight, job.scale)
        return share_of(job.fabric, mean, real.sum()).nan_to_num(0.0)

    module = _Pooled(head) if isinstance(head, TileHead) else head

    def predict(batch: Batch) -> Tensor:
        return in_unit(job.task, module(batch["features"]), job.scale)

    def validate() -> float:
        return goodness(evaluate(job.fabric, job.task, _batches(job, val, None), predict))

    n_batches = sum(1 for _ in _batches(job, train, 0))
    how = Fit(lambda epoch: _batches(job, train, epoch), n_batches, loss, validate, job.cell.seed)
    fit(job.fabric, module, how, job.config.training, job.folder, job.loggers)
    found = {}
    for split in job.data.tests:
        batches = _batches(job, _features(job, split, head), None)
        found[split] = evaluate(job.fabric, job.task, batches, predict)
    return Outcome(found)


class _Pooled(nn.Module):
    """A tile's head, fed with features that are averaged already."""

    def __init__(self, head: TileHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        return self.head.pooled(features)


def _features(job: Job, split: str, head: nn.Module) -> Features:
    """Run the encoder once over a split; the whole of it on every rank."""
    loader = job.data.for_encoder(split, job.encoder, job.batch_size, "sequential", job.cell.seed)
    loader.rank, loader.world = 0, 1
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    keys: list[str] = []
    with torch.no_grad():
        for batch in loader:
            grid = job.encoder(job.fabric.to_device(batch)).float()
            features = grid.mean((2, 3)) if isinstance(head, TileHead) else grid
            # Copied: the loader uses a batch's memory again.
            kept.append((features, batch["target"].clone(), batch["mask"]["target"].clone()))
            keys += batch["key"]
    features, target, mask = (torch.cat(parts) for parts in zip(*kept, strict=True))
    return Features(features, target, mask, tuple(keys))


def _batches(job: Job, split: Features, epoch: int | None) -> Iterator[dict[str, Any]]:
    """Yield this rank's batches; shuffled as a loader's epoch, or in the split's order."""
    order = ORDERS["sequential" if epoch is None else "shuffled"]
    nowhere = torch.zeros(len(split.key)).double().numpy()
    dealt = order(nowhere, nowhere, job.batch_size, job.cell.seed, epoch or 0)
    for turn in rank_turns(dealt, 0, *ranks(None, None)):
        rows = torch.from_numpy(turn.rows)
        yield {
            "features": split.features[rows.to(split.features.device)],
            "target": split.target[rows],
            "mask": {"target": split.mask[rows]},
            "weight": torch.full((len(rows),), 0.0 if turn.is_padding else 1.0),
            "key": [split.key[row] for row in turn.rows.tolist()],
        }
