"""Collected observations → shards, manifests and statistics."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.checksums import remove_unfinished
from mmearth.catalog.executor import Pool, Workers, run
from mmearth.catalog.files import write_atomic
from mmearth.catalog.observed import Observations, open_observed
from mmearth.catalog.own_store import set_aside
from mmearth.catalog.progress import Progress, silent
from mmearth.catalog.schema import check_version, manifest_path, read_table
from mmearth.catalog.statistics import TaskStatistics
from mmearth.catalog.task import Task
from mmearth.packaging.inputs import cut, read_inputs
from mmearth.packaging.jobs import Job, Load
from mmearth.packaging.manifest import Outlines, write_manifest
from mmearth.packaging.pack import Packed, load_sample, pack
from mmearth.packaging.shard import shard_rank
from mmearth.packaging.verify_values import Expected

PARTS = ".curate/parts"
"""Where the rows of each shard wait to be joined; nothing there is worth keeping."""
_AHEAD = 2  # shards in flight for each worker: each comes with the rows of its observations


@dataclass(frozen=True, slots=True)
class Built:
    """What packaging made."""

    n_samples: dict[str, int]
    """By task."""
    dropped: dict[str, dict[str, int]]
    """Task → why tiles make no sample → how many, the most frequent first."""
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


def build(
    root: Path, card: DatasetCard, workers: Workers | None = None, progress: Progress = silent
) -> Built:
    """Pack every task of a dataset, from packs or from its own shards.

    Shards that another build left behind are deleted; nothing else in the directory is touched.

    Args:
        root: Holds catalogue.json, tiles.parquet, observations.parquet and what was collected.
        card: Names the required modalities and the size of a shard.
        workers: Who writes shards; None for one. The bytes do not depend on it.
        progress: Told about every planned sample.

    Raises:
        FormatError: A table or a member is missing or damaged.
        IntegrityError: A member is not the one that was collected.
        DataError: An array breaks its contract.
        StorageError: The disk is full.
    """
    built, catalogue = Built({}, {}, {}, 0), read_catalogue(root)
    planned = read_table(root / "tiles.parquet", ["task"], root)["task"]
    progress("package", pc.sum(pc.is_in(planned, pa.array(list(catalogue.tasks)))).as_py() or 0)
    check_version(root / "observations.parquet", root)
    set_aside(root)
    remove_unfinished(root)
    with open_observed(root, catalogue) as observed, (workers or Workers()).open() as pool:
        for task in catalogue.tasks.values():
            load = partial(load_sample, catalogue, task)
            built = built.plus(
                build_task(root, card, catalogue, task, observed, load, pool, progress)
            )
    remove_stale(root, catalogue, built.sums)
    return built


def build_task(
    root: Path,
    card: DatasetCard,
    catalogue: Catalogue,
    task: Task,
    observed: Observations,
    load: Load,
    pool: Pool,
    progress: Progress = silent,
) -> Built:
    """Pack one task; memory holds its rows of tiles.parquet, and a few shards' observations.

    Args:
        root: Holds tiles.parquet and observations.parquet.
        card: Names the required modalities and the size of a shard.
        catalogue: Of the dataset.
        task: One of its tasks.
        observed: What is known of its tiles.
        load: Reads a sample; picklable where the pool crosses processes.
        pool: Of `Workers.open`.
        progress: Told about every sample, and every tile that makes none.

    Raises:
        FormatError, IntegrityError, DataError, StorageError: As `build` says.
    """
    inputs = read_inputs(root, catalogue, task, card.require)
    made = _Made(TaskStatistics(task, tuple(catalogue.layers.values())))
    for _ in range(sum(inputs.dropped.values())):
        progress("package", None)

    def keep(packed: Packed) -> None:
        made.add(packed)
        for _ in range(packed.shard.n_samples):
            progress("package", None)

    root = root.resolve()  # workers may be elsewhere
    parts = root / PARTS
    shutil.rmtree(parts, ignore_errors=True)
    work = partial(pack, root, parts, Expected.of(catalogue, task), load)
    shards = cut(task, inputs.samples, card.shard_bytes)
    jobs = (
        Job(name, samples, observed.of_tiles(samples["tile"].to_pylist()))
        for name, samples in shards
    )
    run(jobs, work, *pool, keep, ahead=_AHEAD)
    write_manifest(root, task, catalogue, parts, sorted(made.sums, key=shard_rank), made.outlines)
    shutil.rmtree(parts, ignore_errors=True)
    text = json.dumps(made.statistics.to_json(), indent=1, ensure_ascii=False)
    write_atomic(root / "statistics" / f"{task.name}.json", (text + "\n").encode())
    n_samples = inputs.samples.num_rows
    return Built({task.name: n_samples}, {task.name: inputs.dropped}, made.sums, made.nbytes)


@dataclass(slots=True)
class _Made:
    """What came of a task's shards so far, in whatever order they are made."""

    statistics: TaskStatistics
    outlines: Outlines = field(default_factory=Outlines)
    sums: dict[str, str] = field(default_factory=dict)
    nbytes: int = 0

    def add(self, packed: Packed) -> None:
        """Add one shard."""
        self.statistics.merge(packed.statistics)
        self.outlines = self.outlines.plus(packed.outlines)
        self.sums[packed.shard.name] = packed.shard.sha256
        self.nbytes += packed.shard.nbytes


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
