"""Sections on where the errors are: residuals by size of the target, species by frequency."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mmearth.benchmark.canaries import BASELINE
from mmearth.benchmark.metrics import average_precisions
from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.report import charts
from mmearth.benchmark.report.cells import SPLITS, WHOLE, Scores, in_order, method_styles, unit_of
from mmearth.benchmark.report.charts import Panel, Point
from mmearth.benchmark.report.content import Figure, Section, Table, number, signed
from mmearth.benchmark.significance import mean_and_error

BINS: dict[str, tuple[float, ...]] = {
    "biomass": (0, 200, 400, 600),
    "soil_nitrogen": (0, 5, 10, 20, 30),
    "soil_organic_carbon": (0, 100, 200, 300, 400, 600),
    "soil_pH": (3, 4, 5, 7, 8, 9),
}
"""Edges of target bins, in the task's unit; targets beyond have bins too.

MMEarth-Bench §6 has other edges for each test split: these are both together, so that the splits
compare and its bins are sums of these.
"""

GROUPS = {"dominant": (0, 40), "occasional": (40, 60), "infrequent": (60, 80), "rare": (80, 100)}
"""Species ids (begin, end excl) from the most to the least frequent (MMEarth-Bench §6)."""

_Errors = dict[tuple[str, str, int], list[tuple[int, float, float]]]


def residuals_section(scores: Scores) -> Section:
    """Return mean residual and RMSE by bin of the target, for regression tasks."""
    panels = []
    rows: list[tuple[str, ...]] = []
    for task, split in product(BINS, SPLITS):
        errors = _errors(scores, task, split)
        if errors:
            pairs = _pairs((encoder, method) for encoder, method, _ in errors)
            panels.append(_residual_panel(task, split, errors))
            rows.extend(_residual_rows(task, split, errors, pairs))
    title = "Residuals by size of the target"
    if not panels:
        return Section(title, ("Left out: no run of a regression task left predictions.",))
    lead = (
        "Prediction minus target: below zero is an underestimate. A model that shrinks to the "
        "mean overestimates the first bins and underestimates the last ones."
    )
    caption = (
        "Mean residual by bin of the target, over encoders and seeds; bars are standard errors."
    )
    header = ("task", "split", "bin", "encoder", "method", "values", "mean residual", "RMSE")
    table = Table("Residuals, mean over seeds, in the task's unit", header, tuple(rows), 5, True)
    drawn = charts.lines(panels, caption, x_axis="target, in the unit of the residual")
    return Section(title, (lead, Figure(caption, drawn), table))


def _errors(scores: Scores, task: str, split: str) -> _Errors:
    """Return (values, mean residual, RMSE) of each seed by (encoder, method, bin)."""
    errors: _Errors = defaultdict(list)
    for encoder, method, predictions in _all_predictions(scores, task, split):
        residual = (predictions.prediction - predictions.target).ravel()
        place = np.searchsorted(BINS[task], predictions.target.ravel(), side="right")
        for i in np.unique(place).tolist():
            inside = residual[place == i]
            rmse = math.sqrt(float((inside**2).mean()))
            errors[encoder, method, i].append((inside.size, float(inside.mean()), rmse))
    return errors


def _bin_name(edges: Sequence[float], i: int) -> str:
    if i == 0:
        return f"< {edges[0]:g}"
    return f"≥ {edges[-1]:g}" if i == len(edges) else f"{edges[i - 1]:g}–{edges[i]:g}"


def _residual_panel(task: str, split: str, errors: _Errors) -> Panel:
    """Return a line a method: mean over encoders and seeds."""
    present = sorted({i for _, _, i in errors})
    by_method: dict[tuple[str, int], list[float]] = defaultdict(list)
    for (_, method, i), of in errors.items():
        by_method[method, i].extend(mean for _, mean, _ in of)
    series = []
    for method, drawn in method_styles(in_order(method for method, _ in by_method)).items():
        ends = [mean_and_error(by_method[method, i]) for i in present]
        series.append((drawn, tuple(Point(k, m, m - e, m + e) for k, (m, e) in enumerate(ends))))
    labels = tuple(_bin_name(BINS[task], i) for i in present)
    axis = f"mean residual / {unit_of(task)}"
    return Panel(f"{task}, {SPLITS[split]}", axis, labels, tuple(series), zero=True)


def _residual_rows(
    task: str, split: str, errors: _Errors, pairs: Sequence[tuple[str, str]]
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for i in sorted({i for _, _, i in errors}):
        for encoder, method in pairs:
            of = errors.get((encoder, method, i), [])
            if of:
                mean, rmse = (mean_and_error(seed[k] for seed in of)[0] for k in (1, 2))
                name = f"{_bin_name(BINS[task], i)} {unit_of(task)}"
                row = (task, SPLITS[split], name, encoder, method, str(of[0][0]))
                rows.append((*row, signed(mean, 2), number(rmse, 2)))
    return rows


def species_section(scores: Scores) -> Section:
    """Return average precision by how frequent the species is."""
    panels = []
    rows: list[tuple[str, ...]] = []
    for split in SPLITS:
        found: dict[tuple[str, str], list[NDArray[np.float64]]] = defaultdict(list)
        for encoder, method, predictions in _all_predictions(scores, "species", split):
            found[encoder, method].append(_group_means(predictions))
        if not found:
            continue
        pairs = _pairs(found)
        for pair in pairs:
            ends = _ends(found[pair])
            cells = (number(m) + (f" ± {number(e)}" if math.isfinite(e) else "") for m, e in ends)
            rows.append((SPLITS[split], *pair, *cells))
        by_method: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        for encoder, method in pairs:
            by_method[method].extend(found[encoder, method])
        series = tuple(
            (drawn, tuple(Point(g, m, m - e, m + e) for g, (m, e) in enumerate(_ends(of))))
            for of, drawn in zip(
                by_method.values(), method_styles(list(by_method)).values(), strict=True
            )
        )
        panels.append(Panel(f"species, {SPLITS[split]}", "mean AP", tuple(GROUPS), series))
    title = "Species by frequency"
    if not panels:
        return Section(title, ("Left out: no run of the species task left predictions.",))
    caption = (
        "Mean AP by frequency of the species, over encoders and seeds; bars are standard errors."
    )
    header = ("split", "encoder", "method", *(f"{n} ({e - b})" for n, (b, e) in GROUPS.items()))
    table = Table("Mean AP, mean over seeds ± standard error", header, tuple(rows), 3, True)
    drawn = charts.lines(panels, caption, x_axis="species, from frequent to rare")
    return Section(title, (Figure(caption, drawn), table))


def _ends(runs: Sequence[NDArray[np.float64]]) -> list[tuple[float, float]]:
    """Return mean and standard error over runs, by group."""
    return [mean_and_error(run[g] for run in runs) for g in range(len(GROUPS))]


def _group_means(predictions: Predictions) -> NDArray[np.float64]:
    """Return mean AP a group, (4,); NaN where no species of the group is present."""
    precisions = average_precisions(predictions, np.ones((1, len(predictions.key))))[0]
    means = []
    for begin, end in GROUPS.values():
        defined = precisions[begin:end][~np.isnan(precisions[begin:end])]
        means.append(float(defined.mean()) if defined.size else math.nan)
    return np.array(means)


def _all_predictions(
    scores: Scores, task: str, split: str
) -> Iterable[tuple[str, str, Predictions]]:
    for run in scores.runs:
        s = run.setting
        if s.task == task and s.fraction == WHOLE:
            predictions = run.predictions(split)
            if predictions is not None:
                yield s.encoder, s.method, predictions


def _pairs(found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    pairs = set(found)
    order = in_order(method for _, method in pairs)
    return sorted(pairs, key=lambda pair: (pair[0] == BASELINE, pair[0], order.index(pair[1])))
