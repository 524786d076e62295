"""TTT-MMR and TTT-MMR-Geo: jointly trained weights, adapted to each batch of the test splits."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmearth.benchmark.adapted import MODES, choice_of, mode_of
from mmearth.benchmark.encoder import Batch
from mmearth.benchmark.evaluation import predictions_of
from mmearth.benchmark.job import Job, Outcome
from mmearth.benchmark.losses import task_loss
from mmearth.benchmark.methods.choices import adapted_to, answering
from mmearth.benchmark.methods.steps import choose_steps
from mmearth.benchmark.methods.supervised import add_to
from mmearth.benchmark.methods.trace import Adapted
from mmearth.benchmark.methods.ttt_mmr import TTTMMR
from mmearth.benchmark.model import Model, in_unit
from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.ranks import gather, gather_rows
from mmearth.benchmark.reconstruction import Reconstruction
from mmearth.benchmark.traces import BATCHES, write_batches, write_reconstruction
from mmearth.benchmark.training import load_best

Row = dict[str, Any]
RANDOM = "shuffled_published"
"""The order whose batches are adapted to: none is smaller than the batch size, as published."""
GEOGRAPHIC = {"default": "geographic", "mmearth-bench-2026": "geographic_published"}
"""Recipe → the same for batches of neighbours."""
ORDERS = dict(zip(MODES, (dict.fromkeys(GEOGRAPHIC, RANDOM), GEOGRAPHIC), strict=True))
"""Mode → recipe → order."""


@dataclass(slots=True)
class _Seen:
    """What one split left behind on this rank."""

    predictions: list[Predictions]
    before: Reconstruction
    after: Reconstruction
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What validation has chosen."""

    lr: float
    steps: int
    """K of all test batches; of methods that choose for each batch the greatest."""
    rows: list[Row]
    """Of this rank's validation batches at that rate."""


def adapt(job: Job) -> Outcome:
    """Adapt to random batches (TTT-MMR), or to batches of neighbours (TTT-MMR-Geo)."""
    model = job.model(reconstructs=True)
    load_best(model, job.start)
    chosen = _on_validation(job, model)
    rows = list(chosen.rows)
    before, after, found = {}, {}, {}
    for split in job.data.tests:
        seen = _run(job, model, split, chosen.lr, chosen.steps)
        rows += seen.rows
        found[split] = gather(job.fabric, seen.predictions)
        for other in gather_rows(job.fabric, [(seen.before, seen.after)]):
            if other[0] is not seen.before:
                seen.before.merge(other[0])
                seen.after.merge(other[1])
        before[split], after[split] = seen.before.scores(), seen.after.scores()
    every = gather_rows(job.fabric, rows)
    if job.fabric.is_global_zero:
        write_batches(job.folder, [{name: row[name] for name in BATCHES.names} for row in every])
        write_reconstruction(job.folder, before, after)
    job.fabric.barrier()
    if choice_of(job.cell.method) == "validation":
        return Outcome(found, chosen.steps, chosen.lr)
    taken = {row["steps"] for row in every if row["split"] != "val"}
    return Outcome(found, taken.pop() if len(taken) == 1 else None, chosen.lr)


def _on_validation(job: Job, model: Model) -> _Chosen:
    """Return the learning rate and K whose task loss on validation is least."""
    how, method = job.config.adaptation, job.cell.method
    by_batch = choice_of(method) != "validation"
    rule: Any = "summed" if job.config.recipe == "default" else "published"
    tried: list[tuple[float, _Chosen]] = []
    for lr in how.rates(job.cell.encoder):
        rows = _run(job, model, "val", lr, how.max_steps).rows
        every = gather_rows(job.fabric, rows)
        losses = [row["losses"] for row in every]
        steps = how.max_steps if by_batch else choose_steps(losses, how.zero, rule)
        ends = [row["task_loss_after"] if by_batch else row["losses"][steps] for row in every]
        total = math.fsum(end for end in ends if not math.isnan(end))
        tried.append((total, _Chosen(lr, steps, rows)))
    return min(tried, key=lambda each: each[0])[1]


def _run(job: Job, model: Model, split: str, lr: float, steps: int) -> _Seen:
    order = ORDERS[mode_of(job.cell.method)][job.config.recipe]
    how, ttt = job.config.adaptation, ttt_of(job, model, lr, steps)
    seen = _Seen([], Reconstruction(), Reconstruction(), [])
    loader = job.data.for_reconstruction(split, how.batch_size, order, job.cell.seed)
    for batch in loader:
        begin = time.perf_counter()
        adapted = ttt.adapt(job.fabric.to_device(batch), model.heads)
        losses = list(_task_losses(job, batch, adapted))
        adapted = answering(job, adapted, batch["weight"] > 0, losses)
        seconds = time.perf_counter() - begin
        prediction, outputs = adapted.prediction
        answer = in_unit(job.task, prediction, job.scale)
        seen.predictions.append(predictions_of(job.task, batch, answer))
        add_to(seen.before, adapted.predictions[0][1], batch)
        add_to(seen.after, outputs, batch)
        if bool(batch["weight"].any()):
            row = _row(job, split, batch, adapted, losses)
            cosine = _cosine(job, model, ttt, batch) if split == "val" else None
            seen.rows.append(row | {"seconds": seconds, "cosine": cosine})
    return seen


def ttt_of(job: Job, model: Model, lr: float, steps: int) -> TTTMMR:
    """Return what adapts a run's model to batches of `for_reconstruction`, as configured."""
    how, (losses, held_back) = job.config.adaptation, adapted_to(job)
    return TTTMMR(
        model.encoder,
        model.reconstruction_head,  # type: ignore[arg-type]
        losses,
        lr,
        steps,
        how.parameters,
        how.products,
        inputs=lambda batch: job.data.fed(batch, model.encoder),
        held_back=held_back,
        roll_back=how.roll_back,
    )


def _row(job: Job, split: str, batch: Batch, adapted: Adapted, losses: list[float]) -> Row:
    """Return a batch's row of batches.parquet; beside it the task's loss of each iteration."""
    watched = adapted.watched.tolist()
    keys = [key for key, counts in zip(batch["key"], batch["weight"] > 0, strict=True) if counts]
    defined = not any(math.isnan(loss) for loss in losses)
    return {
        "split": split,
        "batch": int(batch["position"]) - 1,
        "n": len(keys),
        "keys": keys,
        "steps": adapted.chosen,
        "best": losses.index(min(losses)) if split == "val" and defined else None,
        "moved": float(adapted.moved[adapted.chosen] / adapted.norm),
        "rolled_back": job.config.adaptation.roll_back and _stayed(adapted.moved),
        "task_loss_before": losses[0],
        "task_loss_after": losses[adapted.chosen],
        "reconstruction_before": watched[0],
        "reconstruction_after": watched[adapted.chosen],
        "losses": losses,
    }


def _stayed(moved: Tensor) -> bool:
    """Return whether the last iteration repeats the one before it: a guard has refused it."""
    return len(moved) > 1 and bool(moved[-1] == moved[-2])


def _cosine(job: Job, model: Model, ttt: TTTMMR, batch: Batch) -> float:
    """Return the cosine between the direction of a step and the gradient of the task's loss."""
    here = job.fabric.to_device(batch)

    def loss(features: Tensor) -> Tensor:
        return _task_loss(job, here, model.head(features))

    return ttt.agreement(here, loss)


def _task_losses(job: Job, batch: Batch, adapted: Adapted) -> Iterator[float]:
    with torch.no_grad():
        for prediction, _ in adapted.predictions:
            yield float(_task_loss(job, batch, prediction.cpu()))


def _task_loss(job: Job, batch: Batch, prediction: Tensor) -> Tensor:
    mask, weight = batch["mask"]["target"], batch["weight"]
    return task_loss(job.task, prediction, batch["target"], mask, weight, job.scale)
