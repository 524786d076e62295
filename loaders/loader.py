"""Loader: the batches of a selection in an order, read ahead; it can stop and go on anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from mmearth.catalog.errors import ConfigError
from mmearth.loaders.batch_reader import BatchReader
from mmearth.loaders.collate import Batch, collate, pinned
from mmearth.loaders.orders.batches import Batches
from mmearth.loaders.orders.ranks import ranks
from mmearth.loaders.orders.schedule import Schedule, State, rank_turns
from mmearth.loaders.pool import Pool, nbytes_of
from mmearth.loaders.reading import Reading, Thread, read_ahead
from mmearth.loaders.ring import Ring


@dataclass(slots=True)
class Loader:
    """Iterates over the batches of one epoch, from where it is on; then it is at the next epoch.

    A batch's memory is used again once its last tensor is gone, so a batch may be kept as long as
    one likes; see `collate.Batch` for what is in it.
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
    _begin: int = field(default=0, repr=False, init=False)
    _kept: tuple[int, Reading] | None = field(default=None, repr=False, init=False)
    _composed: Batches | None = field(default=None, repr=False, init=False)

    def __post_init__(self) -> None:
        self.schedule.check()
        for name in ("epoch", "workers", "prefetch"):
            if (found := getattr(self, name)) < 0:
                raise ConfigError(f"found {name} {found}; expected 0 or more")
        if self.pin_memory and self.workers:
            raise ConfigError(
                "workers fill memory that cannot be pinned; give pin_memory or workers"
            )

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
        batches = self.schedule.deal(self._of_all_epochs(), self.epoch)
        self.position, self._begin = self._begin, 0
        turns = rank_turns(batches, self.position, *self._ranks())
        size = batches.greatest
        finish = partial(collate, self.reader, self.reader.layout(size))
        reading = self._begin_reading(size)
        try:
            depth = self.prefetch * max(self.workers, 1)
            for turn, batch in read_ahead(reading, turns, depth, finish):
                self.position = turn.position
                yield batch
                del batch  # else its block is not free before the batch after the next one is there
            # Only after a whole epoch: else there are batches under way that nobody waits for.
            self._kept = size, reading
        finally:
            if self._kept is None:
                reading.close()
        self.epoch, self.position = self.epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch from its first batch."""
        self.epoch, self.position, self._begin = epoch, 0, 0

    def state_dict(self) -> State:
        """Return where the loader is, after the last batch that was taken from it.

        Any number of ranks and workers goes on from there with exactly the batches that are left.
        """
        return self.schedule.state(self.epoch, self.position)

    def load_state_dict(self, state: State) -> None:
        """Go on where another loader of the same samples was.

        Raises:
            ConfigError: The state is of other samples, another order, batch size or seed.
        """
        self.epoch, self.position = self.schedule.resume(state)
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
        if kept is not None and kept[0] == size:
            return kept[1]
        if kept is not None:
            kept[1].close()
        if self.workers:
            return Ring(self.reader, size, self.workers)
        nbytes = nbytes_of(self.reader.layout(size))
        if self.pin_memory:
            return Thread(self.reader, size, lambda: pinned(nbytes))
        pool = Pool(nbytes)
        return Thread(self.reader, size, lambda: pool.blocks[pool.take()])
