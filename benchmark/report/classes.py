"""Section on classifications: how well each class is found, and what it is taken for."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.benchmark.predictions import Predictions
from mmearth.benchmark.report import charts
from mmearth.benchmark.report.breakdown import all_predictions, in_pairs
from mmearth.benchmark.report.cells import SPLITS, Scores, in_order, method_styles
from mmearth.benchmark.report.charts import Panel, Point
from mmearth.benchmark.report.content import ABSENT, Figure, Section, Table, number
from mmearth.benchmark.significance import mean_and_error
from mmearth.catalog.task import Task


@dataclass(frozen=True, slots=True)
class Confusion:
    """Values of one run and split by (true class, predicted class), those pairs that there are."""

    pairs: Mapping[tuple[int, int], int]
    """Values of each."""
    support: NDArray[np.int64]
    """(class,) values whose true class it is."""
    predicted: NDArray[np.int64]
    """(class,) values whose predicted class it is."""

    def recall(self, i: int) -> float:
        """Return the share of a class's values that are found; NaN where it has none."""
        return self._share(i, int(self.support[i]))

    def precision(self, i: int) -> float:
        """Return the share of what is taken for a class that is it; NaN where nothing is."""
        return self._share(i, int(self.predicted[i]))

    def iou(self, i: int) -> float:
        """Return a class's intersection over union; NaN where it is neither true nor predicted."""
        return self._share(i, int(self.support[i] + self.predicted[i]) - self.pairs.get((i, i), 0))

    def _share(self, i: int, of: int) -> float:
        return self.pairs.get((i, i), 0) / of if of else math.nan


def confusion(predictions: Predictions) -> Confusion:
    """Return the confusion of a classification's predictions."""
    n = len(predictions.task.outputs)
    truth, said = predictions.target[:, 0].astype(np.int64), predictions.classes
    cells, counts = np.unique(truth * n + said, return_counts=True)
    found = zip(cells.tolist(), counts.tolist(), strict=True)
    pairs = {divmod(cell, n): count for cell, count in found}
    return Confusion(pairs, np.bincount(truth, minlength=n), np.bincount(said, minlength=n))


def classes_section(scores: Scores) -> Section | None:
    """Return each class's recall, precision and IoU; None without a classification."""
    names = [name for name in scores.tasks if scores.task(name).kind == "classification"]
    panels = []
    rows: list[tuple[str, ...]] = []
    for task in map(scores.task, names):
        for split in SPLITS:
            found: dict[tuple[str, str], list[Confusion]] = defaultdict(list)
            for encoder, method, predictions in all_predictions(scores, task.name, split):
                found[encoder, method].append(confusion(predictions))
            if found:
                panels.append(_panel(f"{task.name}, {SPLITS[split]}", task, found))
                rows.extend((task.name, SPLITS[split], *row) for row in _rows(task, found))
    title = "Classes"
    if not panels:
        nothing = Section(title, ("Left out: no run of a classification left predictions.",))
        return nothing if names else None
    caption = "Share of each class's values that are found, over encoders and seeds."
    header = (
        *("task", "split", "class", "encoder", "method", "values"),
        *("recall", "precision", "IoU", "else taken for"),
    )
    table = Table("Each class, mean over seeds", header, tuple(rows), 5, True)
    return Section(title, (Figure(caption, charts.dots(panels, caption)), table))


def _panel(title: str, task: Task, found: Mapping[tuple[str, str], Sequence[Confusion]]) -> Panel:
    by_method: dict[str, list[Confusion]] = defaultdict(list)
    for (_, method), of in found.items():
        by_method[method].extend(of)
    series = []
    for method, drawn in method_styles(in_order(by_method)).items():
        recalls = (mean_and_error(_known(by_method[method], i)) for i in range(len(task.outputs)))
        points = (Point(i, m, m - e, m + e) for i, (m, e) in enumerate(recalls))
        series.append((drawn, tuple(points)))
    return Panel(title, "recall", task.outputs, tuple(series))


def _known(runs: Sequence[Confusion], i: int) -> list[float]:
    return [recall for recall in (run.recall(i) for run in runs) if math.isfinite(recall)]


def _rows(
    task: Task, found: Mapping[tuple[str, str], Sequence[Confusion]]
) -> Iterator[tuple[str, ...]]:
    for i, name in enumerate(task.outputs):
        for pair in in_pairs(found):
            runs = found[pair]
            scores = (
                number(mean_and_error(getattr(run, each)(i) for run in runs)[0])
                for each in ("recall", "precision", "iou")
            )
            yield (name, *pair, str(int(runs[0].support[i])), *scores, _taken_for(task, runs, i))


def _taken_for(task: Task, runs: Sequence[Confusion], i: int) -> str:
    """Return the class that a class is most often taken for, with the share of its values."""
    wrong: dict[int, int] = defaultdict(int)
    for run in runs:
        for (truth, said), count in run.pairs.items():
            if truth == i != said:
                wrong[said] += count
    if not wrong:
        return ABSENT
    said = max(sorted(wrong), key=lambda each: wrong[each])
    share = wrong[said] / sum(int(run.support[i]) for run in runs)
    return f"{task.outputs[said]} ({100 * share:.0f} %)"
