"""Sections on what adaptation did inside: batch by batch, modality by modality, step by step."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmearth.benchmark.adapted import ADAPTED
from mmearth.benchmark.report import charts
from mmearth.benchmark.report.adaptation import BY_BATCH, MODE_COLOURS, MODE_SHAPES
from mmearth.benchmark.report.cells import SPLITS, Run, Scores
from mmearth.benchmark.report.charts import Panel, Point
from mmearth.benchmark.report.content import ABSENT, Figure, Section, Table, number, signed, spread
from mmearth.benchmark.report.seen import seen_by
from mmearth.benchmark.report.svg import COLOURS, Style
from mmearth.benchmark.significance import NOT_ADAPTED, mean_and_error
from mmearth.benchmark.traces import BATCHES, RECONSTRUCTION, read_trace

Ends = dict[str, tuple[tuple[float, float], tuple[float, float]]]
"""By modality, (mean, standard error) before and after."""
_GAINED, _SAME, _HARMED = COLOURS[0], "#8a8a8a", COLOURS[1]


def batches_section(scores: Scores) -> Section:
    """Return the share of batches that adaptation helped or harmed, by task loss."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for run, rows in _traces(scores, "batches.parquet"):
        for row in rows:
            if row["split"] in SPLITS and _has_losses(row):
                groups[run.setting.task, row["split"], run.setting.method].append(row)
    title = "Gain or harm, batch by batch"
    if not groups:
        return Section(title, ("Left out: no run left `batches.parquet`.",))
    bars = []
    table_rows: list[tuple[str, ...]] = []
    for task, split, mode in _sorted_groups(scores, groups):
        of = groups[task, split, mode]
        labels = (task, SPLITS[split], mode)
        bars.append((", ".join(labels), _outcomes(of)))
        table_rows.append((*labels, steps_text(row["steps"] for row in of), *_batch_cells(of)))
    kinds = (Style("gained", _GAINED), Style("unchanged", _SAME), Style("harmed", _HARMED))
    caption = "Share of batches whose task loss fell, stayed or rose; all encoders and seeds."
    header = (
        *("task", "split", "method", "K", "batches", "gained", "harmed", "rolled back"),
        *("median gain", "worst", "best", "moved", "s a batch"),
    )
    table = Table(
        "Gain of a batch as a share of its task loss before", header, tuple(table_rows), 4
    )
    note = (
        "`moved` is the norm of what the steps changed the adapted parameters by, as a share of "
        "their own norm; the median over batches."
    )
    return Section(title, (Figure(caption, charts.shares(bars, kinds, caption)), table, note))


def steps_text(steps: Iterable[int | None]) -> str:
    """Return the different K of runs or batches, and what it means where all are 0."""
    found = set(steps)
    if found == {0}:
        return NOT_ADAPTED
    numbers = [str(k) for k in sorted(k for k in found if k is not None)]
    return ", ".join([*numbers, BY_BATCH] if None in found else numbers)


def _outcomes(rows: Sequence[dict[str, Any]]) -> list[float]:
    """Return the shares of batches that gained, stayed and were harmed."""
    gains = [row["task_loss_before"] - row["task_loss_after"] for row in rows]
    parts = (sum(g > 0 for g in gains), sum(g == 0 for g in gains), sum(g < 0 for g in gains))
    return [part / len(rows) for part in parts]


def _batch_cells(rows: Sequence[dict[str, Any]]) -> list[str]:
    gained, _, harmed = _outcomes(rows)
    rolled = sum(bool(row["rolled_back"]) for row in rows) / len(rows)
    relative = sorted(
        (row["task_loss_before"] - row["task_loss_after"]) / max(row["task_loss_before"], 1e-12)
        for row in rows
    )
    middle = len(rows) // 2
    moved = sorted(row["moved"] for row in rows)[middle]
    return [
        str(len(rows)),
        *(f"{share * 100:.0f} %" for share in (gained, harmed, rolled)),
        *(f"{signed(100 * v, 1)} %" for v in (relative[middle], relative[0], relative[-1])),
        f"{number(100 * moved, 3)} %",
        number(math.fsum(row["seconds"] for row in rows) / len(rows), 2),
    ]


def _has_losses(row: dict[str, Any]) -> bool:
    """Whether the batch had labels, so that before and after mean something."""
    ends = (row["task_loss_before"], row["task_loss_after"])
    return all(end is not None and math.isfinite(end) for end in ends)


def reconstruction_section(scores: Scores) -> Section:
    """Return each modality's reconstruction before and after adaptation, on the test splits."""
    groups: dict[tuple[str, str, str], dict[str, list[dict[str, Any]]]] = {}
    steps: dict[tuple[str, str, str], set[int | None]] = defaultdict(set)
    for run, rows in _traces(scores, "reconstruction.parquet"):
        for row in rows:
            if row["split"] in SPLITS and row["after"] is not None:
                key = (run.setting.task, row["split"], run.setting.method)
                groups.setdefault(key, defaultdict(list))[row["modality"]].append(row)
                steps[key].add(run.row["steps"])
    title = "Reconstruction before and after"
    if not groups:
        return Section(title, ("Left out: no adapted run left `reconstruction.parquet`.",))
    panels: dict[str, list[tuple[str, Ends]]] = {}
    table: list[tuple[str, ...]] = []
    for task, split, mode in _sorted_groups(scores, groups):
        by_name = groups[task, split, mode]
        ends: Ends = {}
        for name, of in by_name.items():
            before, after = (_end(of, end) for end in ("before", "after"))
            ends[name] = before, after
            metric = {"r2": "R²"}.get(of[0]["metric"], "accuracy")
            texts = (spread(*before), spread(*after), signed(after[0] - before[0], 4))
            known = steps_text(steps[task, split, mode])
            table.append((task, SPLITS[split], mode, known, name, metric, *texts))
        panels.setdefault(f"{task}, {SPLITS[split]}", []).append((mode, ends))
    caption = "R² or class accuracy of each modality, mean over encoders and seeds."
    header = ("task", "split", "method", "K", "modality", "metric", "before", "after", "gain")
    numbers = Table(
        "Reconstruction, mean ± standard error over runs", header, tuple(table), 6, True
    )
    drawn = charts.dots([_reconstruction_panel(*panel) for panel in panels.items()], caption)
    return Section(title, (Figure(caption, drawn), numbers))


def _end(rows: Sequence[dict[str, Any]], end: str) -> tuple[float, float]:
    return mean_and_error(row[end] for row in rows if math.isfinite(row[end]))


def _reconstruction_panel(title: str, modes: Sequence[tuple[str, Ends]]) -> Panel:
    names = list(dict.fromkeys(name for _, ends in modes for name in ends))
    before = Style("before (JT)", _SAME, "circle", True)
    first = dict(reversed([(name, end) for _, ends in modes for name, (end, _) in ends.items()]))
    series = [(before, _points(names, first))]
    for mode, ends in modes:
        drawn = Style(f"after {mode}", MODE_COLOURS[mode], MODE_SHAPES[mode])
        series.append((drawn, _points(names, {name: end for name, (_, end) in ends.items()})))
    return Panel(title, "R² or class accuracy", tuple(names), tuple(series))


def _points(names: Sequence[str], ends: Mapping[str, tuple[float, float]]) -> tuple[Point, ...]:
    return tuple(Point(i, ends[name][0]) for i, name in enumerate(names) if name in ends)


def steps_section(scores: Scores) -> Section:
    """Return the K that each run chose, and which K was best batch by batch on validation."""
    runs = [run for run in scores.runs if run.setting.method in ADAPTED]
    title = "Chosen number of adaptation steps"
    if not runs:
        return Section(title, ("Left out: no run adapted.",))
    chosen: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        chosen[run.setting.task, run.setting.encoder, run.setting.method].append(run)
    best = {
        group: Counter(
            row["best"] for run in of for row in _batches(run) if row["best"] is not None
        )
        for group, of in chosen.items()
    }
    seen = sorted({k for counts in best.values() for k in counts})
    rows = []
    for group, of in chosen.items():
        total = sum(best[group].values())
        parts = [f"{100 * best[group][k] / total:.0f} %" if total else ABSENT for k in seen]
        steps = ", ".join(_steps_of(run) for run in of)
        rates = ", ".join(f"{run.row['lr']:g}" for run in of)
        rows.append((*group, seen_by(group[2]), steps, rates, *parts))
    columns = ("seen", "K by seed", "rate by seed", *(f"{k} best" for k in seen))
    header = ("task", "encoder", "method", *columns)
    caption = (
        "K and learning rate of each seed, and the share of validation batches of which each K was "
        "the best; where each test batch has its own K, the median and the range"
    )
    return Section(title, (Table(caption, header, tuple(rows), n_labels=4),))


def _steps_of(run: Run) -> str:
    """Return a run's K; where batches have each their own, their median and range."""
    if run.row["steps"] is not None:
        return str(run.row["steps"])
    steps = sorted(row["steps"] for row in _batches(run) if row["split"] in SPLITS)
    return f"{steps[len(steps) // 2]} ({steps[0]}–{steps[-1]})" if steps else BY_BATCH


def _batches(run: Run) -> list[dict[str, Any]]:
    return read_trace(run.folder, "batches.parquet", BATCHES)


def _traces(scores: Scores, name: str) -> Iterable[tuple[Run, list[dict[str, Any]]]]:
    schema = {"batches.parquet": BATCHES, "reconstruction.parquet": RECONSTRUCTION}[name]
    for run in scores.runs:
        if run.setting.method in ADAPTED:
            yield run, read_trace(run.folder, name, schema)


def _sorted_groups(
    scores: Scores, groups: Iterable[tuple[str, str, str]]
) -> list[tuple[str, str, str]]:
    order = (scores.tasks, list(SPLITS), list(ADAPTED))
    return sorted(
        groups, key=lambda g: tuple(names.index(part) for names, part in zip(order, g, strict=True))
    )
