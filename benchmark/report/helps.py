"""Section that answers the reader's question: should test-time training be used here?"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmearth.benchmark.adapted import ADAPTED, ORACLES
from mmearth.benchmark.canaries import BASELINE
from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.report.cells import SPLITS, Run, Scores
from mmearth.benchmark.report.content import ABSENT, Section, Table, interval_text, number, signed
from mmearth.benchmark.significance import NOT_ADAPTED, Delta, deltas, mean_and_error, was_adapted
from mmearth.benchmark.traces import BATCHES, read_trace

HELPS, HARMS, OPEN = "helps", "harms", "cannot be told"
UNKNOWN = "not known"
Group = tuple[str, str, str, str]
"""(task, encoder, split, method)."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Does the direction of a step agree with the task's gradient, and does that foretell gains?"""

    n: int
    """Validation batches."""
    mean: float
    """Cosine of both, over batches."""
    above: float
    """Share of the batches in which it is above 0."""
    rank: float
    """Spearman's correlation with the gain of the batch; NaN where one of both does not vary."""


def helps_section(scores: Scores) -> Section:
    """Return what adaptation does and costs for each task, encoder, split and method."""
    title = "Should test-time training be used here?"
    groups: dict[Group, list[Delta]] = defaultdict(list)
    for delta in deltas(scores.table, scores.catalogue.tasks, ADAPTED):
        if delta.split in SPLITS and delta.mode not in ORACLES:
            groups[delta.task, delta.encoder, delta.split, delta.mode].append(delta)
    if not groups:
        return Section(title, ("Left out: no encoder was run with JT and a TTT method.",))
    rows, answers, below = [], Counter[str](), 0
    for group, found in groups.items():
        answer, row = _answer(scores, found)
        answers[answer] += 1
        levels, is_below = _levels(scores, group)
        below += is_below
        rows.append((*_labels(group), answer, levels, *row))
    said = ", ".join(f"{answer}: {n}" for answer, n in sorted(answers.items()))
    lead = (
        f"{len(groups)} comparisons with the same weights without adaptation; {said}. It helps "
        "or harms where the 95 % interval over samples and seeds leaves zero out; otherwise these "
        "samples and seeds do not tell, and `mmearth benchmark power` says how many would. That "
        "it helps on one split says nothing about places that differ in another way."
    )
    if below:
        lead += (
            f" In {below} of them (†) the adapted score is still below the baseline `mean`: "
            "the train mean is the better prediction there."
        )
    header = (
        *("task", "encoder", "split", "method", "answer"),
        *("as trained → adapted", "difference", "95 %", "s a tile"),
    )
    cost = "; seconds a tile of adaptation and prediction, median over batches"
    table = Table(f"Headline metric against JT{cost}", header, tuple(rows), n_labels=5)
    return Section(title, (lead, table, *_agreement_blocks(scores)))


def _labels(group: Group) -> tuple[str, ...]:
    task, encoder, split, mode = group
    return task, encoder, SPLITS[split], mode


def _levels(scores: Scores, group: Group) -> tuple[str, bool]:
    """Return both scores, with a dagger where the adapted one is below the baseline `mean`."""
    task, encoder, split, mode = group
    of = ((encoder, "JT"), (encoder, mode), (BASELINE, "mean"))
    cells = [scores.headline(task, *each, split) for each in of]
    trained, adapted, mean = (math.nan if cell is None else cell.mean for cell in cells)
    is_better = METRICS[scores.task(task).metrics[0]].higher_is_better
    is_below = adapted < mean if is_better else adapted > mean
    return f"{number(trained)} → {number(adapted)}{' †' if is_below else ''}", is_below


def _answer(scores: Scores, found: Sequence[Delta]) -> tuple[str, tuple[str, ...]]:
    """Return the answer, and the cells behind it."""
    seconds = _seconds(scores.of(found[0].task, found[0].encoder, found[0].mode), found[0].split)
    if not was_adapted(found):
        return NOT_ADAPTED, (ABSENT, ABSENT, seconds)
    pairs = scores.paired(found)
    low, high = pairs.by_both if pairs else (math.nan, math.nan)
    mean, _ = mean_and_error(delta.value for delta in found)
    answer = UNKNOWN if math.isnan(low) else HELPS if low > 0 else HARMS if high < 0 else OPEN
    return answer, (signed(mean, 4), interval_text(low, high, 4), seconds)


def _seconds(runs: Sequence[Run], split: str) -> str:
    rows = [row for run in runs for row in read_trace(run.folder, "batches.parquet", BATCHES)]
    each = sorted(row["seconds"] / row["n"] for row in rows if row["split"] == split)
    return number(each[len(each) // 2], 3) if each else ABSENT


def _agreement_blocks(scores: Scores) -> tuple[str | Table, ...]:
    """Return the diagnostic of validation, batch by batch and run by run."""
    by_run: dict[tuple[str, str, str], list[tuple[Run, Agreement]]] = defaultdict(list)
    for run in scores.runs:
        s = run.setting
        if s.method in ADAPTED and (found := agreement(run)):
            by_run[s.task, s.encoder, s.method].append((run, found))
    if not by_run:
        return ()
    rows = []
    for (task, encoder, method), of in by_run.items():
        cells = [mean_and_error(getattr(a, name) for _, a in of)[0] for name in _MEANS]
        n = sum(a.n for _, a in of)
        gains = [_with_gains(scores, of, split) for split in SPLITS]
        rows.append((task, encoder, method, str(n), *(number(v, 2) for v in (*cells, *gains))))
    note = (
        "Will it help? The cosine is of the direction of a first step and of the task's gradient, "
        "on validation batches, where labels may be looked at: above 0 a small step lessens the "
        "task's loss. Beside it Spearman's rank correlation with the gain, batch by batch on "
        "validation, mean over seeds, and seed by seed on each test split. Only where those are "
        "clearly above 0 does the cosine foretell anything; validation has no geographic shift."
    )
    header = (
        *("task", "encoder", "method", "batches", "mean cosine", "share above 0"),
        *("rank correlation, batches", *(f"… {name}, seeds" for name in SPLITS.values())),
    )
    return note, Table("Agreement of reconstruction and task on validation", header, tuple(rows), 3)


_MEANS = ("mean", "above", "rank")


def agreement(run: Run) -> Agreement | None:
    """Return what a run's validation batches say; None where they left nothing."""
    rows = [
        row
        for row in read_trace(run.folder, "batches.parquet", BATCHES)
        if row["cosine"] is not None and math.isfinite(row["cosine"])
    ]
    if not rows:
        return None
    cosines = [row["cosine"] for row in rows]
    gains = [row["task_loss_before"] - row["task_loss_after"] for row in rows]
    above = sum(cosine > 0 for cosine in cosines) / len(rows)
    return Agreement(len(rows), math.fsum(cosines) / len(rows), above, spearman(cosines, gains))


def _with_gains(scores: Scores, of: Sequence[tuple[Run, Agreement]], split: str) -> float:
    """Return the rank correlation, over seeds, of mean cosine and gain on a test split."""
    first = of[0][0].setting
    found = deltas(scores.table, scores.catalogue.tasks, [first.method])
    gains = {
        d.seed: d.value
        for d in found
        if (d.task, d.encoder, d.split) == (first.task, first.encoder, split)
    }
    pairs = [(a.mean, gains[run.setting.seed]) for run, a in of if run.setting.seed in gains]
    return spearman([one for one, _ in pairs], [other for _, other in pairs])


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the rank correlation; NaN with fewer than three pairs or where one does not vary."""
    from scipy import stats

    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(stats.spearmanr(one, other).statistic)
