"""Labelled places from a table of points."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.tasks import TASKS
from mmearth.curate.labels.identity import check_ids
from mmearth.curate.labels.located import locate, on_earth
from mmearth.curate.labels.ranges import species_in_ranges
from mmearth.curate.labels.species import STATUS, listed_species, not_seen
from mmearth.curate.labels.table import Table, read_table
from mmearth.curate.places import PointsPlaces
from mmearth.curate.source import Label

_LOG = logging.getLogger(__name__)
_NONE = (-9999.0, -99999.0, -32768.0)
"""What GIS write where a raster has no data."""
_KEYS = ("lon", "lat", "value", "species", "date", "id")


def point_labels(task: str, config: PointsPlaces, base: Path) -> list[Label]:
    """Return the labelled places of a table.

    Rows without coordinates or, for a tile-level regression, without a value are left out; where
    the task does without targets, a row without a value is a place without one, and the
    identifiers, which lead predictions back to their places, must tell the rows apart.

    Raises:
        ConfigError: The file cannot be read, a column is missing, a cell is not what it should be,
            an identifier is missing or twice there, or no row is left.
    """
    path = base / config.path
    _check_target(task, config, path)
    columns = {key: getattr(config, key) for key in _KEYS}
    optional = () if config.species is None else (STATUS,)
    table = read_table(path, columns, ("lon", "lat", "value"), config, optional)
    lon, lat = locate(table, config.crs)
    if config.id is not None and TASKS[task].optional:
        check_ids(table.text["id"].to_pylist(), path)
    value = _values(table, TASKS[task].optional)
    kept = _kept(task, config, table, lon, lat, value)
    places = lon[kept].tolist(), lat[kept].tolist()
    values = [None if math.isnan(number) else number for number in value[kept].tolist()]
    species: Iterable[tuple[str, ...] | None] = repeat(None, len(kept))
    if config.ranges is not None:
        species = species_in_ranges(config.ranges, base, *places)
    elif config.species is not None:
        species = _together(places, listed_species(table, kept, config.ignore_unknown))
    ids = [None] * len(kept) if config.id is None else table.text["id"].take(kept).to_pylist()
    dates = [table.date(row) for row in kept]
    return list(map(Label, *places, values, species, dates, ids))


def _check_target(task: str, config: PointsPlaces, path: Path) -> None:
    spec = TASKS[task]
    wants = spec.level == "tile" and spec.kind == "regression" and not spec.optional
    if wants and config.value is None:
        raise ConfigError(f"tasks.{task}.points: value: must name the column of {path} with {task}")
    if spec.kind == "multilabel" and config.species is None and config.ranges is None:
        raise ConfigError(f"tasks.{task}.points: give species: (a column) or ranges: (polygons)")


def _together(
    places: tuple[list[float], list[float]], species: list[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """Return at each place the species of all its rows: some tables have a row a species."""
    here: dict[tuple[float, float], set[str]] = {}
    at = list(zip(*places, strict=True))
    for place, names in zip(at, species, strict=True):
        here.setdefault(place, set()).update(names)
    known = TASKS["species"].outputs
    return [tuple(name for name in known if name in here[place]) for place in at]


def _values(table: Table, any_number: bool) -> NDArray[np.float64]:
    """Return the targets; where the task has no valid range, refuse what stands for none."""
    if "value" not in table.text:
        return np.full(len(table), np.nan)
    values, text = table.numbers("value")
    table.refuse_text("value", text)
    none = np.isin(values, _NONE) if any_number else np.zeros(len(table), dtype=np.bool_)
    if none.any():
        raise ConfigError(
            f"{table.cell('value', int(np.argmax(none)))}, which usually means that there is no "
            "value; empty such cells"
        )
    return values


def _kept(
    task: str,
    config: PointsPlaces,
    table: Table,
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    value: NDArray[np.float64],
) -> list[int]:
    """Return which rows are places, and log what became of the others.

    Raises:
        ConfigError: None is.
    """
    placed = np.isfinite(lon) & np.isfinite(lat)
    here = placed & on_earth(lon, lat)
    unlabelled = np.zeros(len(table), dtype=np.bool_)
    if config.value is not None and not TASKS[task].optional:
        unlabelled = np.isnan(value)
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
        _LOG.info(
            "tasks.%s: %s: kept %d of %d rows; %s", task, config.path, len(kept), n_rows, found
        )
    return kept
