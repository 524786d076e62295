"""Task: what is to be predicted from a sample; its target is a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import DataError
from mmearth.catalog.layer import Layer, Level

TaskKind = Literal["regression", "multilabel", "classification"]
"""`regression`: the target's bands are numbers. `multilabel`: each band is a label, present (1) or
not (0). `classification`: one band of class codes; at pixel level, segmentation."""

METRICS: dict[TaskKind, dict[Level, tuple[str, ...]]] = {
    "regression": {"tile": ("r2", "rmse"), "pixel": ("r2", "rmse")},
    "multilabel": {"tile": ("map", "recall")},
    "classification": {
        "tile": ("balanced_accuracy", "accuracy", "macro_f1"),
        "pixel": ("miou", "accuracy"),
    },
}
"""What a task of a kind and level is scored by, unless it says so itself; the headline first."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to be predicted from a sample."""

    name: str
    """The name that files, columns and options use; also of its target."""
    title: str
    """For people: what the task asks."""
    kind: TaskKind
    """What the target is."""
    target: Layer
    """What is predicted; one band at pixel level."""
    metrics: tuple[str, ...]
    """The first is the headline."""
    optional: bool = False
    """Whether a sample may do without a target: places to predict at, or to label later."""

    @property
    def is_pixel(self) -> bool:
        """Whether its targets have pixels."""
        return self.target.is_pixel

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what a model predicts: quantities, labels or classes."""
        if self.kind == "classification":
            return tuple(entry.name for entry in self.target.classes)
        return self.target.band_names

    @property
    def unit(self) -> str:
        """Of the target; `1` for none."""
        return ", ".join(dict.fromkeys(band.unit for band in self.target.bands))

    @property
    def dtype(self) -> str:
        """NumPy's name of the target's stored type."""
        return self.target.dtype

    @property
    def nodata(self) -> float | None:
        """The stored value that means unlabelled, in pixel-level targets."""
        return self.target.nodata

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a target: (row, column), or (band,)."""
        return self.target.shape[1:] if self.is_pixel else self.target.shape

    @property
    def column(self) -> str:
        """The manifest's column of the target: `target` for one number, else the task's name."""
        is_number = self.kind == "regression" and not self.is_pixel and len(self.outputs) == 1
        return "target" if is_number else self.name

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
        if target.shape != self.shape:
            raise DataError(
                f"{self.name}: found {target.dtype} {target.shape}, "
                f"expected {self.dtype} {self.shape}"
            )
        self.target.check(target.reshape(self.target.shape))
        if not self.target.valid(target).any():
            raise DataError(f"{self.name}: nothing in the target is labelled")
