"""Collected observations → shards, manifests and statistics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
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
    catalogue = read_catalogue(root)
    planned = read_table(root / "tiles.parquet", ["task"], root)["task"]
    progress("package", pc.sum(pc.is_in(planned, pa.array(list(catalogue.tasks)))).as_py() or 0)
    check_version(root / "observations.parquet", root)
    set_aside(root)
    remove_unfinished(root)
    loads = {name: partial(load_sample, catalogue, task) for name, task in catalogue.tasks.items()}
    with open_observed(root, catalogue) as observed, (workers or Workers()).open() as pool:
        built = build_tasks(root, card, catalogue, loads, observed, pool, progress)
    remove_stale(root, catalogue, built.sums)
    return built


def build_tasks(
    root: Path,
    card: DatasetCard,
    catalogue: Catalogue,
    loads: Mapping[str, Load],
    observed: Observations,
    pool: Pool,
    progress: Progress = silent,
) -> Built:
    """Pack some tasks; memory holds one's rows of tiles.parquet, and a few shards' observations.

    Args:
        root: Holds tiles.parquet and observations.parquet.
        card: Names the required modalities and the size of a shard.
        catalogue: Of the dataset.
        loads: By task, what reads a sample; picklable where the pool crosses processes.
        observed: What is known of the tasks' tiles.
        pool: Of `Workers.open`.
        progress: Told about every sample, and every tile that makes none.

    Raises:
        FormatError, IntegrityError, DataError, StorageError: As `build` says.
    """
    root = root.resolve()  # workers may be elsewhere
    shutil.rmtree(root / PARTS, ignore_errors=True)
    made = {
        name: _Packing(root, catalogue, catalogue.tasks[name], card, load)
        for name, load in loads.items()
    }

    def jobs() -> Iterator[Callable[[], Packed]]:
        for each in made.values():
            yield from each.jobs(observed, progress)
            each.finish()

    def keep(packed: Packed) -> None:
        each = made[packed.task]
        each.add(packed)
        each.finish()
        for _ in range(packed.shard.n_samples):
            progress("package", None)

    run(jobs(), _call, *pool, keep, ahead=_AHEAD)
    shutil.rmtree(root / PARTS, ignore_errors=True)
    return reduce(Built.plus, (each.built for each in made.values()), Built({}, {}, {}, 0))


def _call(job: Callable[[], Packed]) -> Packed:
    return job()


class _Packing:
    """The packing of one task: its shards, in whatever order they are made, then its manifest.

    The next task's shards are packed while the manifest of this one is written.
    """

    def __init__(
        self, root: Path, catalogue: Catalogue, task: Task, card: DatasetCard, load: Load
    ) -> None:
        """Begin with no shard."""
        self._root, self._catalogue, self._task, self._card = root, catalogue, task, card
        self._parts = root / PARTS / task.name
        self._work = partial(pack, root, self._parts, Expected.of(catalogue, task), load)
        self._statistics = TaskStatistics(task, tuple(catalogue.layers.values()))
        self._outlines = Outlines()
        self._sums: dict[str, str] = {}
        self._nbytes = 0
        self._n_shards: int | None = None  # not known before all are cut
        self._n_samples, self._dropped = 0, dict[str, int]()

    @property
    def built(self) -> Built:
        """What there is of it."""
        name = self._task.name
        return Built({name: self._n_samples}, {name: self._dropped}, self._sums, self._nbytes)

    def jobs(self, observed: Observations, progress: Progress) -> Iterator[Callable[[], Packed]]:
        """Yield what makes each shard."""
        inputs = read_inputs(self._root, self._catalogue, self._task, self._card.require)
        self._n_samples, self._dropped, n_shards = inputs.samples.num_rows, inputs.dropped, 0
        for _ in range(sum(inputs.dropped.values())):
            progress("package", None)
        for shard, samples in cut(self._task, inputs.samples, self._card.shard_bytes):
            seen = observed.of_tiles(samples["tile"].to_pylist())
            yield partial(self._work, Job(shard, samples, seen))
            n_shards += 1
        self._n_shards = n_shards

    def add(self, packed: Packed) -> None:
        """Add one shard."""
        self._statistics.merge(packed.statistics)
        self._outlines = self._outlines.plus(packed.outlines)
        self._sums[packed.shard.name] = packed.shard.sha256
        self._nbytes += packed.shard.nbytes

    def finish(self) -> None:
        """Write manifest and statistics once all shards are there."""
        if self._n_shards != len(self._sums):
            return
        names = sorted(self._sums, key=shard_rank)
        write_manifest(self._root, self._task, self._catalogue, self._parts, names, self._outlines)
        shutil.rmtree(self._parts, ignore_errors=True)
        text = json.dumps(self._statistics.to_json(), indent=1, ensure_ascii=False)
        path = self._root / "statistics" / f"{self._task.name}.json"
        write_atomic(path, (text + "\n").encode())


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
