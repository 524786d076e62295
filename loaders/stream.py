"""Stream: the same batches for torch's own DataLoader and for torchdata's StatefulDataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from mmearth.catalog.arguments import whole
from mmearth.catalog.errors import ConfigError, StorageError
from mmearth.loaders.batch_reader import BatchReader
from mmearth.loaders.collate import Batch, collate
from mmearth.loaders.orders.ranks import ranks
from mmearth.loaders.orders.schedule import Schedule, State, Where, described, rank_turns
from mmearth.loaders.pool import Pool, carve, nbytes_of
from mmearth.loaders.reading import scratch

_OF_A_WORKER = (
    "the state is of one of {} workers of a DataLoader, and {}; give it to a StatefulDataLoader "
    'with as many, or go on after a batch: `stream.set_epoch(epoch, batch["position"])`'
)


class Stream(IterableDataset[Batch]):
    """Yields whole batches: `DataLoader(stream, batch_size=None, num_workers=…)`.

    Each worker of a DataLoader reads every n-th batch of its rank, so that the DataLoader gives the
    same batches in the same order whatever the number of its workers. Workers that stay from epoch
    to epoch (`persistent_workers=True`) follow `set_epoch` too.
    """

    def __init__(
        self,
        reader: BatchReader,
        schedule: Schedule,
        epoch: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        """Make a stream, in the process that knows its rank.

        Args:
            reader: Reads the samples.
            schedule: Which samples make which batch.
            epoch: The one that the next iteration reads.
            rank: This process's; None: that of torch.distributed or of the launcher.
            world: How many ranks there are; None: as for `rank`.

        Raises:
            ConfigError: The schedule or the ranks make no sense.
        """
        schedule.check()
        self.reader = reader
        self.schedule = schedule
        # A DataLoader's workers could not find it out.
        self.rank, self.world = ranks(rank, world)
        self._next = Where(whole("epoch", epoch))  # where the next iteration begins
        self._now = self._next  # and where this one is
        self._heard = 0
        # How often `set_epoch` was called, epoch and position: seen by workers that run already.
        self._said = _shared(torch.tensor([0, epoch, 0]))

    @property
    def epoch(self) -> int:
        """The one that the next iteration reads."""
        return self._next.epoch

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a stream; one that was copied speaks to workers of its own."""
        self.__dict__.update(state)
        self._said = _shared(self._said)

    def __repr__(self) -> str:
        return f"<Stream {described(self.reader.index, self.schedule)}, epoch {self.epoch}>"

    def __iter__(self) -> Iterator[Batch]:
        """Yield this worker's batches of the epoch, or those that `load_state_dict` left.

        Raises:
            ConfigError: The state was of a DataLoader with another number of workers.
        """
        info = get_worker_info()
        worker, n_workers = (0, 1) if info is None else (info.id, info.num_workers)
        self._listen()
        begin = self._next
        if begin.n_taken and begin.n_workers != n_workers:
            raise ConfigError(_OF_A_WORKER.format(begin.n_workers, f"here are {n_workers}"))
        self._next = Where(begin.epoch)
        batches = self.schedule.deal(self.schedule.compose(self.reader.index), begin.epoch)
        turns = rank_turns(batches, begin.position, self.rank, self.world, begin.epoch)
        layout = self.reader.layout(batches.greatest)
        pool, work = Pool(nbytes_of(layout)), scratch(self.reader, batches.greatest)
        self._now = Where(begin.epoch, begin.position, begin.n_taken, n_workers)
        for turn in islice(turns, worker + begin.n_taken * n_workers, None, n_workers):
            block = pool.blocks[pool.take()]
            extents = self.reader.read(turn.rows, carve(block, layout), work, turn.epoch)
            self._now = self._now.after(turn.position)
            batch = collate(self.reader, layout, turn, block, extents)
            del block
            yield batch
        self._now = self._next

    def set_epoch(self, epoch: int, position: int = 0) -> None:
        """Begin an epoch, where a batch's `position` says: with any number of ranks and workers.

        Raises:
            ConfigError: They are no whole numbers from 0.
        """
        self._begin(Where(whole("epoch", epoch), whole("position", position)))

    def state_dict(self) -> State:
        """Return where this stream is, or, in a worker, where this worker is.

        A `Loader` and a stream go on from it; from a worker's only StatefulDataLoader does.
        """
        return self.schedule.state(self._now)

    def load_state_dict(self, state: State) -> None:
        """Go on where a stream, a loader or, in a worker, this worker was.

        Raises:
            ConfigError: The state is of other samples, another order, batch size or seed, or of a
                worker and this is none.
        """
        where = self.schedule.resume(state)
        if where.n_workers > 1 and get_worker_info() is None:
            raise ConfigError(_OF_A_WORKER.format(where.n_workers, "this is none"))
        self._begin(where)

    def _begin(self, where: Where) -> None:
        self._next = self._now = where
        if get_worker_info() is None:
            self._heard += 1
            self._said.copy_(torch.tensor([self._heard, where.epoch, where.position]))

    def _listen(self) -> None:
        """Take over what was said in the process that this worker belongs to."""
        heard, epoch, position = self._said.tolist()
        if heard != self._heard:
            self._heard, self._next = heard, Where(epoch, position)


def _shared(numbers: torch.Tensor) -> torch.Tensor:
    """Return numbers in memory that workers see, whether they are forked or spawned."""
    try:
        if not numbers.is_shared():  # type: ignore[no-untyped-call]
            return numbers.clone().share_memory_()  # type: ignore[no-untyped-call, no-any-return]
        return numbers
    except RuntimeError as exc:
        raise StorageError(
            f"there is no room in shared memory for a stream ({exc}); give /dev/shm room "
            "(`docker run --shm-size=2g`)"
        ) from exc
