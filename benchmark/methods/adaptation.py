"""TTT-MMR and TTT-MMR-Geo: jointly trained weights, adapted to each batch of the test splits."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from mmearth.benchmark.encoder import Batch
from mmearth.benchmark.evaluation import predictions_of
from mmearth.benchmark.job import Job, Outcome
from mmearth.benchmark.losses import losses_of_batch, task_loss
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
ORDERS = {"TTT-MMR": dict.fromkeys(GEOGRAPHIC, RANDOM), "TTT-MMR-Geo": GEOGRAPHIC}
"""Method → recipe → order."""


@dataclass(slots=True)
class _Seen:
    """What one split left behind on this rank."""

    predictions: list[Predictions]
    before: Reconstruction
    after: Reconstruction
    rows: list[Row]


def adapt(job: Job) -> Outcome:
    """Adapt to random batches (TTT-MMR), or to batches of neighbours (TTT-MMR-Geo)."""
    order = ORDERS[job.cell.method][job.config.recipe]
    model = job.model(reconstructs=True)
    load_best(model, job.start)
    how = job.config.adaptation
    val = _run(job, model, "val", order, how.max_steps, how.held_back)
    by = "watched" if how.held_back else "losses"
    steps = choose_steps(gather_rows(job.fabric, [row[by] for row in val.rows]), how.zero)
    rows = val.rows
    before, after, found = {}, {}, {}
    for split in job.data.tests:
        seen = _run(job, model, split, order, steps)
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
    return Outcome(found, steps)


def _run(
    job: Job, model: Model, split: str, order: str, steps: int, held_back: tuple[str, ...] = ()
) -> _Seen:
    how, ttt = job.config.adaptation, ttt_of(job, model, steps, held_back)
    seen = _Seen([], Reconstruction(), Reconstruction(), [])
    loader = job.data.for_reconstruction(split, how.batch_size, order, job.cell.seed)
    for batch in loader:
        begin = time.perf_counter()
        adapted = ttt.adapt(job.fabric.to_device(batch), model.heads)
        seconds = time.perf_counter() - begin
        prediction, outputs = adapted.prediction
        answer = in_unit(job.task, prediction, job.scale)
        seen.predictions.append(predictions_of(job.task, batch, answer))
        add_to(seen.before, adapted.predictions[0][1], batch)
        add_to(seen.after, outputs, batch)
        if bool(batch["weight"].any()):
            number = int(batch["position"]) - 1
            seen.rows.append(_row(job, split, number, batch, adapted, seconds))
    return seen


def ttt_of(job: Job, model: Model, steps: int, held_back: tuple[str, ...] = ()) -> TTTMMR:
    """Return what adapts a run's model to batches of `for_reconstruction`, as configured."""
    how = job.config.adaptation
    return TTTMMR(
        model.encoder,
        model.reconstruction_head,  # type: ignore[arg-type]
        losses_of_batch,
        how.lr,
        steps,
        how.parameters,
        how.products,
        inputs=lambda batch: job.data.fed(batch, model.encoder),
        held_back=held_back,
        roll_back=how.roll_back,
    )


def _row(job: Job, split: str, number: int, batch: Batch, adapted: Adapted, seconds: float) -> Row:
    """Return a batch's row of batches.parquet.

    Beside it, of each iteration: under `losses` the task's, under `watched` the reconstruction's.
    """
    losses = list(_task_losses(job, batch, adapted))
    watched = adapted.watched.tolist()
    defined = not any(math.isnan(loss) for loss in losses)
    return {
        "split": split,
        "batch": number,
        "n": int((batch["weight"] > 0).sum()),
        "steps": adapted.chosen,
        "best": losses.index(min(losses)) if split == "val" and defined else None,
        "moved": float(adapted.moved[adapted.chosen] / adapted.norm),
        "rolled_back": job.config.adaptation.roll_back and adapted.chosen < len(losses) - 1,
        "task_loss_before": losses[0],
        "task_loss_after": losses[adapted.chosen],
        "reconstruction_before": watched[0],
        "reconstruction_after": watched[adapted.chosen],
        "seconds": seconds,
        "losses": losses,
        "watched": watched,
    }


def _task_losses(job: Job, batch: Batch, adapted: Adapted) -> Iterator[float]:
    mask, weight = batch["mask"]["target"], batch["weight"]
    with torch.no_grad():
        for prediction, _ in adapted.predictions:
            found = task_loss(job.task, prediction.cpu(), batch["target"], mask, weight, job.scale)
            yield float(found)
