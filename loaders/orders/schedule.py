"""Which samples make which batch, and which batches one rank reads: pure, and small to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmearth.catalog.arguments import flag, whole
from mmearth.catalog.errors import ConfigError
from mmearth.loaders.batch_reader import Rows
from mmearth.loaders.choose.index import Index
from mmearth.loaders.orders.batches import Batches
from mmearth.loaders.orders.order import ORDERS
from mmearth.loaders.orders.share import turns

_EXACT = ("sequential", "shuffled")  # orders whose batches, but for the last, have just that size
State = dict[str, Any]
"""All that a later job needs to go on: JSON, a few hundred bytes."""


@dataclass(frozen=True, slots=True)
class Where:
    """How far a job, or one worker of a DataLoader, is; the same for a Loader and a Stream."""

    epoch: int = 0
    """The one that is read."""
    position: int = 0
    """Batches of the epoch that all ranks have read, or had when the worker began."""
    n_taken: int = 0
    """Batches that one of several workers has read since; 0 where there is one, whose position
    says it."""
    n_workers: int = 1
    """How many workers the DataLoader has: only as many can go on from a worker's state."""

    def after(self, position: int) -> Where:
        """Return where it is one batch later, whose `position` this is."""
        if self.n_workers == 1:
            return Where(self.epoch, position)
        return Where(self.epoch, self.position, self.n_taken + 1, self.n_workers)


@dataclass(frozen=True, slots=True)
class Turn:
    """One batch of one rank."""

    rows: Rows
    """Of the index, (B,)."""
    is_padding: bool
    """Whether another rank reads it as well, and this one only keeps step."""
    position: int
    """Batches of the epoch that all ranks have read when each has read this turn's."""
    epoch: int
    """That is read."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that decides the batches of an epoch but the epoch's number."""

    selection: str
    """Hash of the selected samples."""
    order: str
    """One of ORDERS."""
    batch_size: int
    """Samples in a batch; geographic ones differ a little."""
    seed: int
    """Of the order."""
    drop_last: bool
    """Whether a last batch that is smaller is left out; geographic ones are all about as large."""

    def check(self) -> None:
        """Refuse what no loader can do.

        Raises:
            ConfigError: The order is not known, or another argument is not as it should be.
        """
        if not isinstance(self.order, str) or self.order not in ORDERS:
            raise ConfigError(f"found order {self.order!r}; expected one of {', '.join(ORDERS)}")
        whole("batch_size", self.batch_size, 1)
        whole("seed", self.seed)
        flag("drop_last", self.drop_last)

    @classmethod
    def of(
        cls, selection: str, order: str, batch_size: int, seed: int, drop_last: bool
    ) -> Schedule:
        """Return a checked schedule, of Python's own numbers: its state is to be JSON.

        Raises:
            ConfigError: See `check`.
        """
        size, chosen = whole("batch_size", batch_size, 1), whole("seed", seed)
        schedule = cls(selection, order, size, chosen, flag("drop_last", drop_last))
        schedule.check()
        return schedule

    def compose(self, index: Index) -> Batches:
        """Return what all epochs have in common; see `Order`."""
        found = ORDERS[self.order].compose(index.lon, index.lat, self.batch_size)
        is_short = len(found) > 0 and len(found[len(found) - 1]) < self.batch_size
        if self.drop_last and is_short and self.order in _EXACT:
            # The samples stay: a shuffle leaves out others in each epoch.
            return Batches(found.rows, found.bounds[:-1])
        return found

    def deal(self, composed: Batches, epoch: int) -> Batches:
        """Return all batches of an epoch, the same on every rank and worker."""
        return ORDERS[self.order].deal(composed, self.seed, epoch)

    def state(self, where: Where) -> State:
        """Return where a job is."""
        return {**asdict(self), **asdict(where)}

    def resume(self, state: State) -> Where:
        """Return where the job of a state was.

        Raises:
            ConfigError: It is of another selection, order, batch size or seed, or no state.
        """
        names = [*asdict(self), *asdict(Where())]
        missing = names if not isinstance(state, Mapping) else [n for n in names if n not in state]
        if missing:
            raise ConfigError(
                f"found a state without {missing[0]} ({type(state).__name__}); expected what "
                "state_dict() of a loader or a stream returned"
            )
        for name, ours in asdict(self).items():
            if state[name] != ours:
                raise ConfigError(
                    f"the state is of a loader with {name} {state[name]!r}, this one has "
                    f"{ours!r}: make the loader as it was, or begin anew without the state"
                )
        least = asdict(Where())
        return Where(**{n: whole(f"{n} of the state", state[n], least[n]) for n in least})


def rank_turns(
    batches: Batches, position: int, rank: int, world: int, epoch: int = 0
) -> Iterator[Turn]:
    """Yield what one rank reads from a position of the epoch on; all ranks yield equally many."""
    for step, (batch, is_padding) in enumerate(turns(len(batches), position, rank, world)):
        done = min(position + (step + 1) * world, len(batches))
        yield Turn(batches[batch], is_padding, done, epoch)


def described(index: Index, schedule: Schedule) -> str:
    """Return what a loader or a stream reads, for people, on one line."""
    return (
        f"of {len(index):,} samples of {index.task.name} ({', '.join(index.layers)}): "
        f"{schedule.order}, batches of {schedule.batch_size}, seed {schedule.seed}"
    )
