"""The plan: labelled places become tiles with a split, before anything is collected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.schema import TILES
from mmearth.catalog.splits import LEFT_OUT, RULES, SPLITS, Assignment
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import UTM_NORTH, UTM_SOUTH, Tile, cell_at, centres, tiles_at
from mmearth.curate.config import RECIPES, BuildConfig
from mmearth.curate.labels import read_labels
from mmearth.curate.overlap import keep_apart
from mmearth.curate.source import Label, Source


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """What became of one task's places."""

    task: str
    """A key of TASKS."""
    n_places: int
    """Places read."""
    n_beyond_utm: int
    """Left out: north of 84° or south of 80° S."""
    n_invalid: int
    """Left out: their value lies outside the task's valid range."""
    n_overlapping: int
    """Left out: they overlap another tile of the task."""
    n_buffer: int
    """Left out: training tiles too near a test."""
    splits: dict[str, int]
    """Tiles by split."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All tiles of a dataset."""

    table: pa.Table
    """Of the schema TILES, sorted by (task, tile)."""
    tasks: tuple[TaskPlan, ...]
    """In the published order."""


def make_plan(config: BuildConfig, source: Source, base: Path) -> Plan:
    """Return the tiles of every task.

    Args:
        config: The build's configuration.
        source: Asked for labels where a task takes its places from there.
        base: Directory that relative paths start from.

    Raises:
        ConfigError: A task has no place that can be a tile.
    """
    parts, reports = [], []
    for task in config.tasks:
        rows, report = _plan_task(task, config, source, base)
        parts.append(rows)
        reports.append(report)
    table = pa.concat_tables(parts).sort_by([("task", "ascending"), ("tile", "ascending")])
    return Plan(table, tuple(reports))


def _plan_task(
    task: str, config: BuildConfig, source: Source, base: Path
) -> tuple[pa.Table, TaskPlan]:
    task_config = config.tasks[task]
    labels = read_labels(task, task_config, source, base, config.seed)
    on_grid = [label for label in labels if _has_zone(label)]
    if not on_grid:
        raise ConfigError(
            f"tasks.{task}: none of its {len(labels)} places lies where UTM is defined, between "
            f"{UTM_SOUTH:g} and {UTM_NORTH:g} degrees north"
        )
    usable = _valid(task, on_grid)
    tiles = tiles_at([label.lon for label in usable], [label.lat for label in usable])
    kept = np.flatnonzero(keep_apart(tiles))
    tiles, placed = [tiles[i] for i in kept], [usable[i] for i in kept]
    rule = task_config.split.rule or RECIPES[config.recipe]
    assignment = RULES[rule](tiles, config.seed, task_config.split.buffer_m)
    table = _table(task, tiles, placed, assignment)
    n_buffer = int(np.count_nonzero(assignment.split == LEFT_OUT))
    report = TaskPlan(
        task,
        len(labels),
        len(labels) - len(on_grid),
        len(on_grid) - len(usable),
        len(usable) - len(tiles),
        n_buffer,
        {name: int(np.count_nonzero(assignment.split == name)) for name in SPLITS},
    )
    return table, report


def _has_zone(label: Label) -> bool:
    return math.isfinite(label.lon) and UTM_SOUTH <= label.lat <= UTM_NORTH


def _valid(task: str, labels: Sequence[Label]) -> list[Label]:
    """Return the labels whose value is one that the task can have."""
    low, high = TASKS[task].valid
    good = [label for label in labels if label.value is None or low <= label.value <= high]
    if not good:
        raise ConfigError(
            f"tasks.{task}: found values like {labels[0].value:g}, expected {low:g} to {high:g} "
            f"{TASKS[task].unit}; check the unit of the labels"
        )
    return good


def _table(
    task: str, tiles: Sequence[Tile], labels: Sequence[Label], assignment: Assignment
) -> pa.Table:
    """Return the rows of one task; tiles left out by the buffer are not in it."""
    lons, lats = centres(tiles)
    many_labels = TASKS[task].kind == "multilabel"
    rows = [
        {
            "task": task,
            "tile": tile.id,
            "epsg": tile.epsg,
            "left": tile.left,
            "top": tile.top,
            "lon": float(lons[i]),
            "lat": float(lats[i]),
            "cell": cell_at(float(lons[i]), float(lats[i])),
            "date": labels[i].date,
            "split": str(assignment.split[i]),
            "train_5": bool(assignment.train_5[i]),
            "train_50": bool(assignment.train_50[i]),
            "target": labels[i].value,
            "species": list(labels[i].species or ()) if many_labels else None,
            "label_id": labels[i].label_id,
        }
        for i, tile in enumerate(tiles)
        if assignment.split[i] != LEFT_OUT
    ]
    return pa.Table.from_pylist(rows, schema=TILES)
