"""The results table as the report needs it: runs, and means over seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmearth.benchmark.canaries import BASELINE
from mmearth.benchmark.config import METHODS
from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.paired import Paired, paired
from mmearth.benchmark.predictions import Predictions, read_predictions
from mmearth.benchmark.report.svg import COLOURS, FAINT, INK, SHAPES, Style
from mmearth.benchmark.results import Row, Setting
from mmearth.benchmark.significance import Delta, mean_and_error
from mmearth.benchmark.traces import predictions_path
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.task import Task

SPLITS = {"random_test": "random", "geographic_test": "geographic"}
"""The test splits and how the report calls them."""
WHOLE = 100
"""Percent of the train split of all sections but the label-efficiency curves."""

Place = tuple[str, str, str, int, str, str]
"""(task, encoder, method, fraction, split, metric)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One score over all its seeds."""

    mean: float
    """Over seeds."""
    error: float
    """Standard error over seeds; NaN with one seed."""
    low: float
    """Lower end of the 95 % bootstrap interval, mean over seeds."""
    high: float
    """Upper end."""
    n_seeds: int
    """Seeds."""
    n: int
    """Samples scored."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run."""

    setting: Setting
    """What it was asked."""
    folder: Path
    """Where its traces are; may not exist."""
    row: Row
    """Any of its rows: for the columns that all of them share."""
    task: Task
    """What it was to predict."""

    def predictions(self, split: str) -> Predictions | None:
        """Return its predictions of a split; None where it left none, or none that are finite."""
        path = predictions_path(self.folder, split)
        if not path.exists():
            return None
        found = read_predictions(path, self.task)
        return found if np.isfinite(found.prediction).all() else None


@dataclass(frozen=True, slots=True)
class Scores:
    """All that the sections are made of."""

    table: pa.Table
    """The results as they came."""
    catalogue: Catalogue
    """Of the dataset."""
    cells: dict[Place, Cell]
    """Means over seeds."""
    runs: tuple[Run, ...]
    """Sorted by setting, in the report's order of tasks and methods."""

    @property
    def tasks(self) -> list[str]:
        """Tasks that have results, in the dataset's order."""
        present = {run.setting.task for run in self.runs}
        return [task for task in self.catalogue.tasks if task in present]

    def task(self, name: str) -> Task:
        """Return one of them."""
        return self.catalogue.tasks[name]

    @property
    def encoders(self) -> list[str]:
        """Encoders that have results, by name, without the baselines."""
        return sorted({run.setting.encoder for run in self.runs} - {BASELINE})

    @property
    def methods(self) -> list[str]:
        """Methods of encoders that have results, in the report's order."""
        return in_order(run.setting.method for run in self.runs if run.setting.encoder != BASELINE)

    def splits(self, task: str) -> list[str]:
        """Return the test splits that a task has results on."""
        present = {place[4] for place in self.cells if place[0] == task}
        return [split for split in SPLITS if split in present]

    def headline(self, task: str, encoder: str, method: str, split: str) -> Cell | None:
        """Return the task's first metric with the whole train split."""
        metric = self.task(task).metrics[0]
        return self.cells.get((task, encoder, method, WHOLE, split, metric))

    def of(self, task: str, encoder: str, method: str) -> list[Run]:
        """Return the runs with the whole train split, by seed."""
        asked = (task, encoder, method, WHOLE)
        settings = [(run, run.setting) for run in self.runs]
        return [run for run, s in settings if (s.task, s.encoder, s.method, s.fraction) == asked]

    def paired(self, found: Sequence[Delta], reference: str = "JT") -> Paired | None:
        """Return the difference over seeds of one encoder, mode and split, with its intervals.

        Args:
            found: Its differences, one a seed.
            reference: The method that they are to.

        Returns:
            None where predictions lack or are not finite.
        """
        first = found[0]
        modes, references = (
            {run.setting.seed: run for run in self.of(first.task, first.encoder, method)}
            for method in (first.mode, reference)
        )
        pairs = []
        for delta in found:
            one = modes[delta.seed].predictions(first.split)
            other = references[delta.seed].predictions(first.split)
            if one is None or other is None:
                return None
            pairs.append((one, other))
        return paired(first.metric, [one for one, _ in pairs], [other for _, other in pairs])


def scores_of(results: pa.Table, catalogue: Catalogue, runs: Path) -> Scores:
    """Return the results by cell and run.

    Raises:
        ConfigError: There is no row, one of a task that the dataset lacks, or one setting was run
            with two configurations.
    """
    rows = results.to_pylist()
    if not rows:
        raise ConfigError("the results hold no row; run `mmearth benchmark run` first")
    found = _runs(rows, catalogue, runs)
    for one, other in pairwise(found):
        a, b = one.setting, other.setting
        if _cell_of(a) == _cell_of(b) and a.config_hash != b.config_hash:
            raise ConfigError(
                f"{a.task} {a.encoder} {a.method} at {a.fraction} %, seed {a.seed} was run with "
                f"two configurations, {a.config_hash} and {b.config_hash}; a mean over both means "
                "nothing: report each from a folder of its own"
            )
    groups: dict[Place, list[Row]] = defaultdict(list)
    for row in rows:
        names = ("task", "encoder", "method", "fraction", "split", "metric")
        if row["output"] is None:
            groups[tuple(row[name] for name in names)].append(row)
    cells = {place: _cell(of) for place, of in groups.items()}
    return Scores(results, catalogue, cells, tuple(found))


def in_order(methods: Iterable[str]) -> list[str]:
    """Return methods once each, in the report's order."""
    present = set(methods)
    return [m for m in METHODS if m in present] + sorted(present - set(METHODS))


def axis_of(task: Task, metric: str) -> str:
    """Return what an axis of a task's metric is called, with the unit where it has one."""
    known = METRICS[metric]
    return with_unit(known.title, task) if known.has_unit else known.title


def with_unit(words: str, task: Task) -> str:
    """Return a quantity of a task with its unit behind it, unless it has none or several."""
    units = {band.unit for band in task.target.bands} - {"1"}
    return f"{words} / {units.pop()}" if len(units) == 1 else words


def styles_of(pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Style]:
    """Return how each (encoder, method) is drawn: an encoder has a colour, a method a dash.

    Baselines are black or grey and dotted, probes hollow and dashed.
    """
    encoders = list(dict.fromkeys(encoder for encoder, _ in pairs if encoder != BASELINE))
    baselines = [method for encoder, method in pairs if encoder == BASELINE]
    styles = {}
    for encoder, method in pairs:
        if encoder == BASELINE:
            i = baselines.index(method)
            colour, shape = (INK, FAINT)[i % 2], SHAPES[i % len(SHAPES)]
            styles[encoder, method] = Style(method, colour, shape, True, "1.5 3")
        else:
            i = encoders.index(encoder)
            colour, shape = COLOURS[i % len(COLOURS)], SHAPES[i // len(COLOURS) % len(SHAPES)]
            probe = method == "LP"
            label = f"{encoder} {method}"
            styles[encoder, method] = Style(label, colour, shape, probe, "5 3" if probe else "")
    return styles


def method_styles(methods: Sequence[str]) -> dict[str, Style]:
    """Return how methods are drawn where encoders are averaged over; others are baselines."""
    styles = {}
    for method in methods:
        if method in METHODS:
            i = METHODS.index(method)
            styles[method] = Style(method, COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)])
        else:
            styles[method] = styles_of([(BASELINE, m) for m in methods if m not in METHODS])[
                BASELINE, method
            ]
    return styles


def _runs(rows: Sequence[Row], catalogue: Catalogue, folder: Path) -> list[Run]:
    names = ("task", "encoder", "method", "fraction", "seed", "config_hash")
    first: dict[Setting, Row] = {}
    for row in rows:
        first.setdefault(Setting(*(row[name] for name in names)), row)
    place = {name: i for i, name in enumerate(METHODS)}
    tasks = list(catalogue.tasks)
    for name in {row["task"] for row in rows}:
        catalogue.task(name)

    def order(setting: Setting) -> tuple[int, str, int, Setting]:
        method = place.get(setting.method, len(place))
        return tasks.index(setting.task), setting.encoder, method, setting

    ordered = sorted(first, key=order)
    return [Run(s, folder / s.config_hash, first[s], catalogue.tasks[s.task]) for s in ordered]


def _cell_of(setting: Setting) -> tuple[str, str, str, int, int]:
    return setting.task, setting.encoder, setting.method, setting.fraction, setting.seed


def _cell(rows: Sequence[Row]) -> Cell:
    rows = sorted(rows, key=lambda row: row["seed"])
    mean, error = mean_and_error(row["value"] for row in rows)
    ends = [mean_and_error(row[end] for row in rows)[0] for end in ("low", "high")]
    if not math.isfinite(mean):
        error = math.nan
    return Cell(mean, error, ends[0], ends[1], len(rows), rows[0]["n"])
