"""Loader: the batches of a selection in an order, read ahead; it can stop and go on anywhere."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, NamedTuple

from mmearth.catalog.arguments import flag, whole
from mmearth.catalog.errors import ConfigError
from mmearth.loaders.batch_reader import BatchReader
from mmearth.loaders.collate import Batch, collate, pinned
from mmearth.loaders.orders.batches import Batches
from mmearth.loaders.orders.ranks import ranks
from mmearth.loaders.orders.schedule import Schedule, State, Where, described, rank_turns
from mmearth.loaders.pool import Pool, nbytes_of
from mmearth.loaders.reading import Reading, Thread, read_ahead
from mmearth.loaders.ring import Ring

_MOST_WORKERS = 1024


class _Kept(NamedTuple):
    """What the next epoch reads with."""

    process: int
    """That began it: a fork has its memory, and neither its threads nor its sockets."""
    size: int
    """Samples of the greatest batch."""
    reading: Reading
    """It."""


@dataclass(slots=True, repr=False)
class Loader:
    """Iterates over the batches of one epoch, from where it is on; then it is at the next epoch.

    A batch's memory is used again once its last tensor is gone, so a batch may be kept as long as
    one likes; see `collate.Batch` for what is in it. It can be pickled, copied and forked: what it
    reads with stays with the process that began it.
    """

    reader: BatchReader
    """Reads the samples."""
    schedule: Schedule
    """Which samples make which batch."""
    epoch: int = 0
    """The one that the next iteration reads."""
    workers: int = 0
    """Processes that read; 0: a thread of this one, which is the fastest until reading is slow."""
    prefetch: int = 2
    """Batches read ahead, for each process."""
    pin_memory: bool = False
    """Whether batches lie in memory that a GPU copies from without waiting."""
    rank: int | None = None
    """This process's, from 0; None: that of torch.distributed or of the launcher."""
    world: int | None = None
    """How many ranks there are; None: as for `rank`."""
    position: int = field(default=0, init=False)
    """Batches of the epoch that were taken, on all ranks together."""
    _begin: int = field(default=0, init=False)
    _kept: _Kept | None = field(default=None, init=False)
    _composed: Batches | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.schedule.check()
        self.epoch = whole("epoch", self.epoch)
        self.workers = whole("workers", self.workers, 0, _MOST_WORKERS)
        self.prefetch = whole("prefetch", self.prefetch)
        self.pin_memory = flag("pin_memory", self.pin_memory)
        if self.rank is not None or self.world is not None:
            self.rank, self.world = ranks(self.rank, self.world)
        if self.pin_memory and self.workers:
            raise ConfigError(
                "workers fill memory that cannot be pinned; give pin_memory or workers"
            )

    def __getstate__(self) -> dict[str, Any]:
        # Threads, processes and sockets stay here: another process reads with its own.
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"_kept": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return f"<Loader {described(self.reader.index, self.schedule)}, epoch {self.epoch}>"

    def __len__(self) -> int:
        """Return how many batches this rank reads in a whole epoch; the same on every rank."""
        return math.ceil(len(self._of_all_epochs()) / self._ranks()[1])

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the epoch, or after `load_state_dict` those that are left of it.

        Raises:
            IntegrityError: Bytes differ from their checksum, or the dataset was rebuilt meanwhile.
            SourceError: A remote place does not answer.
            ConfigError: The ranks make no sense.
        """
        process = os.getpid()
        batches = self.schedule.deal(self._of_all_epochs(), self.epoch)
        self.position, self._begin = self._begin, 0
        turns = rank_turns(batches, self.position, *self._ranks(), self.epoch)
        size = batches.greatest
        finish = partial(collate, self.reader, self.reader.layout(size))
        reading = self._begin_reading(size)
        try:
            depth = self.prefetch * max(self.workers, 1)
            for turn, batch in read_ahead(reading, turns, depth, finish):
                self.position = turn.position
                yield batch
                del batch  # else its block is not free before the batch after the next one is there
                if os.getpid() != process:
                    raise ConfigError(
                        "this process was forked while the loader was in the middle of an epoch, "
                        "whose threads stayed behind; begin an epoch of its own here"
                    )
            # Only after a whole epoch: else there are batches under way that nobody waits for.
            self._kept = _Kept(process, size, reading)
        finally:
            if self._kept is None:
                reading.close()
        self.epoch, self.position = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch from its first batch.

        Raises:
            ConfigError: It is no whole number from 0.
        """
        self.epoch, self.position, self._begin = whole("epoch", epoch), 0, 0

    def state_dict(self) -> State:
        """Return where the loader is, after the last batch that was taken from it.

        Any number of ranks and workers goes on from there with exactly the batches that are left.
        """
        return self.schedule.state(Where(self.epoch, self.position))

    def load_state_dict(self, state: State) -> None:
        """Go on where another loader, or a stream, of the same samples was.

        Raises:
            ConfigError: The state is of other samples, another order, batch size or seed, or of one
                of several workers of a DataLoader, which does not say where the others were.
        """
        where = self.schedule.resume(state)
        if where.n_workers > 1:
            raise ConfigError(
                f"the state is of one of {where.n_workers} workers of a DataLoader, and does not "
                "say where the others were; give it to a StatefulDataLoader with as many"
            )
        self.epoch, self.position = where.epoch, where.position
        self._begin = self.position

    def _ranks(self) -> tuple[int, int]:
        return ranks(self.rank, self.world)

    def _of_all_epochs(self) -> Batches:
        if self._composed is None:
            self._composed = self.schedule.compose(self.reader.index)
        return self._composed

    def _begin_reading(self, size: int) -> Reading:
        """Return what the epoch before has read with, or something new."""
        kept, self._kept = self._kept, None
        if kept is not None and (kept.process, kept.size) == (os.getpid(), size):
            return kept.reading
        if kept is not None:
            kept.reading.close()
        if self.workers:
            return Ring(self.reader, size, self.workers)
        nbytes = nbytes_of(self.reader.layout(size))
        if self.pin_memory:
            return Thread(self.reader, size, lambda: pinned(nbytes))
        pool = Pool(nbytes)
        return Thread(self.reader, size, lambda: pool.blocks[pool.take()])
