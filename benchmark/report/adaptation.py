"""Sections on test-time training: what it gains over joint training, where, and whether by luck."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from mmearth.benchmark.adapted import ADAPTED, ORACLES
from mmearth.benchmark.report import charts
from mmearth.benchmark.report.cells import SPLITS, Scores, axis_of
from mmearth.benchmark.report.charts import Panel, Point
from mmearth.benchmark.report.content import (
    ABSENT,
    Block,
    Figure,
    Section,
    Table,
    interval_text,
    number,
    signed,
)
from mmearth.benchmark.report.seen import seen_by
from mmearth.benchmark.report.svg import COLOURS, SHAPES, Style
from mmearth.benchmark.significance import (
    NOT_ADAPTED,
    Delta,
    Verdict,
    deltas,
    mean_and_error,
    pairs_needed,
    verdicts,
    was_adapted,
)
from mmearth.catalog.task import Task

_MANY = 40  # rows of a table that HTML shows only when asked to
MODE_COLOURS = {mode: COLOURS[i % len(COLOURS)] for i, mode in enumerate(ADAPTED)}
"""Of methods that adapt, in every figure."""
MODE_SHAPES = {mode: SHAPES[i % len(SHAPES)] for i, mode in enumerate(ADAPTED)}
"""See MODE_COLOURS."""
BY_BATCH = "by batch"
"""Stands for a K that batches have each their own of."""


def deltas_section(scores: Scores) -> Section:
    """Return the differences to JT a task, encoder, mode and split, and the tests of them."""
    found = deltas(scores.table, scores.catalogue.tasks, ADAPTED)
    title = "Test-time training against joint training"
    if not found:
        return Section(title, ("Left out: no encoder was run with JT and a TTT method.",))
    lead = (
        "Headline metric after adaptation minus that of the same jointly trained run (JT); above "
        "zero is a gain. Mean over seeds ± standard error. K is the number of steps that "
        "validation chose; a run of K = 0 is JT itself; some methods choose for each batch. An "
        "oracle has looked at the test labels: no method can be better on these weights, and it is "
        "no result. Intervals are of 95 %: over samples, for these seeds; over samples and seeds, "
        "for others too. They need the runs' predictions."
    )
    rows: list[tuple[str, ...]] = []
    panels = []
    for task in scores.tasks:
        of_task = [delta for delta in found if delta.task == task]
        rows.extend(_delta_rows(scores, task, of_task))
        adapted = [
            delta for group in _groups(of_task).values() if was_adapted(group) for delta in group
        ]
        if adapted:
            panels.append(_delta_panel(scores.task(task), adapted))
    caption = "Differences to JT; bars are standard errors over seeds. Left out where K = 0."
    header = (
        *("task", "encoder", "split", "method", "seen", "K by seed", "seeds", "difference"),
        *("over samples", "over samples and seeds"),
    )
    table = Table("Differences to JT", header, tuple(rows), n_labels=6, folded=len(rows) > _MANY)
    figure = (Figure(caption, charts.dots(panels, caption)),) if panels else ()
    return Section(title, (lead, *figure, table, *_test_blocks(found)))


def _groups(found: Iterable[Delta]) -> dict[tuple[str, str, str], list[Delta]]:
    groups: dict[tuple[str, str, str], list[Delta]] = defaultdict(list)
    for delta in found:
        groups[delta.encoder, delta.split, delta.mode].append(delta)
    order = list(SPLITS)
    inside = [group for group in groups if group[1] in SPLITS]
    return {g: groups[g] for g in sorted(inside, key=lambda g: (g[0], order.index(g[1]), g[2]))}


def _delta_rows(scores: Scores, task: str, found: Sequence[Delta]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for (encoder, split, mode), of in _groups(found).items():
        steps = ", ".join(BY_BATCH if d.steps is None else str(d.steps) for d in of)
        row = (task, encoder, SPLITS[split], mode, seen_by(mode), steps, str(len(of)))
        if not was_adapted(of):
            rows.append((*row, NOT_ADAPTED, ABSENT, ABSENT))
            continue
        mean, error = mean_and_error(delta.value for delta in of)
        pairs = scores.paired(of)
        ends = (pairs.by_samples, pairs.by_both) if pairs else ((math.nan, math.nan),) * 2
        error_text = f" ± {number(error, 4)}" if math.isfinite(error) else ""
        rows.append((*row, signed(mean, 4) + error_text, *(interval_text(*e, 4) for e in ends)))
    return rows


def _delta_panel(task: Task, found: Sequence[Delta]) -> Panel:
    groups = _groups(found)
    encoders = sorted({encoder for encoder, _, _ in groups})
    series = []
    for mode in ADAPTED:
        for split, short in SPLITS.items():
            drawn = Style(
                f"{mode}, {short}",
                MODE_COLOURS[mode],
                MODE_SHAPES[mode],
                hollow=split == "geographic_test",
            )
            points = []
            for i, encoder in enumerate(encoders):
                if (encoder, split, mode) in groups:
                    mean, error = mean_and_error(d.value for d in groups[encoder, split, mode])
                    points.append(Point(i, mean, mean - error, mean + error))
            if points:
                series.append((drawn, tuple(points)))
    axis = f"difference in {axis_of(task, found[0].metric)}"
    return Panel(task.name, axis, tuple(encoders), tuple(series), zero=True)


def _test_blocks(found: Sequence[Delta]) -> list[Block]:
    order = {task: i for i, task in enumerate(dict.fromkeys(delta.task for delta in found))}
    tests = sorted(
        verdicts(d for d in found if d.split in SPLITS and d.mode not in ORACLES),
        key=lambda v: (order[v.task], list(SPLITS).index(v.split), v.mode),
    )
    header = (
        *("task", "split", "method", "pairs", "of them 0", "median", "p", "p (Holm)"),
        *("least p (Holm)", "significant"),
    )
    caption = "One-sided Wilcoxon signed-rank tests of a gain over JT, a pair an encoder and seed"
    hopeless = sum(not verdict.can_be_significant for verdict in tests)
    note = (
        "Holm's correction covers all rows of the table. The least p is what as many differences "
        "of these sizes give if all are gains and all other tests come out at their best; "
        "differences of 0 (K = 0) are dropped, which makes it greater. Seeds of one encoder are "
        "not independent draws of encoders: with few encoders, read p-values as a ranking."
    )
    said = (
        f"{hopeless} of {len(tests)} tests cannot come out, whatever the method does: of so many, "
        f"each needs at least {pairs_needed(len(tests))} pairs that differ. Their p-values are no "
        "evidence against a gain."
    )
    rows = tuple(_test_row(verdict) for verdict in tests)
    blocks: list[Block] = [Table(caption, header, rows, n_labels=3), note]
    return [said, *blocks] if hopeless else blocks


def _test_row(verdict: Verdict) -> tuple[str, ...]:
    labels = (verdict.task, SPLITS[verdict.split], verdict.mode)
    counts = (str(verdict.n), str(verdict.n_zero))
    if verdict.n_zero == verdict.n:
        return (*labels, *counts, *(ABSENT,) * 4, "cannot: no difference")
    answer = "yes" if verdict.is_significant else "no"
    return (
        *(*labels, *counts, signed(verdict.median, 4)),
        *(_p_text(p) for p in (verdict.p, verdict.p_holm, verdict.least_holm)),
        answer if verdict.can_be_significant else "cannot: too few pairs",
    )


def _p_text(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else number(p, 4)
