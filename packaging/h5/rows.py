"""Rows of a published file: their places, dates, splits and all that has no pixels."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.packaging.h5.agreement import check_places, missing_of
from mmearth.packaging.h5.convert import ours, refuse_beyond
from mmearth.packaging.h5.file import column, pixel_keys
from mmearth.packaging.h5.layout import (
    FORMAT,
    KEYS,
    SPLIT_KEYS,
    SUBSET_KEYS,
    TaskFiles,
    read_json,
)
from mmearth.packaging.h5.species import Labels

Column = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one task, in the file's order."""

    task: Task
    """As published."""
    tiles: list[Tile]
    """Where each is."""
    ids: list[int]
    """The published id of each."""
    dates: list[str]
    """Of Sentinel-2, `YYYY-MM-DD`."""
    splits: list[str]
    """The published split of each."""
    subsets: dict[str, NDArray[np.bool_]]
    """`train_50` and `train_5` → which rows are in it."""
    columns: dict[str, Column]
    """Published key → every dataset that has no pixels, as published; text as objects."""
    values: dict[str, Column]
    """Key of a tile-level modality → its values in our dtype, (n, band) or (n,)."""
    targets: list[Any]
    """A tile-level target: a number, or the names of a multi-label one; None where pixel-level."""
    missing: list[frozenset[str]] | None
    """What each row says is missing; None where the file does not say."""

    def planned(self, row: int) -> dict[str, Any]:
        """Return what a row of `tiles.parquet` says of the task, and where its tile is."""
        target = {} if self.task.is_pixel else {self.task.column: self.targets[row]}
        return {
            "task": self.task.name,
            "tile": self.tiles[row].id,
            "split": self.splits[row],
            **{name: bool(inside[row]) for name, inside in self.subsets.items()},
            **target,
        }


def read_rows(files: TaskFiles, file: Any, names: dict[str, str]) -> Rows:
    """Read all that has no pixels.

    Raises:
        FormatError: A row has no place on our grid, stands twice, is in no split or in two, or says
            one thing in two ways; or a file beside is missing or not as published.
    """
    large = set(pixel_keys(file, names))
    columns = {k: column(files.h5, file, name) for k, name in names.items() if k not in large}
    n = len(columns["id"])
    ids = _ids(files.h5, columns["id"])
    tiles = [_tile(files.h5, row, columns) for row in range(n)]
    _refuse_twins(files.h5, tiles)
    splits, subsets = _splits(files, n)
    targets = _targets(files, columns, n)
    dates = [_date(files.h5, row, text) for row, text in enumerate(columns["sentinel2_date"])]
    check_places(files.h5, tiles, dates, columns)
    values = {
        key: _values(files.h5, names[key], layer, columns[key])
        for key, layer in KEYS.items()
        if not layer.is_pixel
    }
    missing = missing_of(files.h5, columns, values)
    return Rows(files.task, tiles, ids, dates, splits, subsets, columns, values, targets, missing)


def _ids(path: Path, column: Column) -> list[int]:
    """Return the ids: whole numbers, each once."""
    for row, value in enumerate(column.tolist()):
        if not np.isfinite(value) or value != int(value):
            raise FormatError(f"{path}: row {row} has the id {value}; expected a whole number")
    ids = [int(value) for value in column.tolist()]
    number, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise FormatError(f"{path}: id {number} stands {times} times; expected one a row")
    return ids


def _values(path: Path, name: str, layer: Layer, column: Column) -> Column:
    refuse_beyond(path, name, 0, column, layer)
    return ours(column, layer)


def _tile(path: Path, row: int, columns: dict[str, Column]) -> Tile:
    crs, transform = str(columns["crs"][row]), columns["transform"][row].tolist()
    a, b, left, d, e, top, *last = transform
    pixel = FORMAT.grid.resolution_m
    on_grid = (a, b, d, e) == (pixel, 0, 0, -pixel) and not (left % pixel or top % pixel)
    # UTM has eastings of 100 to 900 km, and northings of 0 to 10,000 km.
    in_zone = 1e5 <= left <= 9e5 and 0 <= top <= 1e7
    if re.fullmatch("EPSG:[0-9]{5}", crs, re.I) and on_grid and in_zone and last == [0, 0, 1]:
        try:
            return Tile.parse(f"{int(crs[5:])}_{int(left)}_{int(top)}", FORMAT.grid)
        except ConfigError:
            pass
    raise FormatError(
        f"{path}: row {row} has crs {crs} and transform {transform}; expected EPSG: and the "
        f"number of a UTM zone, and north-up pixels of {pixel} m on whole multiples of it, as "
        "Sentinel-2 has them"
    )


def _refuse_twins(path: Path, tiles: list[Tile]) -> None:
    seen: dict[Tile, int] = {}
    for row, tile in enumerate(tiles):
        before = seen.setdefault(tile, row)
        if before != row:
            raise FormatError(
                f"{path}: rows {before} and {row} are the same tile, {tile.id}; a dataset has each "
                "tile of a task once: take one of them out"
            )


def _date(path: Path, row: int, text: str) -> str:
    try:
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return datetime.date.fromisoformat(text).isoformat()
    except ValueError:  # there is no such day
        pass
    raise FormatError(
        f"{path}: row {row} has the sentinel2_date {text[:40]!r}; expected a day as YYYY-MM-DD"
    )


def _splits(files: TaskFiles, n: int) -> tuple[list[str], dict[str, NDArray[np.bool_]]]:
    document = read_json(files.splits)
    splits: list[str] = [""] * n
    for split, key in SPLIT_KEYS.items():
        for row in _indices(files.splits, document, key, n):
            if splits[row]:
                raise FormatError(
                    f"{files.splits}: row {row} is in {splits[row]} and in {split}; expected one "
                    "split: fetch the file again"
                )
            splits[row] = split
    if "" in splits:
        raise FormatError(
            f"{files.splits}: row {splits.index('')} of {n} is in no split; is it the file of "
            f"another version of {files.h5.name}?"
        )
    subsets = {}
    for subset, key in SUBSET_KEYS.items():
        subsets[subset] = np.zeros(n, np.bool_)
        subsets[subset][_indices(files.splits, document, key, n)] = True
    in_train = np.array(splits) == "train"
    for inside, outside in (
        (subsets["train_5"], subsets["train_50"]),
        (subsets["train_50"], in_train),
    ):
        if (inside & ~outside).any():
            raise FormatError(
                f"{files.splits}: row {int(np.argmax(inside & ~outside))} is in a train subset and "
                "not in the one around it; expected 5 % inside 50 % inside the train split"
            )
    return splits, subsets


def _indices(path: Path, document: Any, key: str, n: int) -> list[int]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(type(row) is int for row in found):
        raise FormatError(f"{path} has no list of rows {key!r}; is it the published file?")
    outside = [row for row in found if not 0 <= row < n]
    if outside:
        raise FormatError(
            f"{path}: {key} names row {outside[0]}, and the .h5 file has {n}; they are of "
            "different versions: fetch both again"
        )
    return found


def _targets(files: TaskFiles, columns: dict[str, Column], n: int) -> list[Any]:
    task = files.task
    if task.is_pixel:
        return [None] * n
    values = columns[task.name]
    if task.kind == "multilabel":
        labels = Labels(files)
        return [labels.of(row, text) for row, text in enumerate(values)]
    return [_number(files.h5, row, task, value) for row, value in enumerate(values.reshape(n))]


def _number(path: Path, row: int, task: Task, value: Any) -> float | None:
    if np.isfinite(value):
        # The shortest decimal that is this number in the task's dtype, as everywhere in our tables.
        return float(str(np.dtype(task.dtype).type(value)))
    if task.optional and np.isnan(value):
        return None
    raise FormatError(f"{path}: row {row} has the {task.name} {value}; expected a number")
