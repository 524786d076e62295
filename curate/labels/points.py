"""Labelled places from a table of points."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.task import Task
from mmearth.curate.labels.identity import check_ids
from mmearth.curate.labels.located import locate, on_earth
from mmearth.curate.labels.names import class_column, flag_columns, label_column, label_keys
from mmearth.curate.labels.numbers import stands_for_none
from mmearth.curate.labels.ranges import species_in_ranges
from mmearth.curate.labels.species import SPECIES, STATUS, listed_species, not_seen
from mmearth.curate.labels.split_column import split_of
from mmearth.curate.labels.table import Table, read_table
from mmearth.curate.places import PointsPlaces
from mmearth.curate.source import Label

_LOG = logging.getLogger(__name__)
_KEYS = ("lon", "lat", "value", "species", "date", "id")
Names = tuple[str, ...]


@dataclass(slots=True)
class _Targets:
    """What a table's rows say of the target; None in a row that says nothing."""

    numbers: list[tuple[float, ...] | None]
    """Of a regression, in the order of its outputs."""
    labels: list[Names | None]
    """Names of labels, or of the one class."""

    @classmethod
    def none(cls, n: int) -> _Targets:
        return cls([None] * n, [None] * n)

    def lacking(self) -> NDArray[np.bool_]:
        """Return which rows say nothing, (n,)."""
        pairs = zip(self.numbers, self.labels, strict=True)
        return np.array([a is None and b is None for a, b in pairs], dtype=np.bool_)


def point_labels(
    task: Task, config: PointsPlaces, base: Path, grid: Grid, split: str | None = None
) -> list[Label]:
    """Return the labelled places of a table.

    Rows without coordinates or, where the task does not do without, without a target are left out;
    where it does, such a row is a place without one, and the identifiers, which lead predictions
    back to their places, must tell the rows apart.

    Args:
        task: What is predicted.
        config: The table and its columns.
        base: Directory that a relative path starts from.
        grid: Of the tiles.
        split: Column of the splits; None where a rule decides them.

    Raises:
        ConfigError: The file cannot be read, a column is missing, a cell is not what it should be,
            an identifier is missing or twice there, or no row is left.
    """
    path = base / config.path
    _check_target(task, config, path)
    columns = {**{key: getattr(config, key) for key in _KEYS}, **_target_columns(task, config)}
    numeric = ["lon", "lat", *(key for key in columns if key.startswith("value"))]
    if task.kind == "classification":
        numeric.remove("value")
    optional = () if config.species is None else (STATUS,)
    table = read_table(path, columns | {"split": split}, numeric, config, optional)
    lon, lat = locate(table, config.crs)
    if config.id is not None and task.optional:
        check_ids(table.text["id"].to_pylist(), path)
    targets = _targets(task, config, table)
    kept = _kept(task, config, table, (lon, lat), targets)
    places = lon[kept].tolist(), lat[kept].tolist()
    labels: Sequence[Names | None] = [targets.labels[row] for row in kept]
    if config.ranges is not None:
        labels = species_in_ranges(config.ranges, base, *places, grid)
    elif config.species is not None:
        labels = _together(places, listed_species(table, kept, config.ignore_unknown), SPECIES)
    elif task.kind == "multilabel":
        labels = _together(places, labels, task.outputs)
    elif task.kind == "classification":
        _tell_contradictions(task, config.path, places, labels)
    ids = [None] * len(kept) if config.id is None else table.text["id"].take(kept).to_pylist()
    is_one = task.column == "target" or task.is_pixel
    return [
        Label(
            *place,
            value=numbers[0] if numbers is not None and is_one else None,
            labels=names,
            date=table.date(row),
            label_id=label_id,
            values=None if is_one else numbers,
            split=split_of(table, row),
        )
        for row, place, numbers, names, label_id in zip(
            kept,
            zip(*places, strict=True),
            [targets.numbers[row] for row in kept],
            labels,
            ids,
            strict=True,
        )
    ]


def _check_target(task: Task, config: PointsPlaces, path: Path) -> None:
    """Refuse columns that hold no target of the task, or a target that must be there and is not."""
    where = f"tasks.{task.name}.points"
    keys = ("value", "values", "labels", "species", "ranges")
    given = [key for key in keys if getattr(config, key) is not None]
    expected = _expected(task)
    if wrong := [key for key in given if key not in expected]:
        told = " or ".join(f"{key}:" for key in expected) or "no column of a target"
        raise ConfigError(f"{where}: {wrong[0]}: holds no target of {task.name}; expected {told}")
    if expected and not given and not task.optional:
        if "species" in expected:
            raise ConfigError(f"{where}: give species: (a column) or ranges: (polygons)")
        raise ConfigError(
            f"{where}: {expected[0]}: must name the column of {path} with {task.name}"
        )
    if config.values is not None and len(set(config.values)) != len(task.outputs):
        raise ConfigError(
            f"{where}: values: names {len(set(config.values))} columns, expected "
            f"{len(task.outputs)}: {', '.join(task.outputs)}, in this order"
        )


def _expected(task: Task) -> Names:
    """Return the keys of which one may say where a task's target is."""
    if task.is_pixel:
        return ()
    if task.kind == "multilabel":
        return ("species", "ranges") if task.outputs == SPECIES else ("labels",)
    return ("value",) if task.kind == "classification" or task.column == "target" else ("values",)


def _target_columns(task: Task, config: PointsPlaces) -> dict[str, str]:
    """Return key → column of a target in several columns, or of labels."""
    found = {f"values {i}": name for i, name in enumerate(config.values or ())}
    if isinstance(config.labels, str):
        return found | {"labels": config.labels}
    where = f"tasks.{task.name}.points"
    keys = label_keys(config.labels, task, where) if config.labels is not None else {}
    return found | {f"label {label}": column for label, column in keys.items()}


def _targets(task: Task, config: PointsPlaces, table: Table) -> _Targets:
    found = _Targets.none(len(table))
    if task.kind == "classification" and config.value is not None:
        classes = class_column(table, "value", task)
        found.labels = [None if name is None else (name,) for name in classes]
    elif config.value is not None or config.values is not None:
        keys = ["value"] if config.values is None else [k for k in table.text if k[:7] == "values "]
        bands = task.target.bands
        columns = [_values(table, key, band.valid) for key, band in zip(keys, bands, strict=True)]
        found.numbers = _whole_rows(task, config.path, np.column_stack(columns))
    elif isinstance(config.labels, str):
        found.labels = label_column(table, "labels", task)
    elif config.labels is not None:
        keys_of = {k.removeprefix("label "): k for k in table.text if k.startswith("label ")}
        found.labels = flag_columns(table, keys_of, task)
    return found


def _together(
    places: tuple[list[float], list[float]], labels: Sequence[Names | None], order: Names
) -> list[Names | None]:
    """Return at each place the labels of all its rows: some tables have a row per label."""
    here: dict[tuple[float, float], set[str]] = {}
    at = list(zip(*places, strict=True))
    for place, names in zip(at, labels, strict=True):
        if names is not None:
            here.setdefault(place, set()).update(names)
    return [
        tuple(name for name in order if name in here[place]) if place in here else None
        for place in at
    ]


def _tell_contradictions(
    task: Task, path: str, places: tuple[list[float], list[float]], labels: Sequence[Names | None]
) -> None:
    """Log how many places have rows of several classes, of which the plan keeps one."""
    here: dict[tuple[float, float], set[str]] = {}
    for place, names in zip(zip(*places, strict=True), labels, strict=True):
        here.setdefault(place, set()).update(names or ())
    if many := [place for place, names in here.items() if len(names) > 1]:
        first = f"{many[0][0]:g} {many[0][1]:g}: {', '.join(sorted(here[many[0]]))}"
        told = task.name, path, len(many), first
        _LOG.info("tasks.%s: %s: %d places have several classes, such as %s; one counts", *told)


def _whole_rows(
    task: Task, path: str, columns: NDArray[np.float64]
) -> list[tuple[float, ...] | None]:
    """Return each row's numbers, None where one is not there, and log where only some are."""
    empty = np.isnan(columns)
    in_part = np.count_nonzero(empty.any(axis=1) & ~empty.all(axis=1))
    if in_part:
        told = task.name, path, in_part, columns.shape[1]
        _LOG.info("tasks.%s: %s: %d rows have some of %d values: they count as without", *told)
    found: list[tuple[float, ...] | None] = [tuple(row) for row in columns.tolist()]
    for row in np.flatnonzero(empty.any(axis=1)).tolist():
        found[row] = None
    return found


def _values(table: Table, key: str, valid: tuple[float, float]) -> NDArray[np.float64]:
    """Return the numbers; refuse what stands for none, unless the valid range tells it apart."""
    values, text = table.numbers(key)
    table.refuse_text(key, text)
    none = stands_for_none(values, valid)
    if none.any():
        raise ConfigError(
            f"{table.cell(key, int(np.argmax(none)))}, which usually means that there is no "
            "value; empty such cells"
        )
    return values


def _kept(
    task: Task,
    config: PointsPlaces,
    table: Table,
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    targets: _Targets,
) -> list[int]:
    """Return which rows are places, and log what became of the others.

    Raises:
        ConfigError: None is.
    """
    lon, lat = places
    placed = np.isfinite(lon) & np.isfinite(lat)
    here = placed & on_earth(lon, lat)
    unlabelled = np.zeros(len(table), dtype=np.bool_)
    if any(key is not None for key in (config.value, config.values, config.labels)):
        unlabelled = targets.lacking() & (not task.optional)
    absent = not_seen(table)
    reasons = {
        "malformed": len(table.malformed),
        "no place": table.unplaced + int(np.count_nonzero(~placed)),
        "off the Earth": int(np.count_nonzero(placed & ~here)),
        "no value": int(np.count_nonzero(here & unlabelled)),
        "absent": int(np.count_nonzero(here & ~unlabelled & absent)),
    }
    found = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    kept = np.flatnonzero(here & ~unlabelled & ~absent).tolist()
    n_rows = len(table) + len(table.malformed) + table.unplaced
    if not kept:
        raise ConfigError(
            f"{table.path} has no usable row among {n_rows}{found and f' ({found})'}; check its "
            "columns and values"
        )
    if found:
        told = task.name, config.path, len(kept), n_rows, found
        _LOG.info("tasks.%s: %s: kept %d of %d rows; %s", *told)
    return kept
