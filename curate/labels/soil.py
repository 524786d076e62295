"""Labelled places from a table of soil profiles: WoSIS, or another by its columns' names."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.task import Task
from mmearth.curate.labels.located import locate, on_earth
from mmearth.curate.labels.table import Table, read_table
from mmearth.curate.places import SoilPlaces
from mmearth.curate.source import Label

_LOG = logging.getLogger(__name__)
_NUMERIC = ("lon", "lat", "value", "upper", "lower")


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a table's rows; each row counts once, at the first reason that holds."""

    malformed: int
    """Left out: too many or too few cells."""
    no_number: int
    """Left out: text where a number is expected."""
    no_place: int
    """Left out: no longitude or no latitude."""
    off_earth: int
    """Left out: longitude beyond ±360 or latitude beyond ±90 degrees."""
    no_value: int
    """Left out: the property was not measured."""
    no_depth: int
    """Left out: a depth of the layer is not known."""
    too_shallow: int
    """Left out: begins above `shallowest_cm`, as litter does."""
    too_deep: int
    """Left out: ends below `deepest_cm`."""
    uncertain: int
    """Left out: the place is not known well enough."""
    kept: int
    """Labelled places, a layer each."""

    @property
    def rows(self) -> int:
        """Of the table, without its header."""
        return sum(asdict(self).values())

    def __str__(self) -> str:
        """Return it as part of a sentence, reasons that never held left out."""
        found = {name: count for name, count in asdict(self).items() if count and name != "kept"}
        reasons = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.items())
        return f"kept {self.kept} of {self.rows} layers" + (f"; {reasons}" if reasons else "")


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers that are kept, in the order of the table."""

    lon: NDArray[np.float64]
    """Degrees east, (n,)."""
    lat: NDArray[np.float64]
    """Degrees north, (n,)."""
    value: NDArray[np.float64]
    """The property in the task's unit, (n,)."""
    ids: list[str | None]
    """Of the profiles; None where the table has none."""
    dates: list[str | None]
    """As `Label.date`; None where the table has none."""


def soil_labels(task: Task, config: SoilPlaces, base: Path) -> list[Label]:
    """Return a labelled place for every layer that the configuration keeps.

    Several layers of one profile are as many places: the plan keeps one, as for all tiles that
    overlap. Values beyond the task's range are left out there, too.

    Args:
        task: A task with one number per tile.
        config: The table, its columns and the rules.
        base: Directory that a relative path starts from.

    Raises:
        ConfigError: The task has no number a tile, the table cannot be read, lacks a column, has
            its coordinates elsewhere than on Earth, or no layer is left.

    Source:
        MMEarth-Bench, `generate_soil_points.py`: upper_depth >= 0, lower_depth <= 5,
        positional_uncertainty == 'Circa 100 m', value_avg as it is.
    """
    if task.column != "target":
        raise ConfigError(
            f"tasks.{task.name}: a table of soil profiles gives one number per place, which is no "
            "label of this task; give another kind of places"
        )
    path = base / config.path
    layers, counts = read_layers(path, config)
    if not counts.kept:
        raise ConfigError(f"{path} has no usable layer: {counts}; check the columns and rules")
    _LOG.info("tasks.%s: %s: %s", task.name, config.path, counts)
    places = layers.lon.tolist(), layers.lat.tolist(), layers.value.tolist()
    return list(map(Label, *places, repeat(None), layers.dates, layers.ids))


def read_layers(path: Path, config: SoilPlaces) -> tuple[Layers, Counts]:
    """Return a table's layers that the configuration keeps, and what became of the others.

    Raises:
        ConfigError: The table cannot be read, lacks a column, has a column without any number, or
            most of its coordinates are not on Earth.
    """
    columns = {key: getattr(config, key) for key in (*_NUMERIC, "uncertainty", "date", "id")}
    table = read_table(path, columns, _NUMERIC, config)
    found: dict[str, NDArray[np.float64]] = {}
    text = np.zeros(len(table), dtype=np.bool_)
    for key in ("value", "upper", "lower"):
        if key in table.text:
            found[key], here = table.numbers(key)
            if np.count_nonzero(here) == len(table) - table.text[key].null_count:
                table.refuse_text(key, here)  # no number at all: another column, or notation
            elif here.any():
                _LOG.info("%s, where a number is expected", table.cell(key, int(np.argmax(here))))
            text |= here
    found["lon"], found["lat"] = locate(table, config.crs)
    left = np.ones(len(table), dtype=np.bool_)
    left_out = {}
    for reason, holds in {
        "no_number": text,
        **_reasons(found, config),
        "uncertain": _unsure(table, config),
    }.items():
        left_out[reason] = int(np.count_nonzero(left & holds))
        left &= ~holds
    counts = Counts(len(table.malformed), **left_out, kept=int(np.count_nonzero(left)))
    kept = np.flatnonzero(left)
    ids: list[str | None] = [None] * kept.size
    if config.id is not None:
        ids = table.text["id"].take(pa.array(kept)).to_pylist()
    dates = [table.date(row) for row in kept.tolist()]
    value = found["value"][kept] * config.scale
    return Layers(found["lon"][kept], found["lat"][kept], value, ids, dates), counts


def _reasons(
    found: dict[str, NDArray[np.float64]], config: SoilPlaces
) -> dict[str, NDArray[np.bool_]]:
    """Return field of Counts → for which rows it holds, in the order in which they count."""
    lon, lat, value = found["lon"], found["lat"], found["value"]
    upper = found.get("upper", np.full(lon.shape, config.shallowest_cm))
    lower = found.get("lower", np.full(lon.shape, config.deepest_cm))
    return {
        "no_place": np.isnan(lon) | np.isnan(lat),
        "off_earth": ~on_earth(lon, lat),
        "no_value": np.isnan(value),
        "no_depth": np.isnan(upper) | np.isnan(lower),
        "too_shallow": upper < config.shallowest_cm,
        "too_deep": lower > config.deepest_cm,
    }


def _unsure(table: Table, config: SoilPlaces) -> NDArray[np.bool_]:
    """Return for which rows the place is not known well enough."""
    if config.uncertainty is None:
        return np.zeros(len(table), dtype=np.bool_)
    if config.max_uncertainty_m is not None:
        return np.asarray(~(table.numbers("uncertainty")[0] <= config.max_uncertainty_m))
    known = pc.is_in(table.text["uncertainty"], pa.array(config.uncertainties, pa.string()))
    return np.asarray(pc.invert(known).to_numpy(zero_copy_only=False), dtype=np.bool_)
