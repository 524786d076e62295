"""Sections on test-time training: what it gains over joint training, where, and whether by luck."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from mmearth.benchmark.canaries import ADAPTED
from mmearth.benchmark.intervals import RESAMPLES, Score, difference
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
from mmearth.benchmark.report.svg import COLOURS, Style
from mmearth.benchmark.significance import Delta, deltas, mean_and_error, verdicts
from mmearth.catalog.tasks import TASKS

_MANY = 40  # rows of a table that HTML shows only when asked to
_FEW = 200  # resamples for a multi-label task, whose metric takes a hundred times as long
MODE_COLOURS = dict(zip(ADAPTED, (COLOURS[0], COLOURS[1]), strict=True))
"""Of methods that adapt, in every figure."""
MODE_SHAPES = dict(zip(ADAPTED, ("circle", "square"), strict=True))
"""See MODE_COLOURS."""


def deltas_section(scores: Scores) -> Section:
    """Return the differences to JT a task, encoder, mode and split, and the tests of them."""
    found = deltas(scores.table, ADAPTED)
    title = "Test-time training against joint training"
    if not found:
        return Section(title, ("Left out: no encoder was run with JT and a TTT method.",))
    lead = (
        "Headline metric after adaptation minus that of the same jointly trained run (JT); above "
        "zero is a gain. Mean over seeds ± standard error. The interval is of the mean over seeds, "
        "95 %, from tiles drawn anew for both runs at once; it needs the runs' predictions."
    )
    rows: list[tuple[str, ...]] = []
    panels = []
    for task in scores.tasks:
        of_task = [delta for delta in found if delta.task == task]
        if of_task:
            rows.extend(_delta_rows(scores, task, of_task))
            panels.append(_delta_panel(task, of_task))
    caption = "Differences to JT; bars are standard errors over seeds."
    header = ("task", "encoder", "split", "method", "seeds", "difference", "95 % interval")
    blocks: list[Block] = [
        lead,
        Figure(caption, charts.dots(panels, caption)),
        Table("Differences to JT", header, tuple(rows), n_labels=4, folded=len(rows) > _MANY),
    ]
    return Section(title, (*blocks, *_test_blocks(found)))


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
        mean, error = mean_and_error(delta.value for delta in of)
        paired = _paired(scores, task, encoder, split, mode)
        text = ABSENT if paired is None else interval_text(paired.low, paired.high, 4)
        difference_text = signed(mean, 4) + (
            f" ± {number(error, 4)}" if math.isfinite(error) else ""
        )
        rows.append((task, encoder, SPLITS[split], mode, str(len(of)), difference_text, text))
    return rows


def _paired(scores: Scores, task: str, encoder: str, split: str, mode: str) -> Score | None:
    """Return the difference with its interval over tiles; None where predictions lack."""
    plain = {run.setting.seed: run for run in scores.of(task, encoder, "JT")}
    adapted = {run.setting.seed: run for run in scores.of(task, encoder, mode)}
    seeds = sorted(plain.keys() & adapted.keys())
    pairs = [(adapted[s].predictions(split), plain[s].predictions(split)) for s in seeds]
    there = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not there or len(there) < len(pairs):
        return None
    resamples = _FEW if TASKS[task].kind == "multilabel" else RESAMPLES
    metric = TASKS[task].metrics[0]
    return difference(metric, [a for a, _ in there], [b for _, b in there], 0, resamples)


def _delta_panel(task: str, found: Sequence[Delta]) -> Panel:
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
            series.append((drawn, tuple(points)))
    axis = f"difference in {axis_of(task, TASKS[task].metrics[0])}"
    return Panel(task, axis, tuple(encoders), tuple(series), zero=True)


def _test_blocks(found: Sequence[Delta]) -> list[Block]:
    rows = [
        (
            verdict.task,
            SPLITS[verdict.split],
            verdict.mode,
            str(verdict.n),
            signed(verdict.median, 4),
            _p_text(verdict.p),
            _p_text(verdict.p_holm),
            "yes" if verdict.is_significant else "no",
        )
        for verdict in sorted(
            verdicts(delta for delta in found if delta.split in SPLITS),
            key=lambda v: (list(TASKS).index(v.task), list(SPLITS).index(v.split), v.mode),
        )
    ]
    header = ("task", "split", "method", "pairs", "median", "p", "p (Holm)", "significant")
    caption = "One-sided Wilcoxon signed-rank tests of a gain over JT, a pair an encoder and seed"
    note = (
        "Holm's correction covers all rows of the table. Seeds of one encoder are not independent "
        "draws of encoders: with few encoders, read p-values as a ranking."
    )
    return [Table(caption, header, tuple(rows), n_labels=3), note]


def _p_text(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else number(p, 4)
