"""Which samples make which batch, and which batches one rank reads: pure, and small to keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

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
class Turn:
    """One batch of one rank."""

    rows: Rows
    """Of the index, (B,)."""
    is_padding: bool
    """Whether another rank reads it as well, and this one only keeps step."""
    position: int
    """Batches of the epoch that all ranks have read when each has read this turn's."""


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
            ConfigError: The order is not known, or the size is below one.
        """
        if self.order not in ORDERS:
            raise ConfigError(f"found order {self.order!r}; expected one of {', '.join(ORDERS)}")
        if self.batch_size < 1:
            raise ConfigError(f"found batch_size {self.batch_size}; expected 1 or more")
        if self.seed < 0:
            raise ConfigError(f"found seed {self.seed}; expected 0 or more")

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

    def state(self, epoch: int, position: int) -> State:
        """Return where a job is."""
        return {**asdict(self), "epoch": epoch, "position": position}

    def resume(self, state: State) -> tuple[int, int]:
        """Return epoch and position of a state.

        Raises:
            ConfigError: It is of another selection, order, batch size or seed.
        """
        for name, ours in asdict(self).items():
            if state.get(name) != ours:
                raise ConfigError(
                    f"the state is of a loader with {name} {state.get(name)!r}, this one has "
                    f"{ours!r}: make the loader as it was, or begin anew without the state"
                )
        return int(state["epoch"]), int(state["position"])


def rank_turns(batches: Batches, position: int, rank: int, world: int) -> Iterator[Turn]:
    """Yield what one rank reads from a position of the epoch on; all ranks yield equally many."""
    for step, (batch, is_padding) in enumerate(turns(len(batches), position, rank, world)):
        done = min(position + (step + 1) * world, len(batches))
        yield Turn(batches[batch], is_padding, done)
