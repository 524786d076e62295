"""Batches: which samples make which batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError

Degrees = NDArray[np.float64]
"""Longitudes or latitudes, (n,)."""


@dataclass(frozen=True, slots=True)
class Batches:
    """All batches of an epoch."""

    rows: NDArray[np.int64]
    """(n,) a permutation of 0 … n-1, batch after batch."""
    bounds: NDArray[np.int64]
    """(n_batches + 1,) where each batch begins in `rows`, and where the last one ends."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, number: int) -> NDArray[np.int64]:
        return self.rows[self.bounds[number] : self.bounds[number + 1]]

    @property
    def greatest(self) -> int:
        """Samples of the greatest batch; 0 if there is none."""
        return int(np.diff(self.bounds).max(initial=0))


def cut(rows: NDArray[np.int64], batch_size: int) -> Batches:
    """Cut rows into batches; the last one may be smaller."""
    n_batches = -(-len(rows) // batch_size)
    bounds = np.minimum(np.arange(n_batches + 1) * batch_size, len(rows))
    return Batches(rows, bounds)


def check_places(lon: Degrees, lat: Degrees) -> None:
    """Refuse places that are not on the Earth.

    Raises:
        ConfigError: A coordinate is not finite, or a latitude beyond a pole.
    """
    bad = ~(np.isfinite(lon) & (np.abs(lat) <= 90.0))
    if bad.any():
        i = int(np.argmax(bad))
        raise ConfigError(
            f"row {i} lies at lon {lon[i]}, lat {lat[i]}; expected finite degrees, lat -90 to 90"
        )
