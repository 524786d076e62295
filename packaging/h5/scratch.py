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
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.tasks import TASKS
from mmearth.packaging.h5.boxes import boxes
from mmearth.packaging.h5.file import is_pixels
from mmearth.packaging.h5.layout import PIXELS


@dataclass(frozen=True, slots=True)
class Pixels:
    """What one pass over a key found."""

    n_valid: NDArray[np.int64]
    """(n,) values of each tile that are not no-data; of a cloud layer 0."""
    is_exact: bool
    """Whether ours gives back every value as it was published."""


def needed_bytes(file: Any, names: Mapping[str, str], task: str) -> int:
    """Return the disk space that a task's arrays and shards need while it is packed, about."""
    total = 0
    for key in (key for key in names if is_pixels(key, task)):
        dataset, spec = file[names[key]], _ours(key, task)
        shard = 0 if spec is None else spec[0].itemsize
        total += dataset.size * (dataset.dtype.itemsize + shard)
    return total


def write_tiles(file: Any, names: Mapping[str, str], task: str, folder: Path) -> dict[str, Pixels]:
    """Write `<key>.npy` for every pixel-level key, (N, …), row by row; return what was found.

    Args:
        file: An open h5py.File that was checked.
        names: Published key → its name in the file.
        task: Whose file it is.
        folder: Where to; made when it is not there.

    Raises:
        StorageError: The disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for key in (key for key in names if is_pixels(key, task)):
        dataset = file[names[key]]
        path = folder / f"{key}.npy"
        with storage_errors(f"write {path}"):
            # All blocks at once: a full disk is an error here, and not a SIGBUS in a mapped page.
            _reserve(path, dataset.shape, dataset.dtype)
        found[key] = _write(dataset, path, _ours(key, task))
    return found


def ours(key: str, task: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return published values in our dtype; what is not a number is no-data."""
    spec = _ours(key, task)
    assert spec is not None, key
    dtype, nodata = spec
    if values.dtype == dtype:
        return np.array(values)
    known = np.where(np.isnan(values), nodata, values) if values.dtype.kind == "f" else values
    with np.errstate(invalid="ignore", over="ignore"):
        return known.astype(dtype)


def _write(dataset: Any, path: Path, spec: tuple[np.dtype[Any], float] | None) -> Pixels:
    n_valid, is_exact = np.zeros(len(dataset), np.int64), spec is not None
    for box in boxes(dataset.shape, dataset.chunks, dataset.dtype.itemsize):
        values = dataset[box]
        # Mapped anew for each box: else memory would fill with the pages of those before.
        np.lib.format.open_memmap(path, "r+")[box] = values
        if spec is not None:
            dtype, nodata = spec
            is_exact = is_exact and _is_exact(values, dtype)
            is_valid = (values != nodata) & ~np.isnan(values)
            n_valid[box[0]] += np.count_nonzero(is_valid.reshape(len(values), -1), axis=1)
    return Pixels(n_valid, is_exact)


def _is_exact(values: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((values.astype(dtype).astype(values.dtype) == values).all())


def _ours(key: str, task: str) -> tuple[np.dtype[Any], float] | None:
    """Return our dtype and no-data value of a key; None for what we have no place for."""
    if key == task and TASKS[task].level == "pixel":
        spec: Any = TASKS[task]
    elif key in PIXELS:
        spec = MODALITIES[PIXELS[key]]
    else:
        return None
    return np.dtype(spec.dtype), float(spec.nodata)


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
        if hasattr(os, "posix_fallocate") and nbytes:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
