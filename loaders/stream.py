"""Stream: the same batches for torch's own DataLoader and for torchdata's StatefulDataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from mmearth.loaders.batch_reader import BatchReader
from mmearth.loaders.collate import Batch, collate
from mmearth.loaders.orders.ranks import ranks
from mmearth.loaders.orders.schedule import Schedule, State, rank_turns
from mmearth.loaders.pool import Pool, carve, nbytes_of
from mmearth.loaders.reading import scratch


class Stream(IterableDataset[Batch]):
    """Yields whole batches: `DataLoader(stream, batch_size=None, num_workers=…)`.

    Each worker of a DataLoader reads every n-th batch of its rank, so that the DataLoader gives the
    same batches in the same order whatever the number of its workers.
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
        self.epoch = epoch
        # A DataLoader's workers could not find it out.
        self.rank, self.world = ranks(rank, world)
        self._begin = 0
        self._n_taken = 0

    def __iter__(self) -> Iterator[Batch]:
        """Yield this worker's batches of the epoch, or those that `load_state_dict` left."""
        info = get_worker_info()
        worker, n_workers = (0, 1) if info is None else (info.id, info.num_workers)
        batches = self.schedule.deal(self.schedule.compose(self.reader.index), self.epoch)
        turns = rank_turns(batches, self._begin, self.rank, self.world)
        layout = self.reader.layout(batches.greatest)
        pool, work = Pool(nbytes_of(layout)), scratch(self.reader, batches.greatest)
        n_before = self._n_taken
        for turn in islice(turns, worker + n_before * n_workers, None, n_workers):
            block = pool.blocks[pool.take()]
            extents = self.reader.read(turn.rows, carve(block, layout), work)
            self._n_taken += 1
            batch = collate(self.reader, layout, turn, block, extents)
            del block
            yield batch
        self._begin = self._n_taken = 0

    def set_epoch(self, epoch: int, position: int = 0) -> None:
        """Begin an epoch, where a batch's `position` says: with any number of ranks and workers."""
        self.epoch, self._begin, self._n_taken = epoch, position, 0

    def state_dict(self) -> State:
        """Return where this worker is, for torchdata's StatefulDataLoader."""
        return {**self.schedule.state(self.epoch, self._begin), "n_taken": self._n_taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where this worker was; it wants as many workers and ranks as there were.

        Raises:
            ConfigError: The state is of other samples, another order, batch size or seed.
        """
        self.epoch, self._begin = self.schedule.resume(state)
        self._n_taken = int(state["n_taken"])
