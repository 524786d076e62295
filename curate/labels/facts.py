"""What a task's labels are like: how many, where, when and which values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.anchor import Interval, intervals
from mmearth.catalog.layer import Band
from mmearth.catalog.task import Task
from mmearth.curate.source import Label

_FIRST_IMAGE = "2015-06-23"  # the launch of Sentinel-2A
_SHOWN = 5  # names of classes
_MANY = 5
"""Places from which on it is suspicious that all of them are alike."""
# Medians of topsoils in g/kg are several times these; below them a table is in per cent, perhaps.
_LOW_MEDIAN = {"soil_nitrogen": 0.3, "soil_organic_carbon": 3.0}


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """What the labels of one task are like, before any of them is left out."""

    box: tuple[float, float, float, float]
    """Least longitude and latitude, greatest longitude and latitude, in degrees."""
    n_dated: int
    """Labels that ask for a date."""
    first: str | None
    """First day that any of them asks for; None where none does."""
    last: str | None
    """Last day."""
    n_valued: int
    """Labels with a number; 0 in tasks without."""
    low: float | None
    """Least number; None where there is none."""
    middle: float | None
    """Median."""
    high: float | None
    """Greatest."""
    n_without_species: int
    """Labels of a task of species at which none of them is present."""
    absent: tuple[str, ...]
    """Species of the task that are present at no label."""
    warnings: tuple[str, ...]
    """What is suspicious, each with the key to look at."""


def label_facts(task: Task, labels: Sequence[Label], with_images: bool) -> LabelFacts:
    """Return what a task's labels are like.

    Args:
        task: Whose they are.
        labels: At least one.
        with_images: Sentinel-2 is collected.
    """
    places = np.array([(label.lon, label.lat) for label in labels], dtype=np.float64)
    dates = Counter(label.date for label in labels if label.date is not None)
    spans = {date: intervals(date) for date in dates}
    values = np.array([x.value for x in labels if x.value is not None], dtype=np.float64)
    present = Counter(name for label in labels for name in label.labels or ())
    many = task.kind == "multilabel"
    lone = sum(not label.labels for label in labels) if many else 0
    low, middle, high = np.percentile(values, (0, 50, 100)).tolist() if values.size else [None] * 3
    west, south = np.nanmin(places, axis=0).tolist()
    east, north = np.nanmax(places, axis=0).tolist()
    first = min((begin for found in spans.values() for begin, _ in found), default=None)
    last = max((end for found in spans.values() for _, end in found), default=None)
    return LabelFacts(
        box=(west, south, east, north),
        n_dated=dates.total(),
        first=None if first is None else first.isoformat(),
        last=None if last is None else last.isoformat(),
        n_valued=int(values.size),
        low=low,
        middle=middle,
        high=high,
        n_without_species=lone,
        absent=tuple(name for name in task.outputs if many and not present[name]),
        warnings=(
            *_of_places(places),
            *_of_values(task, labels),
            *_of_classes(task, present),
            *(_of_dates(dates, spans) if with_images else []),
            *_of_species(lone, len(labels)),
        ),
    )


def _of_places(places: NDArray[np.float64]) -> list[str]:
    known = places[np.isfinite(places).all(axis=1)]
    if len(known) >= _MANY and np.all(known == np.round(known)):
        return ["lon:, lat: all places lie on whole degrees; expected several decimals"]
    return []


def _of_values(task: Task, labels: Sequence[Label]) -> list[str]:
    rows = [label.values or (label.value,) for label in labels]
    columns = [[x for x in column if x is not None] for column in zip(*_full(rows), strict=True)]
    found = []
    for band, column in zip(task.target.bands, columns, strict=False):
        key = "value" if task.column == "target" else f"values, {band.name}"
        if len(column) >= _MANY:
            found += [f"{key}: {said}" for said in _of_numbers(task.name, band, np.array(column))]
    return found


def _full(rows: Sequence[tuple[float | None, ...]]) -> list[tuple[float | None, ...]]:
    """Return rows of equal length: a label without numbers has one that is None."""
    longest = max(map(len, rows))
    return [row if len(row) == longest else (None,) * longest for row in rows]


def _of_numbers(name: str, band: Band, values: NDArray[np.float64]) -> list[str]:
    low, high = band.valid
    found = []
    n_invalid = int(np.count_nonzero((values < low) | (values > high)))
    if n_invalid:
        found.append(
            f"{n_invalid} of {values.size} values lie outside {low:g} to {high:g} "
            f"{band.unit}, and are left out; check value: and scale:"
        )
    if np.ptp(values) == 0:
        found.append(f"all {values.size} values are {values[0]:g}")
    elif band.unit == "%" and values.min() >= 0 and values.max() <= 1:
        found.append(f"all are {values.min():g} to {values.max():g} %, as fractions are; check it")
    median = float(np.median(values))
    if median < _LOW_MEDIAN.get(name, -np.inf):
        found.append(
            f"half of the values are below {median:.3g} {band.unit}, as in a table "
            "in per cent; if so, scale: 10"
        )
    return found


def _of_classes(task: Task, present: Counter[str]) -> list[str]:
    absent = [name for name in task.outputs if not present[name]]
    if task.kind != "classification" or not absent or present.total() < _MANY:
        return []
    more = " …" if len(absent) > _SHOWN else ""
    shown = ", ".join(absent[:_SHOWN]) + more
    return [f"value: {len(absent)} of {len(task.outputs)} classes are nowhere: {shown}"]


def _of_dates(dates: Counter[str], spans: dict[str, tuple[Interval, ...]]) -> list[str]:
    """Return what is suspicious where every date should have an image."""
    last = {date: max(end for _, end in found).isoformat() for date, found in spans.items()}
    n = sum(count for date, count in dates.items() if last[date] < _FIRST_IMAGE)
    if not n:
        return []
    return [f"date: {n} of {dates.total()} dates lie before Sentinel-2 was there, {_FIRST_IMAGE}"]


def _of_species(n_without: int, n_labels: int) -> list[str]:
    if 2 * n_without <= n_labels:
        return []
    return [
        f"species: {n_without} of {n_labels} places have none of the task's species; check the "
        "names, or the CRS of ranges:"
    ]
