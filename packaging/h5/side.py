"""What of a published file has no place in ours, kept beside: `published/<task>/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import FormatError, MMEarthError
from mmearth.catalog.files import check_regular, read_regular, write_atomic
from mmearth.catalog.sample import sample_key
from mmearth.catalog.schema import read_table, write_table
from mmearth.catalog.task import Task
from mmearth.packaging.h5.file import TEXT, dtype_name, shapes_of
from mmearth.packaging.h5.layout import TaskFiles, layer_of, side_folder
from mmearth.packaging.h5.rows import Rows

KEY = "mmearth/key"
"""The column of rows.parquet that is not of the file: our key of the row's sample. No dataset can
have this name: HDF5 takes the slash for a folder."""
_ROWS, _LAYOUT, _FILES = "rows.parquet", "layout.json", "files"
_SIDE_BYTES = 1 << 30  # of a file beside: provenance takes about 1 kB a row


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset of a published file."""

    name: str
    """As it is called in the file."""
    dtype: str
    """See `file.dtype_name`."""
    shape: tuple[int, ...]
    """With the rows first."""


@dataclass(frozen=True, slots=True)
class Side:
    """`published/<task>/` of one task."""

    datasets: dict[str, Dataset]
    """By published key."""
    keys: list[str]
    """Our keys of the samples, in the file's order."""
    columns: dict[str, NDArray[Any]]
    """By published key: what has no pixels, as published."""
    kept: dict[str, NDArray[Any]]
    """By published key: what has pixels and is not in the shards; mapped, not read."""
    files: dict[str, bytes]
    """By name: what stood beside the file."""


def write_side(
    root: Path, files: TaskFiles, file: Any, names: Mapping[str, str], rows: Rows
) -> None:
    """Keep a task's columns, its layout and the files beside it."""
    folder = root / side_folder(files.task.name)
    folder.mkdir(parents=True, exist_ok=True)
    keys = [sample_key(*each) for each in zip(rows.tiles, rows.dates, strict=True)]
    table = pa.table({KEY: keys, **{key: _arrow(v) for key, v in rows.columns.items()}})
    write_table(table, folder / _ROWS, table.schema)
    layout = {
        key: {"name": name, "dtype": dtype_name(file[name]), "shape": list(file[name].shape)}
        for key, name in sorted(names.items())
    }
    write_atomic(folder / _LAYOUT, (json.dumps(layout, indent=1) + "\n").encode())
    for path in files.beside():
        write_atomic(folder / _FILES / path.name, read_regular(path, most=_SIDE_BYTES))


def read_side(root: Path, task: Task) -> Side | None:
    """Return what a task was imported with; None where it was not.

    Raises:
        FormatError: It is damaged.
    """
    folder = root / side_folder(task.name)
    if not (folder / _LAYOUT).is_file():
        return None
    try:
        layout = read_json(folder / _LAYOUT, root)
        datasets = {
            key: Dataset(each["name"], each["dtype"], tuple(each["shape"]))
            for key, each in layout.items()
        }
        table = read_table(folder / _ROWS, root=root)
        columns = {
            key: _numpy(table[key], datasets[key]) for key in table.schema.names if key != KEY
        }
        kept = {
            key: _kept(path, root, each.shape)
            for key, each in datasets.items()
            if (path := folder / f"{key}.npy").is_file()
        }
        files = {
            path.name: read_regular(path, root, _SIDE_BYTES)
            for path in sorted((folder / _FILES).glob("*"))
        }
        side = Side(datasets, table[KEY].to_pylist(), columns, kept, files)
        _check(task, len(table), side)
    except MMEarthError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError, pa.ArrowException) as exc:
        raise FormatError(
            f"{folder} is not as it was imported ({exc!r}); run `mmearth packaging verify`"
        ) from exc
    return side


def _kept(path: Path, root: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    check_regular(path, root)
    values: NDArray[Any] = np.load(path, mmap_mode="r")
    if values.shape != shape:
        raise ValueError(f"{path.name} has shape {values.shape}, expected {shape}")
    return values


def _check(task: Task, n: int, side: Side) -> None:
    """Refuse a layout that is not of these very columns and arrays: an export would follow it.

    Raises:
        ValueError: It is not.
    """
    for key, each in side.datasets.items():
        found = side.columns.get(key, side.kept.get(key))
        layer = layer_of(key, task)
        is_member = layer is not None and layer.is_pixel
        shapes = [found.shape] if found is not None else shapes_of(key, task, n) * is_member
        if each.shape not in shapes or each.shape[0] != n:
            raise ValueError(f"{key} of shape {each.shape} is not there")
        if not each.dtype.startswith(TEXT) and np.dtype(each.dtype).kind not in "biuf":
            raise ValueError(f"{key} has dtype {each.dtype}, expected numbers")


def _arrow(values: NDArray[Any]) -> pa.Array:
    if values.dtype.kind != "O":
        values = values.astype(values.dtype.newbyteorder("="))  # the only one that Arrow has
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _numpy(column: pa.ChunkedArray, dataset: Dataset) -> NDArray[Any]:
    if dataset.dtype.startswith(TEXT):
        return np.array(column.to_pylist(), dtype=object)
    flat = column.combine_chunks()
    values = flat.flatten() if len(dataset.shape) > 1 else flat
    found = np.asarray(values.to_numpy(zero_copy_only=False), np.dtype(dataset.dtype))
    return found.reshape(dataset.shape)
