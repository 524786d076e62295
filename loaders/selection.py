"""Selection: the samples that a query chooses, counted before anything of them is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from mmearth.catalog.arguments import flag, whole
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.query import Query
from mmearth.catalog.task import Task
from mmearth.loaders.batch_reader import BatchReader
from mmearth.loaders.choose.counting import Counts, percent, size
from mmearth.loaders.choose.index import Index
from mmearth.loaders.choose.indexing import MEMORY_BYTES, build_index
from mmearth.loaders.fetch.digests import Verify
from mmearth.loaders.fetch.members import GAP_BYTES, Members
from mmearth.loaders.fetch.members_compact import decoders
from mmearth.loaders.inputs import Normalisation
from mmearth.loaders.orders.schedule import Schedule
from mmearth.loaders.query import connect, rows

if TYPE_CHECKING:
    from mmearth.loaders.dataset import Dataset
    from mmearth.loaders.loader import Loader
    from mmearth.loaders.stream import Stream


@contextmanager
def needing_torch() -> Iterator[None]:
    """Turn the absence of PyTorch inside the block into one sentence.

    Raises:
        ConfigError: PyTorch is not installed, or cannot be loaded.
    """
    try:
        yield
    except (ModuleNotFoundError, OSError) as exc:
        raise ConfigError(
            f"batches of tensors need PyTorch, which cannot be imported ({exc}): "
            "pip install 'mmearth[torch]'"
        ) from exc


@dataclass(frozen=True)
class Selection:
    """The samples of one task that a query chooses from a dataset, in the manifest's order."""

    dataset: Dataset
    """Where they are."""
    query: Query
    """What was asked."""
    counts: Counts
    """How many there are."""

    @property
    def catalogue(self) -> Catalogue:
        """The dataset's: what the arrays of a batch mean."""
        return self.dataset.catalogue

    @property
    def task(self) -> Task:
        """What is to be predicted; the classes of its target have their names in `outputs`."""
        return self.catalogue.task(self.query.task)

    @property
    def count(self) -> int:
        """Number of samples."""
        return self.counts.samples

    def __len__(self) -> int:
        return self.counts.samples

    @property
    def nbytes(self) -> int:
        """Bytes of the chosen members as they are stored, pixel-level target included.

        Tile-level modalities and targets are in the manifest and cost no byte of a shard.
        """
        return sum(self.bytes_by_member.values())

    @property
    def bytes_by_member(self) -> dict[str, int]:
        """Bytes by pixel-level modality; of a pixel-level target under the task's name."""
        return self.counts.nbytes

    @cached_property
    def index(self) -> Index:
        """What a loader must know of every sample; read from the manifest when first asked for.

        Raises:
            FormatError, IntegrityError, StorageError: See `build_index`.
        """
        return self.build_index()

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the dataset's hash, the task and the samples' shards, places and dates.

        Other modalities of the same samples have the same hash.
        """
        return self.index.hash(self.dataset.hash)

    def build_index(
        self,
        checksums: bool = True,
        memory_bytes: int = MEMORY_BYTES,
        directory: Path | str | None = None,
    ) -> Index:
        """Read what a loader must know of every sample from the manifest.

        Args:
            checksums: Whether to read the members' SHA-256, which are half of an index.
            memory_bytes: An index of more bytes lies in temporary files.
            directory: Where those are; the system's temporary directory unless given.

        Raises:
            ConfigError: An argument is not as said.
            FormatError: The manifest is damaged or contradicts itself.
            IntegrityError: The dataset was built again since it was opened.
            StorageError: The disk is full.
        """
        flag("checksums", checksums)
        whole("memory_bytes", memory_bytes)
        if directory == "" or not isinstance(directory, str | os.PathLike | None):
            raise ConfigError(f"found directory {directory!r}; expected one, or None")
        directory = None if directory is None else Path(directory)
        self.dataset.check_unchanged()
        tables = self.dataset.tables
        index = build_index(tables, self.query, self.count, checksums, memory_bytes, directory)
        self.dataset.check_unchanged()
        return index

    def loader(
        self,
        batch_size: int = 32,
        order: str = "shuffled",
        seed: int = 0,
        epoch: int = 0,
        workers: int = 0,
        *,
        normalise: Normalisation | str | None = None,
        drop_last: bool = False,
        prefetch: int = 2,
        pin_memory: bool = False,
        rank: int | None = None,
        world: int | None = None,
        verify: Verify = "all",
        gap: int = GAP_BYTES,
    ) -> Loader:
        """Return what iterates over the samples in batches of tensors; see `Loader` and `Batch`.

        Args:
            batch_size: Samples in a batch.
            order: `sequential`, `shuffled`, `geographic` or one `…_published`; see ORDERS.
            seed: Of the order.
            epoch: The first that is read.
            workers: Processes that read; 0: a thread.
            normalise: What the model wants; `train`: the statistics of the train subset that the
                query's fraction names; None: values as they are stored.
            drop_last: Leave out a last batch that is smaller.
            prefetch: Batches read ahead, for each process.
            pin_memory: Batches lie in memory that a GPU copies from without waiting.
            rank: This process's; None: that of torch.distributed or of the launcher.
            world: How many ranks there are; None: as for `rank`.
            verify: Which local members are compared with their SHA-256 when they are read first:
                `all`, `sampled` (a sixteenth of the samples, another one each epoch) or `none`;
                remote ones always are.
            gap: Bytes between two ranges of a remote shard up to which they are one request.

        Raises:
            ConfigError: A value is not as said, or PyTorch is not installed.
        """
        with needing_torch():
            from mmearth.loaders.loader import Loader
        schedule = Schedule.of(self.hash, order, batch_size, seed, drop_last)
        threads = 1 if workers else decoders()
        reader = self._reader(normalise, verify, gap, threads)
        return Loader(reader, schedule, epoch, workers, prefetch, pin_memory, rank, world)

    def stream(
        self,
        batch_size: int = 32,
        order: str = "shuffled",
        seed: int = 0,
        epoch: int = 0,
        *,
        normalise: Normalisation | str | None = None,
        drop_last: bool = False,
        rank: int | None = None,
        world: int | None = None,
        verify: Verify = "all",
        gap: int = GAP_BYTES,
    ) -> Stream:
        """Return the same batches for `DataLoader(stream, batch_size=None, num_workers=…)`.

        A DataLoader copies every batch between its processes: `loader` does not, and is the faster.
        The arguments are those of `loader`.

        Raises:
            ConfigError: A value is not as said, or PyTorch is not installed.
        """
        with needing_torch():
            from mmearth.loaders.stream import Stream
        schedule = Schedule.of(self.hash, order, batch_size, seed, drop_last)
        return Stream(self._reader(normalise, verify, gap), schedule, epoch, rank, world)

    def _reader(
        self, normalise: Normalisation | str | None, verify: Verify, gap: int, threads: int = 1
    ) -> BatchReader:
        if isinstance(normalise, str) and normalise == "train":
            subset = {100: "train", 50: "train_50", 5: "train_5"}[self.query.fraction]
            normalise = self.dataset.normalisation(self.query.task, subset)
        elif normalise is not None and not isinstance(normalise, Normalisation):
            raise ConfigError(
                f"found normalise={normalise!r}; expected 'train', a Normalisation or None"
            )
        if normalise is not None:
            normalise = normalise.only(self.query.modalities)
            normalise.check(self.catalogue)
        dataset = self.dataset
        how = verify, gap, dataset.cache, threads
        members = Members(dataset.root, self.index, dataset.hash, *how)
        return BatchReader.of(self.index, members, normalise)

    def first_keys(self, n: int = 10) -> list[str]:
        """Return the keys of the first samples.

        Raises:
            ConfigError: `n` is no whole number from 1.
        """
        n = whole("n", n, 1)
        asked = f"SELECT key FROM (SELECT key {rows(self.query)}) LIMIT {n}"
        with connect(self.dataset.tables, asked) as connection:
            return [key for (key,) in connection.sql(asked).fetchall()]

    def to_json(self) -> dict[str, Any]:
        """Return the query and the counts as JSON knows them."""
        return {
            "place": self.dataset.root.url,
            "dataset_hash": self.dataset.hash,
            **asdict(self.query),
            "samples": self.count,
            "samples_by_split": self.counts.split,
            "samples_with": self.counts.present,
            "samples_labelled": self.counts.labelled,
            "bytes": self.nbytes,
            "bytes_by_member": self.bytes_by_member,
        }

    def __str__(self) -> str:
        counts, sizes = self.counts, self.bytes_by_member
        splits = ", ".join(f"{name} {n}" for name, n in counts.split.items())
        shares = ", ".join(f"{name} {percent(n, self.count)}" for name, n in counts.present.items())
        parts = ", ".join(f"{name} {size(n)}" for name, n in sizes.items())
        task = self.task
        unit = "" if task.unit == "1" else f" in {task.unit}"
        outputs = shorten(", ".join(task.outputs), 80, placeholder=", …")
        lines = [
            f"{task.name} of {self.dataset.root.url}: {self.count:,} samples",
            f"  splits      {splits}",
            f"  modalities  {shares}",
            f"  bytes       {size(self.nbytes)}" + (f": {parts}" if len(sizes) > 1 else ""),
            f"  target      {task.kind} of {outputs}{unit}",
        ]
        if counts.labelled < self.count:
            lines.insert(3, f"  labelled    {percent(counts.labelled, self.count)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Selection {self}>"
