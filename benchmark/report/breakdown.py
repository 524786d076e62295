"""Sections on where the errors are: residuals by size of the target, labels by frequency."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mmearth.benchmark.canaries import BASELINE
from mmearth.benchmark.metrics import average_precisions
from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.report import charts
from mmearth.benchmark.report.cells import (
    SPLITS,
    WHOLE,
    Scores,
    in_order,
    method_styles,
    with_unit,
)
from mmearth.benchmark.report.charts import Panel, Point
from mmearth.benchmark.report.content import Figure, Section, Table, number, signed, spread
from mmearth.benchmark.significance import mean_and_error
from mmearth.catalog.task import Task

N_BINS = 5
"""Of the target: the smallest fifth of the values of both test splits to the largest."""

GROUPS = {
    "dominant": (0, 0.4),
    "occasional": (0.4, 0.6),
    "infrequent": (0.6, 0.8),
    "rare": (0.8, 1),
}
"""Shares (begin, end excl) of the labels from the most to the least frequent (MMEarth-Bench §6)."""

_Errors = dict[tuple[str, str, int], list[tuple[int, float, float]]]
"""(values, mean residual, RMSE) of each seed by (encoder, method, bin)."""
Named = tuple[str, str, Predictions]
"""(encoder, method, its predictions of a split)."""


def residuals_section(scores: Scores) -> Section | None:
    """Return mean residual and RMSE by bin of the target; None without a regression task."""
    tasks = [scores.task(name) for name in scores.tasks if scores.task(name).kind == "regression"]
    panels = []
    rows: list[tuple[str, ...]] = []
    for task, split in product(tasks, SPLITS):
        for name, (of, edges, errors) in _by_output(scores, task, split).items():
            panels.append(_residual_panel(f"{name}, {SPLITS[split]}", of, edges, errors))
            rows.extend((name, SPLITS[split], *row) for row in _residual_rows(edges, errors))
    title = "Residuals by size of the target"
    if not panels:
        nothing = Section(title, ("Left out: no run of a regression task left predictions.",))
        return nothing if tasks else None
    lead = (
        "Prediction minus target: below zero is an underestimate. Each bin holds a fifth of the "
        "values of both test splits together. A model that shrinks to the mean overestimates the "
        "first bins and underestimates the last ones."
    )
    caption = (
        "Mean residual by bin of the target, over encoders and seeds; bars are standard errors."
    )
    header = ("task", "split", "bin", "encoder", "method", "values", "mean residual", "RMSE")
    table = Table("Residuals, mean over seeds, in the task's unit", header, tuple(rows), 5, True)
    drawn = charts.lines(panels, caption, x_axis="target, in the unit of the residual")
    return Section(title, (lead, Figure(caption, drawn), table))


def _by_output(
    scores: Scores, task: Task, split: str
) -> dict[str, tuple[Task, list[float], _Errors]]:
    """Return each output of a regression as a task, the edges of its bins, and its errors."""
    edges_of = _edges_by_output(scores, task)
    found: dict[str, tuple[Task, list[float], _Errors]] = {}
    for encoder, method, predictions in all_predictions(scores, task.name, split):
        for i, output in enumerate(task.outputs):
            name = task.name if len(task.outputs) == 1 else f"{task.name} {output}"
            one = predictions.of_output(i)
            if name not in found:
                found[name] = one.task, edges_of[i], defaultdict(list)
            _, edges, errors = found[name]
            for place, error in _errors(one, edges):
                errors[encoder, method, place].append(error)
    return found


def _edges_by_output(scores: Scores, task: Task) -> list[list[float]]:
    """Return the inner edges of each output's bins, the same for both test splits."""
    targets = []
    for split in SPLITS:
        first = next(iter(all_predictions(scores, task.name, split)), None)
        if first is not None:
            targets.append(first[2])
    return [
        _edges(np.concatenate([each.of_output(i).target.ravel() for each in targets]))
        if targets
        else []
        for i in range(len(task.outputs))
    ]


def _edges(target: NDArray[np.float64]) -> list[float]:
    """Return the inner edges of the bins, rounded to a hundredth of their span."""
    edges = np.quantile(target, np.arange(1, N_BINS) / N_BINS)
    span = float(np.ptp(edges))
    digits = 2 - math.floor(math.log10(span)) if span > 0 else 6
    return sorted({round(float(edge), digits) for edge in edges})


def _errors(
    predictions: Predictions, edges: Sequence[float]
) -> Iterator[tuple[int, tuple[int, float, float]]]:
    """Yield of each bin that has values: its number, and (values, mean residual, RMSE)."""
    residual = (predictions.prediction - predictions.target).ravel()
    place = np.searchsorted(edges, predictions.target.ravel(), side="right")
    for i in np.unique(place).tolist():
        inside = residual[place == i]
        yield i, (inside.size, float(inside.mean()), math.sqrt(float((inside**2).mean())))


def _bin_name(edges: Sequence[float], i: int) -> str:
    if i == 0:
        return f"< {edges[0]:g}"
    return f"≥ {edges[-1]:g}" if i == len(edges) else f"{edges[i - 1]:g}–{edges[i]:g}"


def _residual_panel(title: str, task: Task, edges: Sequence[float], errors: _Errors) -> Panel:
    """Return a line a method: mean over encoders and seeds."""
    present = sorted({i for _, _, i in errors})
    by_method: dict[tuple[str, int], list[float]] = defaultdict(list)
    for (_, method, i), of in errors.items():
        by_method[method, i].extend(mean for _, mean, _ in of)
    series = []
    for method, drawn in method_styles(in_order(method for method, _ in by_method)).items():
        ends = [mean_and_error(by_method[method, i]) for i in present]
        series.append((drawn, tuple(Point(k, m, m - e, m + e) for k, (m, e) in enumerate(ends))))
    labels = tuple(_bin_name(edges, i) for i in present)
    return Panel(title, with_unit("mean residual", task), labels, tuple(series), zero=True)


def _residual_rows(edges: Sequence[float], errors: _Errors) -> Iterator[tuple[str, ...]]:
    pairs = in_pairs((encoder, method) for encoder, method, _ in errors)
    for i in sorted({i for _, _, i in errors}):
        for encoder, method in pairs:
            of = errors.get((encoder, method, i), [])
            if of:
                mean, rmse = (mean_and_error(seed[k] for seed in of)[0] for k in (1, 2))
                row = (_bin_name(edges, i), encoder, method, str(of[0][0]))
                yield (*row, signed(mean, 2), number(rmse, 2))


def labels_by_frequency_section(scores: Scores) -> Section | None:
    """Return average precision by how frequent the label is; None without a multi-label task."""
    tasks = [name for name in scores.tasks if scores.task(name).kind == "multilabel"]
    panels = []
    rows: list[tuple[str, ...]] = []
    for task in tasks:
        for split in SPLITS:
            found: dict[tuple[str, str], list[NDArray[np.float64]]] = defaultdict(list)
            for encoder, method, predictions in all_predictions(scores, task, split):
                found[encoder, method].append(_group_means(predictions))
            if found:
                panels.append(_frequency_panel(f"{task}, {SPLITS[split]}", found))
            for pair in in_pairs(found):
                cells = (spread(mean, error) for mean, error in _ends(found[pair]))
                rows.append((task, SPLITS[split], *pair, *cells))
    title = "Labels by frequency"
    if not panels:
        nothing = Section(title, ("Left out: no run of a multi-label task left predictions.",))
        return nothing if tasks else None
    caption = (
        "Mean AP by frequency of the label in the split, over encoders and seeds; bars are "
        "standard errors."
    )
    shares = (f"{name} ({100 * (end - begin):.0f} %)" for name, (begin, end) in GROUPS.items())
    header = ("task", "split", "encoder", "method", *shares)
    table = Table("Mean AP, mean over seeds ± standard error", header, tuple(rows), 4, True)
    drawn = charts.lines(panels, caption, x_axis="labels, from frequent to rare")
    return Section(title, (Figure(caption, drawn), table))


def _frequency_panel(title: str, found: dict[tuple[str, str], list[NDArray[np.float64]]]) -> Panel:
    by_method: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for encoder, method in in_pairs(found):
        by_method[method].extend(found[encoder, method])
    styles = method_styles(list(by_method))
    series = tuple(
        (styles[method], tuple(Point(g, m, m - e, m + e) for g, (m, e) in enumerate(_ends(of))))
        for method, of in by_method.items()
    )
    return Panel(title, "mean AP", tuple(GROUPS), series)


def _ends(runs: Sequence[NDArray[np.float64]]) -> list[tuple[float, float]]:
    """Return mean and standard error over runs, by group."""
    return [mean_and_error(run[g] for run in runs) for g in range(len(GROUPS))]


def _group_means(predictions: Predictions) -> NDArray[np.float64]:
    """Return mean AP a group, (4,); NaN where no label of the group is present."""
    precisions = average_precisions(predictions, np.ones((1, len(predictions.key))))[0]
    frequent = np.argsort(-predictions.target.sum(axis=0), kind="stable")
    ranked = precisions[frequent]
    means = []
    for begin, end in GROUPS.values():
        group = ranked[round(begin * len(ranked)) : round(end * len(ranked))]
        defined = group[~np.isnan(group)]
        means.append(float(defined.mean()) if defined.size else math.nan)
    return np.array(means)


def all_predictions(scores: Scores, task: str, split: str) -> Iterator[Named]:
    """Yield what the runs with the whole train split said of a split, those that left it."""
    for run in scores.runs:
        s = run.setting
        if s.task == task and s.fraction == WHOLE:
            predictions = run.predictions(split)
            if predictions is not None and len(predictions):
                yield s.encoder, s.method, predictions


def in_pairs(found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (encoder, method) once each, in the report's order; baselines come last."""
    pairs = set(found)
    order = in_order(method for _, method in pairs)
    return sorted(pairs, key=lambda pair: (pair[0] == BASELINE, pair[0], order.index(pair[1])))
