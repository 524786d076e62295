"""`mmearth packaging import-h5`: the published layout → a dataset of ours, one task at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog import card as cards
from mmearth.catalog import checksums, croissant, stac
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, write_catalogue
from mmearth.catalog.errors import (
    ConfigError,
    DataError,
    FormatError,
    StorageError,
    storage_errors,
)
from mmearth.catalog.executor import Pool, Workers
from mmearth.catalog.files import sha256_bytes, sha256_file
from mmearth.catalog.layer import Layer
from mmearth.catalog.observed import open_observed
from mmearth.catalog.sample import Sample
from mmearth.catalog.schema import OBSERVATIONS, manifest_path, read_table, write_table
from mmearth.catalog.store import StoreReader
from mmearth.catalog.targets import target_array
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.packaging.build import Built, build_tasks
from mmearth.packaging.h5.convert import ours
from mmearth.packaging.h5.file import check, opened
from mmearth.packaging.h5.layout import FORMAT, KEY_OF, TaskFiles, find_tasks, side_folder
from mmearth.packaging.h5.provenance import read_provenance
from mmearth.packaging.h5.rows import read_rows
from mmearth.packaging.h5.scratch import Pixels, write_tiles
from mmearth.packaging.h5.side import write_side
from mmearth.packaging.h5.survey import survey
from mmearth.packaging.h5.tables import SOURCE, Row, Tables
from mmearth.packaging.jobs import Loaded, Planned
from mmearth.packaging.manifest import name_members

_STATE = Path(".curate")
_BEGUN = _STATE / "import-h5"  # there from the beginning of an import to its end
_ARRAYS = _BEGUN / "arrays"
_SHARD_BYTES = 256 * 1024 * 1024
_COLUMNS = "columns.npz"
Progress = Callable[[str, int | None], None]


def import_h5(source: Path, out: Path, workers: int, progress: Progress) -> tuple[Built, str]:
    """Turn published files into a dataset; their splits stay, and nothing of them is lost.

    Memory holds 16 MB of a file at a time, and the rows of a task. One task after the other needs
    room for its arrays on the disk of `out` until it is packed. Interrupted, it begins again.

    Args:
        source: The published folder, one task's, or one file.
        out: The dataset's directory; made when it is not there.
        workers: Processes that write shards; the bytes do not depend on it.
        progress: Told (step, 1) when a step begins.

    Returns:
        What was packed, and the dataset's hash.

    Raises:
        ConfigError: There is nothing to import, `out` holds something else, or h5py is missing.
        FormatError: A file is not as published.
        DataError: A value is outside its modality's range.
        StorageError: The disk is too small, or full.
    """
    tasks = find_tasks(source)
    _refuse_foreign(out)
    seen = survey(tasks, progress)
    _claim(out, seen.nbytes)
    progress(f"{seen.nbytes / 1e9:.1f} GB of disk are needed at most, about", 1)
    try:
        with storage_errors(f"write {out}"):
            built, dataset_hash = _import(tasks, seen.card or _card(tasks), out, workers, progress)
    finally:
        shutil.rmtree(out / _ARRAYS, ignore_errors=True)
    shutil.rmtree(out / _STATE)
    return built, dataset_hash


def _import(
    tasks: list[TaskFiles], card: DatasetCard, out: Path, workers: int, progress: Progress
) -> tuple[Built, str]:
    catalogue = FORMAT.only(card.modalities, card.tasks)
    write_catalogue(out, catalogue)
    tables, built = Tables(catalogue.tasks.values()), Built({}, {}, {}, 0)
    with Workers(workers).open() as pool:
        for files in tasks:
            progress(f"read {files.h5.name}", 1)
            pixels = _unpack(files, out, tables)
            progress(f"pack {files.task.name}", 1)
            built = built.plus(_pack(out, card, catalogue, files, pixels, pool))
    _name_members(out, catalogue)
    progress("catalogue", 1)
    cards.write_readme(out, card)
    stac.build(out, card)
    croissant.build(out, card, built.sums)
    return built, checksums.seal(out, card, built.sums)


def _name_members(out: Path, catalogue: Catalogue) -> None:
    """Write into observations.parquet which members the packed observations are."""
    observed = read_table(out / "observations.parquet")
    for name, task in catalogue.tasks.items():
        members = catalogue.members(task)
        columns = ["tile", *(layer.name for layer in members)]
        observed = name_members(observed, read_table(out / manifest_path(name), columns), members)
    write_table(observed, out / "observations.parquet", OBSERVATIONS)


def _refuse_foreign(out: Path) -> None:
    """Refuse a directory that an import did not begin."""
    if (out / _BEGUN).is_dir() or not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"{out} is a file; give a directory")
    found = next(iter(sorted(out.iterdir())), None)
    if found is not None:
        raise ConfigError(
            f"{out} is not empty: it holds {found.name}, which no interrupted import has left; "
            "choose an empty directory"
        )


def _claim(out: Path, needed: int) -> None:
    """Clear what an interrupted import left, and say that one has begun."""
    with storage_errors(f"write {out}"):
        if (out / _BEGUN).is_dir():
            checksums.clear(out)
            shutil.rmtree(out / _ARRAYS, ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
        if needed > free:
            raise StorageError(
                f"the import needs about {needed / 1e9:.1f} GB on the disk of {out}, and "
                f"{free / 1e9:.1f} GB are free; choose another place for -o, or import a task alone"
            )
        (out / _BEGUN).mkdir(parents=True, exist_ok=True)


def _card(tasks: list[TaskFiles]) -> DatasetCard:
    """Return the card of files that were published, and not exported by mmearth."""
    digests = "".join(sha256_file(path) for files in tasks for path in (files.h5, *files.beside()))
    return DatasetCard(
        name="mmearth-bench",
        title="MMEarth-Bench",
        description="MMEarth-Bench (arXiv 2602.06285), from its published HDF5 files.",
        version="1.0.0",
        licence="other",
        recipe="mmearth-bench-2026",
        seed=42,
        config_sha256=sha256_bytes(digests.encode()),
        source=SOURCE,
        tasks=tuple(files.task.name for files in tasks),
        modalities=tuple(FORMAT.layers),
        require=(),
        shard_bytes=_SHARD_BYTES,
    )


def _unpack(files: TaskFiles, out: Path, tables: Tables) -> dict[str, Pixels]:
    """Read one file: tables, side files, and its pixels as scratch."""
    scratch = out / _ARRAYS / files.task.name
    with opened(files.h5) as file:
        names = check(files.h5, files.task, file)
        rows = read_rows(files, file, names)
        pixels = write_tiles(file, names, files.task, scratch)
        write_side(out, files, file, names, rows)
    tiles, dates = np.array([tile.id for tile in rows.tiles]), np.array(rows.dates)
    small: Row = {"tile": tiles, "date": dates, **rows.values}
    np.savez(scratch / _COLUMNS, **small)
    tables.add(files.h5, rows, pixels, read_provenance(files, rows))
    tables.write(out)
    return pixels


def _pack(
    out: Path,
    card: DatasetCard,
    catalogue: Catalogue,
    files: TaskFiles,
    pixels: dict[str, Pixels],
    pool: Pool,
) -> Built:
    name = files.task.name
    scratch = out / _ARRAYS / name
    load = partial(load_row, scratch, tuple(catalogue.layers.values()), files.task)
    with open_observed(out, catalogue, list(_columns(scratch)["row"])) as observed:
        built = build_tasks(out, card, catalogue, {name: load}, observed, pool)
    for reason, n in built.dropped[name].items():
        raise FormatError(f"{files.h5}: {n} rows make no sample: {reason}; take them out")
    for key, found in pixels.items():
        if not found.is_exact:
            os.replace(scratch / f"{key}.npy", out / side_folder(name) / f"{key}.npy")
    shutil.rmtree(scratch)
    return built


def load_row(
    scratch: Path, layers: Iterable[Layer], task: Task, _: StoreReader, planned: Planned
) -> Loaded:
    """Return the sample of one published row, from scratch.

    Raises:
        DataError: A value is outside its modality's or task's range.
        FormatError: What stands beside the file gives the row another date.
    """
    columns = _columns(scratch)
    row = columns["row"][planned.tile["tile"]]
    if planned.date != columns["date"][row]:
        raise FormatError(
            f"row {row} of {task.name}.h5 has the sentinel2_date {columns['date'][row]}, and the "
            f"file of provenance beside it says {planned.date}; take it away, or export the "
            "dataset again"
        )
    observations = {
        layer.name: seen.observation(layer, _array(scratch, columns, layer, row))
        for layer in layers
        if (seen := planned.done.get(layer.name)) is not None
    }
    if task.is_pixel:
        target: NDArray[np.generic] | None = _array(scratch, columns, task.target, row)[0]
    else:
        target = target_array(task, planned.tile[task.column])
    tile = Tile.parse(planned.tile["tile"], FORMAT.grid)
    sample = Sample(tile, planned.date, task, planned.tile["split"], target, observations)
    try:
        sample.check()
    except DataError as exc:
        raise DataError(f"row {row} of {task.name}.h5: {exc}") from exc
    return Loaded(sample, {})


def _array(scratch: Path, columns: Row, layer: Layer, row: int) -> NDArray[np.generic]:
    """Return what a row holds of a modality or of a target with pixels."""
    key = KEY_OF.get(layer.name, layer.name)
    if not layer.is_pixel:
        values: NDArray[np.generic] = columns[key][row]
        return values.reshape(layer.shape)
    return ours(np.load(scratch / f"{key}.npy", mmap_mode="r")[row], layer).reshape(layer.shape)


def _columns(scratch: Path) -> Row:
    """Return the columns of a file, and which row a tile is."""
    path = scratch / _COLUMNS
    return _loaded(path, path.stat().st_mtime_ns)


@cache
def _loaded(path: Path, stamp: int) -> Row:
    """Return the columns; `stamp` tells one scratch of the next."""
    with np.load(path) as arrays:
        found: Row = {key: arrays[key] for key in arrays.files}
    found["row"] = {tile: row for row, tile in enumerate(found["tile"].tolist())}
    return found
