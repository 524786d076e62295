"""`mmearth packaging export-h5`: a dataset of ours → the published layout."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.errors import ConfigError, MMEarthWarning
from mmearth.catalog.files import atomic_path, remove_temporaries, write_atomic
from mmearth.catalog.schema import manifest_path, read_table
from mmearth.packaging.h5.boxes import Box, boxes
from mmearth.packaging.h5.derived import derive
from mmearth.packaging.h5.file import created, dtype_of, import_h5py
from mmearth.packaging.h5.layout import NODATA_FILE
from mmearth.packaging.h5.members import MemberArrays
from mmearth.packaging.h5.side import Dataset, read_side

_LEVEL, _PUBLISHED_LEVEL = 4, 9  # of gzip, for chunks of one tile and for those as published


@dataclass(frozen=True, slots=True)
class Export:
    """What one file will hold."""

    datasets: dict[str, Dataset]
    """By published key."""
    columns: dict[str, NDArray[Any]]
    """By published key: what has no pixels."""
    pixels: dict[str, Callable[[Box], NDArray[Any]]]
    """By published key: gives a box of what has pixels, rows first."""
    files: dict[str, bytes]
    """What stands beside it."""


def export_h5(root: Path, out: Path, tasks: tuple[str, ...], published_chunks: bool) -> list[Path]:
    """Write tasks of a dataset in the published layout; what was imported is written as it was.

    Args:
        root: The dataset's directory.
        out: The folder that gets `<task>/<task>.h5`; made when it is not there.
        tasks: Which; none: all.
        published_chunks: Chunks as h5py chooses them and gzip 9, as published; else a chunk a tile,
            which is what a reader of tiles wants.

    Returns:
        The .h5 files.

    Raises:
        ConfigError: There is no dataset, a task is not in it or has no samples, or its file is
            there already.
        FormatError: The dataset is damaged.
        StorageError: The disk is full.
    """
    import_h5py()
    card = DatasetCard.from_json(read_dataset(root))
    for task in tasks:
        if task not in card.tasks:
            raise ConfigError(f"{root} has no task {task!r}; expected {', '.join(card.tasks)}")
    paths = [
        out / task / f"{task}.h5"
        for task in tasks or card.tasks
        if _has_samples(root, task, is_wanted=bool(tasks))
    ]
    for path in paths:
        if path.exists():
            raise ConfigError(
                f"{path} is there already; choose another folder, delete it, or name the tasks "
                "that are to be written with --task"
            )
    for path in paths:
        export = _export(root, path.stem)
        remove_temporaries(path.parent)
        for name, data in export.files.items():
            write_atomic((out if name == NODATA_FILE else path.parent) / name, data)
        with atomic_path(path) as temporary:
            _write(temporary, export, published_chunks)
    return paths


def _has_samples(root: Path, task: str, *, is_wanted: bool) -> bool:
    """Say whether a task has samples; the layout has no file without rows.

    Raises:
        ConfigError: It has none, and was asked for by its name.
    """
    if len(read_table(root / manifest_path(task), ["key"], root)):
        return True
    if is_wanted:
        raise ConfigError(f"{root} has no samples of {task}, and a published file has rows")
    warnings.warn(f"{root} has no samples of {task}: no file", MMEarthWarning, stacklevel=3)
    return False


def _export(root: Path, task: str) -> Export:
    """Return what was imported, or what follows from our own tables."""
    found = read_side(root, task) or derive(root, task)
    members = MemberArrays(root, task, found.keys)
    pixels: dict[str, Callable[[Box], NDArray[Any]]] = {}
    for key, each in found.datasets.items():
        if key in found.kept:
            pixels[key] = found.kept[key].__getitem__
        elif key not in found.columns:
            pixels[key] = members.reader(key, each)
    return Export(found.datasets, found.columns, pixels, found.files)


def _write(path: Path, export: Export, published_chunks: bool) -> None:
    with created(path) as (file, check):
        for key, each in export.datasets.items():
            by_tile = key in export.pixels and not published_chunks
            dataset = file.create_dataset(
                each.name,
                each.shape,
                dtype_of(each.dtype),
                chunks=(1, *each.shape[1:]) if by_tile else True,
                compression="gzip",
                compression_opts=_PUBLISHED_LEVEL if published_chunks else _LEVEL,
            )
            if key in export.columns:
                values = export.columns[key]
                is_sized = dataset.dtype.kind == "S"
                dataset[...] = np.char.encode(values.astype(str), "utf-8") if is_sized else values
                continue
            for box in boxes(each.shape, dataset.chunks, dataset.dtype.itemsize):
                dataset[box] = export.pixels[key](box)
                check()
