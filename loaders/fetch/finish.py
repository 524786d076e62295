"""What is done with members as they arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Comparison(NamedTuple):
    """A look that only compares values with no-data: members can be copied and looked at at once.

    Whoever does so need not call `Finish` for them.
    """

    nodata: np.generic
    """Of the values' dtype."""
    valid: NDArray[np.bool_]
    """(B, band, row, column) where values are not no-data; written."""
    found: Callable[[bool], None]
    """Is told, each time, whether all bands had the same masks."""


class Finish(Protocol):
    """Makes the stored values of one modality into a batch's: a sample at a time."""

    @property
    def look(self) -> NDArray[np.bool_]:
        """Of each sample of the batch, (B,), whether there is anything to do."""

    @property
    def comparison(self) -> Comparison | None:
        """What there is to do, where it is no more than that."""

    def __call__(self, slot: int) -> None:
        """Finish a sample: best at once, while its bytes are in the processor's cache."""
