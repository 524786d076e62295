"""What a task is: the thing to be predicted, and the contract its targets keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import DataError
from mmearth.catalog.modality import TILE_PX, Level

TaskKind = Literal["regression", "multilabel"]


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to be predicted from a sample."""

    name: str
    """The name that files, columns and options use."""
    title: str
    """For people: what the task asks."""
    level: Level
    """`pixel`: a target (128, 128). `tile`: a target (n_outputs,)."""
    kind: TaskKind
    """What the target is."""
    outputs: tuple[str, ...]
    """Names of the target's elements: the quantity, or every label of a multi-label task."""
    unit: str
    """Of the target; `1` for none."""
    valid: tuple[float, float]
    """Lowest and highest valid value, both included."""
    nodata: float | None
    """The stored value that means unlabelled, in pixel-level targets."""
    dtype: str
    """NumPy's name of the target's stored type."""
    metrics: tuple[str, ...]
    """The first is the headline."""
    licence: str
    """SPDX identifier, or `other` where there is none."""
    citation: str
    """How its users must name the labels."""
    optional: bool = False
    """Whether a sample may do without a target: places to predict at, or to label later."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a target: (128, 128) or (n_outputs,)."""
        return (TILE_PX, TILE_PX) if self.level == "pixel" else (len(self.outputs),)

    def check(self, target: NDArray[np.generic] | None) -> None:
        """Refuse a target that breaks this task's contract; None is a sample without one.

        Raises:
            DataError: It is not there and may not be absent, its shape, dtype or a valid value
                differs, or nothing in it is labelled.
        """
        if target is None:
            if not self.optional:
                raise DataError(f"{self.name}: there is no target; expected {self.shape}")
            return
        if target.shape != self.shape or target.dtype != np.dtype(self.dtype):
            raise DataError(
                f"{self.name}: found {target.dtype} {target.shape}, "
                f"expected {self.dtype} {self.shape}"
            )
        labelled = (
            target
            if self.nodata is None
            else target[target != np.asarray(self.nodata, target.dtype)]
        )
        if not labelled.size:
            raise DataError(f"{self.name}: nothing in the target is labelled")
        low, high = float(labelled.min()), float(labelled.max())
        if not (self.valid[0] <= low and high <= self.valid[1]):
            raise DataError(
                f"{self.name}: found values {low:g} to {high:g} {self.unit}, expected "
                f"{self.valid[0]:g} to {self.valid[1]:g}; check the unit of the labels"
            )
