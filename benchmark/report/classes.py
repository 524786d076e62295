"""Section on classifications: how well each class is found, and what it is taken for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.report import charts
from mmearth.benchmark.report.breakdown import all_predictions, in_pairs
from mmearth.benchmark.report.cells import SPLITS, Scores, in_order, method_styles
from mmearth.benchmark.report.charts import Panel, Point
from mmearth.benchmark.report.content import ABSENT, Figure, Section, Table, number
from mmearth.catalog.task import Task

_Confusions = Mapping[tuple[str, str], NDArray[np.int64]]
"""By (encoder, method): values of all its seeds by true class and predicted class."""


def classes_section(scores: Scores) -> Section | None:
    """Return each class's recall, precision and IoU; None without a classification."""
    tasks = [scores.task(name) for name in scores.tasks]
    tasks = [task for task in tasks if task.kind == "classification"]
    panels = []
    rows: list[tuple[str, ...]] = []
    for task, split in product(tasks, SPLITS):
        found: dict[tuple[str, str], NDArray[np.int64]] = {}
        for encoder, method, predictions in all_predictions(scores, task.name, split):
            before = found.get((encoder, method), 0)
            found[encoder, method] = confusion(predictions) + before
        if found:
            panels.append(_panel(f"{task.name}, {SPLITS[split]}", task, found))
            rows.extend((task.name, SPLITS[split], *row) for row in _rows(task, found))
    title = "Classes"
    if not panels:
        nothing = Section(title, ("Left out: no run of a classification left predictions.",))
        return nothing if tasks else None
    caption = "Share of each class's values that are found, of all encoders and seeds together."
    header = (
        *("task", "split", "class", "encoder", "method", "values"),
        *("recall", "precision", "IoU", "else taken for"),
    )
    table = Table("Each class, all seeds together", header, tuple(rows), 5, True)
    return Section(title, (Figure(caption, charts.dots(panels, caption)), table))


def confusion(predictions: Predictions) -> NDArray[np.int64]:
    """Return a classification's values by class, (true class, predicted class)."""
    n = len(predictions.task.outputs)
    cells = predictions.target[:, 0].astype(np.int64) * n + predictions.classes
    return np.bincount(cells, minlength=n * n).reshape(n, n)


def _panel(title: str, task: Task, found: _Confusions) -> Panel:
    series = []
    for method, drawn in method_styles(in_order(method for _, method in found)).items():
        values = np.sum([each for pair, each in found.items() if pair[1] == method], axis=0)
        recalls = (_share(row[i], row.sum()) for i, row in enumerate(values))
        series.append((drawn, tuple(Point(i, recall) for i, recall in enumerate(recalls))))
    return Panel(title, "recall", task.outputs, tuple(series))


def _rows(task: Task, found: _Confusions) -> Iterator[tuple[str, ...]]:
    for i, pair in product(range(len(task.outputs)), in_pairs(found)):
        values = found[pair]
        hits, support, predicted = values[i, i], values[i].sum(), values[:, i].sum()
        shares = (_share(hits, of) for of in (support, predicted, support + predicted - hits))
        wrong = np.where(np.arange(len(values)) == i, 0, values[i])
        other = f"{task.outputs[wrong.argmax()]} ({100 * _share(wrong.max(), support):.0f} %)"
        texts = (*map(number, shares), other if wrong.any() else ABSENT)
        yield (task.outputs[i], *pair, str(support), *texts)


def _share(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else math.nan
