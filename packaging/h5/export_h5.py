"""`mmearth packaging export-h5`: a dataset of ours → the published layout."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.errors import ConfigError, MMEarthWarning
from mmearth.catalog.files import atomic_path, remove_temporaries, write_atomic
from mmearth.catalog.schema import manifest_path, read_table
from mmearth.catalog.task import Task
from mmearth.packaging.h5.boxes import boxes
from mmearth.packaging.h5.derived import derive
from mmearth.packaging.h5.file import created, dtype_of, import_h5py
from mmearth.packaging.h5.layout import NODATA_FILE, check_held, layer_of
from mmearth.packaging.h5.members import MemberArrays
from mmearth.packaging.h5.side import Side, read_side

_LEVEL, _PUBLISHED_LEVEL = 4, 9  # of gzip, for chunks of one tile and for those as published


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
        ConfigError: There is no dataset, a task is not in it or has no samples, the layout cannot
            hold it, or its file is there already.
        FormatError: The dataset is damaged.
        StorageError: The disk is full.
    """
    import_h5py()
    card = DatasetCard.from_json(read_dataset(root))
    catalogue = read_catalogue(root)
    chosen = [catalogue.task(name) for name in tasks or catalogue.tasks]
    check_held(root, catalogue, chosen)
    paths = {
        out / task.name / f"{task.name}.h5": task
        for task in chosen
        if _has_samples(root, task.name, is_wanted=bool(tasks))
    }
    for path in paths:
        if path.exists():
            raise ConfigError(
                f"{path} is there already; choose another folder, delete it, or name the tasks "
                "that are to be written with --task"
            )
    for path, task in paths.items():
        found = read_side(root, task) or derive(root, catalogue, task, card)
        members = MemberArrays(root, task, catalogue, found.keys)
        remove_temporaries(path.parent)
        for name, data in found.files.items():
            write_atomic((out if name == NODATA_FILE else path.parent) / name, data)
        with atomic_path(path) as temporary:
            _write(temporary, task, found, members, published_chunks)
    return list(paths)


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


def _write(
    path: Path, task: Task, found: Side, members: MemberArrays, published_chunks: bool
) -> None:
    with created(path) as (file, check):
        for key, each in found.datasets.items():
            by_tile = key not in found.columns and not published_chunks
            dataset = file.create_dataset(
                each.name,
                each.shape,
                dtype_of(each.dtype),
                chunks=(1, *each.shape[1:]) if by_tile else True,
                compression="gzip",
                compression_opts=_PUBLISHED_LEVEL if published_chunks else _LEVEL,
            )
            if key in found.columns:
                values = found.columns[key]
                is_sized = dataset.dtype.kind == "S"
                dataset[...] = np.char.encode(values.astype(str), "utf-8") if is_sized else values
                continue
            layer = layer_of(key, task)
            for box in boxes(each.shape, dataset.chunks, dataset.dtype.itemsize):
                if key in found.kept or layer is None:
                    dataset[box] = found.kept[key][box]
                else:
                    dataset[box] = members.box(layer, np.dtype(each.dtype), box)
                check()
