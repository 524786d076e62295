"""Tiles out of chunks: every pixel-level key once through, into arrays that are read tile by tile.

What ours holds exactly is scratch and goes when the task is packed. What it does not (the cloud
layers, and a key of which a value would be rounded) stays with the dataset.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import StorageError, storage_errors
from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task
from mmearth.packaging.h5.boxes import boxes
from mmearth.packaging.h5.convert import ours, refuse_beyond
from mmearth.packaging.h5.file import pixel_keys
from mmearth.packaging.h5.layout import layer_of


@dataclass(frozen=True, slots=True)
class Pixels:
    """What one pass over a key found."""

    n_valid: NDArray[np.int64]
    """(n,) values of each tile that are not no-data; of a cloud layer 0."""
    is_exact: bool
    """Whether ours gives back every value as it was published."""
    largest: NDArray[np.float64]
    """(n,) of Sentinel-2: a tile's largest value, where it has fractions; else infinity."""


def room(file: Any, names: Mapping[str, str], task: Task) -> tuple[int, int]:
    """Return about how many bytes of disk a task takes while it is packed, and after."""
    while_packed, after = 0, 0
    for key in pixel_keys(file, names):
        dataset, layer = file[names[key]], layer_of(key, task)
        array = dataset.size * dataset.dtype.itemsize
        packed = 0 if layer is None else dataset.size * np.dtype(layer.dtype).itemsize
        while_packed += array + packed
        after += packed or array
    return while_packed, after


def write_tiles(file: Any, names: Mapping[str, str], task: Task, folder: Path) -> dict[str, Pixels]:
    """Write `<key>.npy` for every pixel-level key, (N, …), row by row; return what was found.

    Args:
        file: An open h5py.File that was checked.
        names: Published key → its name in the file.
        task: Whose file it is.
        folder: Where to; made when it is not there.

    Raises:
        DataError: A value is beyond our dtype.
        StorageError: The disk is full.
    """
    found = {}
    for key in pixel_keys(file, names):
        dataset = file[names[key]]
        path = folder / f"{key}.npy"
        with storage_errors(f"write {path}"):
            folder.mkdir(parents=True, exist_ok=True)
            # All blocks at once: a full disk is an error here, and not a SIGBUS in a mapped page.
            _reserve(path, dataset.shape, dataset.dtype)
        found[key] = _write(dataset, path, key, layer_of(key, task))
    return found


def _write(dataset: Any, path: Path, key: str, layer: Layer | None) -> Pixels:
    n_valid, is_exact = np.zeros(len(dataset), np.int64), layer is not None
    largest, has_fraction = np.full(len(dataset), -np.inf), np.zeros(len(dataset), np.bool_)
    for box in boxes(dataset.shape, dataset.chunks, dataset.dtype.itemsize):
        values = dataset[box]
        # Mapped anew for each box: else memory would fill with the pages of those before.
        np.lib.format.open_memmap(path, "r+")[box] = values
        if layer is not None:
            refuse_beyond(Path(dataset.file.filename), key, box[0].start, values, layer)
            mine = ours(values, layer)
            # Bit by bit: -0.0 and what is not a number are to come back, too.
            is_exact = is_exact and mine.astype(values.dtype).tobytes() == values.tobytes()
            valid = layer.valid(mine).reshape(len(mine), -1)
            n_valid[box[0]] += np.count_nonzero(valid, axis=1)
            if key == "Sentinel2" and values.dtype.kind == "f":
                flat = np.where(valid, values.reshape(len(mine), -1), -np.inf)
                largest[box[0]] = np.maximum(largest[box[0]], flat.max(axis=1))
                has_fraction[box[0]] |= (np.isfinite(flat) & (flat != np.rint(flat))).any(axis=1)
    return Pixels(n_valid, is_exact, np.where(has_fraction, largest, np.inf))


def _reserve(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    nbytes = int(np.prod(shape)) * dtype.itemsize
    free = shutil.disk_usage(path.parent).free
    if nbytes > free:
        raise StorageError(
            f"cannot write {path}: it needs {nbytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "make room and run the same command again"
        )
    np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("rb+") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
