"""One shard: samples are read, looked at and written, by any worker with the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import DataError, FormatError
from mmearth.catalog.observed import decoded
from mmearth.catalog.sample import Observation, Sample
from mmearth.catalog.statistics import TaskStatistics
from mmearth.catalog.store import StoreReader
from mmearth.catalog.targets import target_array
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.packaging.codec import encode
from mmearth.packaging.jobs import Job, Load, Loaded, Planned, Row
from mmearth.packaging.manifest import Outlines, Share, manifest_row, part_of, write_part
from mmearth.packaging.shard import Shard, ShardWriter
from mmearth.packaging.verify_values import Expected


@dataclass(frozen=True, slots=True)
class Packed:
    """What came of it."""

    task: str
    """Whose it is."""
    shard: Shard
    """The file."""
    statistics: TaskStatistics
    """Of its train samples."""
    outlines: Outlines
    """Where its samples are."""


def pack(root: Path, parts: Path, expected: Expected, load: Load, job: Job) -> Packed:
    """Write one shard, and its rows of the manifest as a part.

    Args:
        root: The dataset's directory.
        parts: The folder of the parts; see `write_part`.
        expected: What the task's samples are made of.
        load: Reads one.
        job: Which samples.

    Raises:
        FormatError: A member is missing or is none of its layer.
        IntegrityError: A member is not the one that was collected.
        DataError: An array breaks its contract.
        StorageError: The disk is full.
    """
    layers = tuple(expected.catalogue.layers.values())
    statistics, rows = TaskStatistics(expected.task, layers), []
    writer = ShardWriter(root, job.name)
    try:
        with StoreReader(root) as reader:
            for batch in job.batches():
                made = []
                for planned in batch:
                    loaded = load(reader, planned)
                    made.append(_add(writer, job.name, expected, loaded, planned, statistics))
                rows.append(part_of(made, expected.catalogue))
        outlines = write_part(parts, job.name, pa.concat_tables(rows))
        return Packed(expected.task.name, writer.close(), statistics, outlines)
    except BaseException:
        writer.abandon()
        raise


def _add(
    writer: ShardWriter,
    shard: str,
    expected: Expected,
    loaded: Loaded,
    planned: Planned,
    statistics: TaskStatistics,
) -> Row:
    """Add a sample to a shard and to the statistics; return its row of the manifest."""
    sample, catalogue = loaded.sample, expected.catalogue
    shares = look(sample, expected)
    digests = {
        catalogue.codec.member(name): planned.observed[name].location.sha256
        for name in loaded.stored
    }
    members = encode(sample, _missing(planned, catalogue), catalogue, loaded.stored)
    ranges = writer.write(sample.key, members, digests)
    if sample.split == "train":
        subsets = ("train", *(name for name in ("train_50", "train_5") if planned.tile[name]))
        arrays = {name: seen.array for name, seen in sample.observations.items()}
        statistics.update(subsets, arrays, sample.target)
    return manifest_row(planned, sample, shard, ranges, shares, catalogue)


def load_sample(catalogue: Catalogue, task: Task, reader: StoreReader, planned: Planned) -> Loaded:
    """Read a sample's members from packs or shards, and its values without pixels.

    Raises:
        FormatError: A member is missing or is none of its layer.
        IntegrityError: A member is not the one that was collected.
    """
    stored: dict[str, bytes] = {}
    observations: dict[str, Observation] = {}
    target = None if task.is_pixel else _planned_target(task, planned)
    for name, seen in planned.done.items():
        if name in catalogue.layers or name == task.name:
            layer = catalogue.observed(name)
            if layer.is_pixel:
                stored[name] = seen.member(reader, layer)
                observation = decoded(seen, stored[name], catalogue)
            else:
                observation = seen.observation(layer, seen.array(layer))
            if name == task.name:
                target = observation.array[0]
            else:
                observations[name] = observation
    tile = Tile.parse(planned.tile["tile"], catalogue.grid)
    sample = Sample(tile, planned.date, task, planned.tile["split"], target, observations)
    return Loaded(sample, stored)


def look(sample: Sample, expected: Expected) -> dict[str, Share]:
    """Look at every value of a sample; return which share is valid, by modality.

    Raises:
        DataError: It has no modality, or an array breaks its contract; the note names the sample.
    """
    try:
        if not sample.observations:
            raise DataError("it has no modality; expected at least one")
        sample.task.check(sample.target)
        return {name: _share(seen, expected) for name, seen in sample.observations.items()}
    except DataError as exc:
        exc.add_note(f"sample {sample.key}, task {sample.task.name}")
        raise


def _share(seen: Observation, expected: Expected) -> Share:
    if not seen.layer.is_pixel:
        seen.check()
        return seen.valid_fraction, None
    n_valid = expected.contracts[seen.layer.name].n_valid(seen.array)
    bands = (n_valid / (seen.array.size // len(seen.array))).tolist()
    return int(n_valid.sum()) / seen.array.size, bands


def _planned_target(task: Task, planned: Planned) -> NDArray[np.generic] | None:
    """Return the tile-level target of a planned sample, (band,); None where it may have none.

    Raises:
        FormatError: It has none and must, or it is no target of the task.
    """
    target = target_array(task, planned.tile[task.column])
    if target is None and not task.optional:
        raise FormatError(
            f"tiles.parquet has no target for tile {planned.tile['tile']} of {task.name}; "
            "plan it again"
        )
    return target


def _missing(planned: Planned, catalogue: Catalogue) -> dict[str, str]:
    """Return modality → why a sample does not have it."""
    return {
        name: seen.reason or seen.state
        for name, seen in planned.observed.items()
        if seen.state != "done" and name in catalogue.layers
    }
