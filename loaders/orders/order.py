"""ORDERS: in which batches an epoch's samples come; pure functions to arrays.

An order has two steps: which samples make a batch, or stand where, is composed once from their
places; each epoch then deals that anew from seed and epoch alone. So an epoch is the same for any
number of workers and ranks, and to go on in its middle is to begin at a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmearth.catalog.errors import ConfigError
from mmearth.loaders.orders.batches import Batches, Degrees, cut
from mmearth.loaders.orders.geographic import bisect
from mmearth.loaders.orders.geographic_published import partition

Compose = Callable[[Degrees, Degrees, int], Batches]
"""(lon, lat, batch_size) → batches; of the places alone."""
Deal = Callable[[Batches, int, int], Batches]
"""(composed, seed, epoch) → the epoch's batches."""


@dataclass(frozen=True, slots=True)
class Order:
    """How an epoch is ordered."""

    compose: Compose
    """Which samples stand together; costly for the geographic ones, and done once."""
    deal: Deal
    """What each epoch makes of it; cheap."""

    def __call__(
        self, lon: Degrees, lat: Degrees, batch_size: int, seed: int, epoch: int
    ) -> Batches:
        """Return the batches of an epoch.

        Args:
            lon: Of the samples' centres, degrees, (n,).
            lat: The same.
            batch_size: Samples in a batch.
            seed: Of the deal.
            epoch: From 0.

        Raises:
            ConfigError: The size is below one, or a place is not on the Earth.
        """
        if batch_size < 1:
            raise ConfigError(f"found batch_size {batch_size}; expected 1 or more")
        return self.deal(self.compose(lon, lat, batch_size), seed, epoch)


def in_turn(lon: Degrees, lat: Degrees, batch_size: int) -> Batches:
    """Cut the samples as they come, in the order of the shards; the last batch may be smaller."""
    return cut(np.arange(len(lon)), batch_size)


def in_turn_published(lon: Degrees, lat: Degrees, batch_size: int) -> Batches:
    """Cut the samples as they come; a last batch that is too small is joined to the one before it.

    Source:
        MMEarth-Bench, TTT-MMR: random batches of 8, the remainder merged into the last.
    """
    batches = in_turn(lon, lat, batch_size)
    if len(batches) > 1 and len(batches[len(batches) - 1]) < batch_size:
        return Batches(batches.rows, np.delete(batches.bounds, -2))
    return batches


def as_composed(batches: Batches, seed: int, epoch: int) -> Batches:
    """Return the same batches in every epoch."""
    return batches


def shuffle_samples(batches: Batches, seed: int, epoch: int) -> Batches:
    """Return batches of the same sizes from a permutation of all samples."""
    rows = batches.rows.copy()
    _generator(seed, epoch).shuffle(rows)
    return Batches(rows, batches.bounds)


def shuffle_batches(batches: Batches, seed: int, epoch: int) -> Batches:
    """Return the same batches in another order."""
    dealt = _generator(seed, epoch).permutation(len(batches))
    sizes = np.diff(batches.bounds)[dealt]
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    # Row i of a batch that begins at b now was row i of where it began before.
    shift = np.repeat(batches.bounds[:-1][dealt] - bounds[:-1], sizes)
    return Batches(batches.rows[np.arange(len(batches.rows)) + shift], bounds)


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch])


ORDERS: dict[str, Order] = {
    "sequential": Order(in_turn, as_composed),
    "shuffled": Order(in_turn, shuffle_samples),
    "shuffled_published": Order(in_turn_published, shuffle_samples),
    "geographic": Order(bisect, shuffle_batches),
    "geographic_published": Order(partition, as_composed),
}
"""By name."""
