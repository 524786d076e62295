"""Collected observations → shards, manifests and statistics."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.files import remove_temporaries, write_atomic
from mmearth.catalog.layer import Layer
from mmearth.catalog.progress import Progress, silent
from mmearth.catalog.sample import Sample
from mmearth.catalog.schema import manifest_path, read_table
from mmearth.catalog.statistics import TaskStatistics
from mmearth.catalog.store import reading_many
from mmearth.catalog.task import Task
from mmearth.catalog.workers import open_pool
from mmearth.packaging.codec import encode
from mmearth.packaging.inputs import Planned, load_sample, missing_reasons, read_inputs
from mmearth.packaging.manifest import Row, manifest_row, write_manifest
from mmearth.packaging.shard import ShardWriter, shard_name

_TAR_OVERHEAD = 1024  # a header and half a block of padding a member, about
_NPY_HEADER = 128
_DIRECTORIES = ("shards", "manifests", "statistics")


@dataclass(frozen=True, slots=True)
class Built:
    """What packaging made."""

    n_samples: dict[str, int]
    """By task."""
    dropped: dict[str, dict[str, str]]
    """Task → tile → why it makes no sample."""
    sums: dict[str, str]
    """Checksums of the shards, by relative path."""
    nbytes: int
    """Of all shards."""

    def plus(self, other: Built) -> Built:
        """Return what both made together."""
        return Built(
            self.n_samples | other.n_samples,
            self.dropped | other.dropped,
            self.sums | other.sums,
            self.nbytes + other.nbytes,
        )


@dataclass(frozen=True, slots=True)
class _Packed:
    """One shard, as its worker hands it back."""

    rows: list[Row]
    statistics: TaskStatistics
    name: str
    nbytes: int
    sha256: str


Load = Callable[[Planned], Sample]
"""One of a task's samples → its arrays, checked."""
_Job = tuple[str, list[Planned]]
Map = Callable[[Callable[[_Job], _Packed], Iterable[_Job]], Iterator[_Packed]]


def build(root: Path, card: DatasetCard, workers: int = 1, progress: Progress = silent) -> Built:
    """Pack every task of a collected dataset.

    Shards that another build left behind are deleted; nothing else in the directory is touched.

    Args:
        root: Holds catalogue.json, tiles.parquet, observations.parquet and the store.
        card: Names the required modalities and the size of a shard.
        workers: Processes; the bytes do not depend on it.
        progress: Told about every planned sample.

    Raises:
        FormatError: A table or a file of the store is missing or damaged.
        DataError: An array breaks its contract.
        StorageError: The disk is full.
    """
    for name in _DIRECTORIES:
        remove_temporaries(root / name)
    built, catalogue = Built({}, {}, {}, 0), read_catalogue(root)
    planned = read_table(root / "tiles.parquet", ["task"], root)["task"].to_pylist()
    progress("package", sum(task in catalogue.tasks for task in planned))
    with open_map(workers) as pack_all:
        for task in catalogue.tasks.values():
            load = partial(load_sample, root, catalogue, task)
            built = built.plus(build_task(root, card, catalogue, task, load, pack_all, progress))
    remove_stale(root, catalogue, built.sums)
    return built


def build_task(
    root: Path,
    card: DatasetCard,
    catalogue: Catalogue,
    task: Task,
    load: Load,
    pack_all: Map,
    progress: Progress = silent,
) -> Built:
    """Pack one task; memory holds its rows, and the arrays of a sample.

    Args:
        root: Holds tiles.parquet and observations.parquet.
        card: Names the required modalities and the size of a shard.
        catalogue: Of the dataset.
        task: One of its tasks.
        load: Reads a sample; it is pickled where there are several workers.
        pack_all: Of `open_map`.
        progress: Told about every sample, and every tile that makes none.

    Raises:
        FormatError: A table is missing or damaged.
        DataError: An array breaks its contract.
        StorageError: The disk is full.
    """
    inputs = read_inputs(root, catalogue, task, card.require)
    sums, nbytes = {}, 0
    rows, statistics = [], TaskStatistics(task, tuple(catalogue.layers.values()))
    for _ in inputs.dropped:
        progress("package", None)
    jobs = _cut(catalogue, task, inputs.samples, card.shard_bytes)
    for packed in pack_all(partial(_pack, root, catalogue, task, load), jobs):
        rows += packed.rows
        statistics.merge(packed.statistics)
        sums[packed.name] = packed.sha256
        nbytes += packed.nbytes
        for _ in packed.rows:
            progress("package", None)
    write_manifest(root, task, rows, catalogue)
    text = json.dumps(statistics.to_json(), indent=1, ensure_ascii=False)
    write_atomic(root / "statistics" / f"{task.name}.json", (text + "\n").encode())
    return Built({task.name: len(inputs.samples)}, {task.name: inputs.dropped}, sums, nbytes)


@contextmanager
def open_map(workers: int) -> Iterator[Map]:
    """Yield a `map` that keeps the order, over processes when there are several workers."""
    if workers <= 1:
        yield map
        return
    with open_pool(workers) as pool:
        yield pool.map


def _cut(
    catalogue: Catalogue, task: Task, samples: list[Planned], shard_bytes: int
) -> Iterator[_Job]:
    """Yield (shard name, its samples): cut by size before anything is written.

    So every shard can be written by another worker, and their names do not depend on who did it.
    """
    members = catalogue.members(task)
    for split, group in groupby(samples, key=lambda sample: str(sample.tile["split"])):
        number, size = 0, 0
        inside: list[Planned] = []
        for sample in group:
            if inside and size >= shard_bytes:
                yield shard_name(task.name, split, number), inside
                number, size, inside = number + 1, 0, []
            inside.append(sample)
            size += _sample_bytes(members, sample)
        yield shard_name(task.name, split, number), inside


def _sample_bytes(members: list[Layer], sample: Planned) -> int:
    """Return about how many bytes a sample takes in a tar."""
    done = {name for name, row in sample.observations.items() if row["state"] == "done"}
    sizes = [layer.nbytes for layer in members if layer.name in done]
    return sum(size + _NPY_HEADER + _TAR_OVERHEAD for size in sizes) + 4 * _TAR_OVERHEAD


def _pack(root: Path, catalogue: Catalogue, task: Task, load: Load, job: _Job) -> _Packed:
    """Write one shard."""
    name, samples = job
    statistics, rows = TaskStatistics(task, tuple(catalogue.layers.values())), []
    writer = ShardWriter(root, name)
    try:
        with reading_many():
            for planned in samples:
                sample = load(planned)
                missing = missing_reasons(planned, catalogue)
                ranges = writer.write(sample.key, encode(sample, missing, catalogue))
                rows.append(manifest_row(planned, sample, name, ranges, catalogue))
                if sample.split == "train":
                    arrays = {n: o.array for n, o in sample.observations.items()}
                    statistics.update(_subsets(planned), arrays, sample.target)
    except BaseException:
        writer.abandon()
        raise
    shard = writer.close()
    return _Packed(rows, statistics, name, shard.nbytes, shard.sha256)


def _subsets(planned: Planned) -> tuple[str, ...]:
    tile = planned.tile
    return ("train", *(name for name in ("train_50", "train_5") if tile[name]))


def remove_stale(root: Path, catalogue: Catalogue, sums: dict[str, str]) -> None:
    """Delete shards, manifests and statistics that this build did not write."""
    for path in (root / "shards").rglob("*.tar"):
        if path.relative_to(root).as_posix() not in sums:
            path.unlink()
    manifests = {manifest_path(task) for task in catalogue.tasks}
    for path in (root / "manifests").glob("*.parquet"):
        if path.relative_to(root).as_posix() not in manifests:
            path.unlink()
    for path in (root / "statistics").glob("*.json"):
        if path.stem not in catalogue.tasks:
            path.unlink()
