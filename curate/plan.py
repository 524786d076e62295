"""The plan: labelled places become tiles with a split, before anything is collected."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.progress import Progress, silent
from mmearth.catalog.schema import read_table, tiles_schema
from mmearth.catalog.splits import LEFT_OUT, RULES, SPLITS, TESTS, Assignment, given
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tiles, cells_at, centres, lonlat_bounds, tiles_at
from mmearth.catalog.utm import UTM_NORTH, UTM_SOUTH
from mmearth.curate.config import BuildConfig
from mmearth.curate.labels import read_labels
from mmearth.curate.labels.facts import LabelFacts, label_facts
from mmearth.curate.overlap import keep_apart
from mmearth.curate.recipes import EVERY_PRESENCE, SPLIT_RULES
from mmearth.curate.source import Label, Source, label_target
from mmearth.curate.task_config import SplitConfig
from mmearth.curate.told import told

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """What became of one task's places."""

    task: str
    """Its name."""
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
    n_far_buffer: int
    """Of `n_buffer`: those with no tile of a test within the buffer; see `splits.default`."""
    n_undated: int
    """Tiles that neither their label nor the configuration asks a date for."""
    notes: tuple[str, ...]
    """What the reader of the labels tells: what it left out, and why."""
    origin: str
    """Where its places come from: the kind, and the files that the configuration names."""
    facts: LabelFacts
    """What the labels are like."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All tiles of a dataset."""

    table: pa.Table
    """Of `tiles_schema`, sorted by (task, tile)."""
    tasks: tuple[TaskPlan, ...]
    """In the catalogue's order."""


def make_plan(config: BuildConfig, source: Source, base: Path, progress: Progress = silent) -> Plan:
    """Return the tiles of every task.

    Args:
        config: The build's configuration.
        source: Asked for labels where a task takes its places from there.
        base: Directory that relative paths start from.
        progress: Told about every task.

    Raises:
        ConfigError: A task has no place that can be a tile.
    """
    parts, reports = [], []
    progress("plan", len(config.tasks))
    for task in config.catalogue.tasks.values():
        rows, report = _plan_task(task, config, source, base)
        parts.append(rows)
        reports.append(report)
        progress("plan", None)
    schema = tiles_schema(config.catalogue.tasks.values())
    table = pa.concat_tables(parts, promote_options="default").select(schema.names)
    return Plan(table.sort_by([("task", "ascending"), ("tile", "ascending")]), tuple(reports))


def moved(before: Path, table: pa.Table) -> int:
    """Return how many tiles that a directory has planned already would change their split.

    Args:
        before: Its `tiles.parquet`, which may lack, or be cut short by a power cut.
        table: Of a plan.
    """
    if not before.exists():
        return 0
    keys = ["task", "tile"]
    try:
        old = read_table(before, [*keys, "split"]).rename_columns([*keys, "before"])
    except FormatError as exc:
        _LOG.warning("which splits the tiles had is not known: %s", exc)
        return 0
    both = table.select([*keys, "split"]).join(old, keys, join_type="inner")
    return int(pc.sum(pc.not_equal(both["split"], both["before"])).as_py() or 0)


def _plan_task(
    task: Task, config: BuildConfig, source: Source, base: Path
) -> tuple[pa.Table, TaskPlan]:
    task_config, grid = config.tasks[task.name], config.catalogue.grid
    with told() as notes:
        how = config.seed, config.quirks, EVERY_PRESENCE[config.recipe]
        labels = read_labels(task, task_config, source, base, grid, *how)
    lon = np.fromiter((label.lon for label in labels), np.float64, len(labels))
    lat = np.fromiter((label.lat for label in labels), np.float64, len(labels))
    on_grid = np.flatnonzero(np.isfinite(lon) & (lat >= UTM_SOUTH) & (lat <= UTM_NORTH))
    if not on_grid.size:
        raise ConfigError(
            f"tasks.{task.name}: none of its {len(labels)} places lies where UTM is defined, "
            f"between {UTM_SOUTH:g} and {UTM_NORTH:g} degrees north"
        )
    usable = on_grid[_valid(task, [labels[i] for i in on_grid])]
    tiles = tiles_at(lon[usable], lat[usable], grid)
    kept = np.flatnonzero(keep_apart(tiles))
    tiles = tiles[kept]
    assignment = _assigned(task_config.split, config, tiles, [labels[i] for i in usable[kept]])
    planned = np.flatnonzero(assignment.split != LEFT_OUT)
    chosen = [labels[i] for i in usable[kept][planned]]
    table = _table(task, tiles[planned], chosen, assignment, config.date)
    report = TaskPlan(
        task.name,
        n_places=len(labels),
        n_beyond_utm=len(labels) - len(on_grid),
        n_invalid=len(on_grid) - len(usable),
        n_overlapping=len(usable) - len(tiles),
        n_buffer=len(tiles) - len(planned),
        splits={name: int(np.count_nonzero(assignment.split == name)) for name in SPLITS},
        n_far_buffer=_far_from_tests(tiles, assignment, task_config.split.buffer_m),
        n_undated=table["date"].null_count,
        notes=tuple(notes),
        origin=task_config.origin,
        facts=label_facts(task, labels, "sentinel2" in config.modalities),
    )
    return table, report


def _assigned(
    split: SplitConfig, config: BuildConfig, tiles: Tiles, labels: Sequence[Label]
) -> Assignment:
    """Return the splits of tiles: those that their table has, or a rule's."""
    if split.column is not None:
        return given(tiles, [str(label.split) for label in labels], config.seed)
    rule = split.rule or SPLIT_RULES[config.recipe]
    return RULES[rule](tiles, config.seed, split.buffer_m)


def _far_from_tests(tiles: Tiles, assignment: Assignment, buffer_m: float) -> int:
    """Return how many of the tiles that the buffer leaves out have no test tile in their buffer."""
    left_out = tiles[assignment.split == LEFT_OUT]
    tests = tiles[np.isin(assignment.split, TESTS)]
    if not len(left_out) or not len(tests):
        return len(left_out)
    tree = shapely.STRtree(shapely.box(*lonlat_bounds(tests).T))
    west, south, east, north = lonlat_bounds(left_out, buffer_m).T
    found = [
        tree.query(shapely.box(west + turn, south, east + turn, north), "intersects")[0]
        for turn in (-360.0, 0.0, 360.0)
    ]
    return len(left_out) - len(np.unique(np.concatenate(found)))


def _valid(task: Task, labels: Sequence[Label]) -> NDArray[np.bool_]:
    """Return which labels have values that the task can have, (n,); those without have."""
    wrong = [_wrong(task, label.values or (label.value,)) for label in labels]
    good = np.array([said is None for said in wrong], dtype=np.bool_)
    if not good.any():
        raise ConfigError(f"tasks.{task.name}: {wrong[0]}; check the unit of the labels")
    return good


def _wrong(task: Task, values: Sequence[float | None]) -> str | None:
    """Return what is wrong with the first value that the task cannot have, as a clause."""
    for value, band in zip(values, task.target.bands, strict=False):
        low, high = band.valid
        if value is not None and not low <= value <= high:
            of = f" of {band.name}" if len(values) > 1 else ""
            return f"found values{of} like {value:g}, expected {low:g} to {high:g} {band.unit}"
    return None


def _table(
    task: Task, tiles: Tiles, labels: Sequence[Label], assignment: Assignment, date: str | None
) -> pa.Table:
    """Return the rows of one task.

    Args:
        task: Whose they are.
        tiles: Those that are planned: none that the buffer leaves out.
        labels: One per tile.
        assignment: Of these tiles and of those left out, in one order.
        date: Asked for where a label has none.
    """
    lons, lats = centres(tiles)
    planned = assignment.split != LEFT_OUT
    columns = {
        "task": pa.repeat(task.name, len(tiles)),
        "tile": _joined(tiles.epsg, tiles.left, tiles.top),
        "epsg": tiles.epsg,
        "left": tiles.left,
        "top": tiles.top,
        "lon": lons,
        "lat": lats,
        "cell": _joined(*cells_at(lons, lats)),
        "date": [label.date or date for label in labels],
        "split": assignment.split[planned],
        "train_5": assignment.train_5[planned],
        "train_50": assignment.train_50[planned],
        task.column: [label_target(task, label) for label in labels],
        "label_id": [label.label_id for label in labels],
    }
    schema = tiles_schema([task])
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def _joined(*numbers: NDArray[np.int64]) -> pa.Array:
    """Return the numbers of each row with `_` between them."""
    return pc.binary_join_element_wise(*(pc.cast(column, pa.string()) for column in numbers), "_")
