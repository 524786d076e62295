"""Statistics of a split's values that merge exactly: any order, any number of parts, one result.

Sums are kept as whole numbers, not as floats: every stored value is an integer times a power of
two, so its sum and the sum of its squares have exact integer forms at one common power of two.
Only the last step, mean and standard deviation, rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.tasks import TASKS

SUBSETS = ("train", "train_50", "train_5")
"""The train subsets that have statistics of their own (MMEarth-Bench §4: 100 %, 50 % and 5 %)."""

_FLOAT32_MANTISSA = 24
_FLOAT32_LOWEST = -149  # the exponent of the smallest subnormal float32


@dataclass(slots=True)
class BandStatistics:
    """Count, sums and extremes of one band; exact."""

    n: int = 0
    """Valid values seen."""
    n_missing: int = 0
    """No-data values seen."""
    total: Fraction = Fraction(0)
    """Exact sum of the valid values."""
    squares: Fraction = Fraction(0)
    """Exact sum of their squares."""
    low: float = math.inf
    """Lowest valid value; infinite while there is none."""
    high: float = -math.inf
    """Highest valid value; minus infinite while there is none."""
    classes: dict[int, int] = field(default_factory=dict)
    """Values by class code, for categorical bands."""

    def update(self, values: NDArray[np.generic], n_missing: int, categorical: bool) -> None:
        """Add the valid values of one array, (n,), and how many were no-data."""
        self.n_missing += n_missing
        if not values.size:
            return
        self.n += values.size
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        total, squares = _exact_sums(values)
        self.total += total
        self.squares += squares
        if categorical:
            codes, counts = np.unique(values, return_counts=True)
            for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
                self.classes[int(code)] = self.classes.get(int(code), 0) + count

    def merge(self, other: BandStatistics) -> None:
        """Add what another has seen."""
        self.n += other.n
        self.n_missing += other.n_missing
        self.total += other.total
        self.squares += other.squares
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        for code, count in other.classes.items():
            self.classes[code] = self.classes.get(code, 0) + count

    @property
    def mean(self) -> float | None:
        """Arithmetic mean, rounded once; None where nothing is valid."""
        return float(self.total / self.n) if self.n else None

    @property
    def std(self) -> float | None:
        """Population standard deviation; None where nothing is valid."""
        if not self.n:
            return None
        return math.sqrt(self.squares / self.n - (self.total / self.n) ** 2)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers that people and loaders read."""
        document: dict[str, Any] = {
            "n": self.n,
            "mean": self.mean,
            "std": self.std,
            "min": self.low if self.n else None,
            "max": self.high if self.n else None,
            "missing_share": self.n_missing / seen if (seen := self.n + self.n_missing) else None,
        }
        if self.classes:
            document["classes"] = {str(code): self.classes[code] for code in sorted(self.classes)}
        return document


@dataclass(slots=True)
class TaskStatistics:
    """Statistics of a task's train subsets: every modality and the target, band by band."""

    task: str
    """A key of TASKS."""
    n_samples: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUBSETS, 0))
    """Samples by subset."""
    bands: dict[tuple[str, str, str], BandStatistics] = field(default_factory=dict)
    """By (subset, modality or `target`, band)."""

    def update(
        self,
        subsets: tuple[str, ...],
        arrays: Mapping[str, NDArray[np.generic]],
        target: NDArray[np.generic],
    ) -> None:
        """Add one sample of the train split.

        Args:
            subsets: Those of SUBSETS that the sample is in.
            arrays: By modality, of the modality's shape; missing ones left out, not counted.
            target: Of the task's shape.
        """
        one = TaskStatistics(self.task)
        for name, array in arrays.items():
            modality = MODALITIES[name]
            valid = modality.valid(array)
            for i, band in enumerate(modality.bands):
                values = array[i][valid[i]] if modality.level == "pixel" else array[i : i + 1]
                values = values if modality.level == "pixel" else values[valid[i : i + 1]]
                missing = int(valid[i].size) - values.size
                one._band("train", name, band.name).update(
                    values, missing, modality.kind == "categorical"
                )
        one._update_target(target)
        for subset in subsets:
            self.n_samples[subset] += 1
            for (_, name, band_name), seen in one.bands.items():
                self._band(subset, name, band_name).merge(seen)

    def merge(self, other: TaskStatistics) -> None:
        """Add what another has seen; the order of merging does not matter."""
        for subset in SUBSETS:
            self.n_samples[subset] += other.n_samples[subset]
        for key, seen in other.bands.items():
            self._band(*key).merge(seen)

    def to_json(self) -> dict[str, Any]:
        """Return `{subset: {n_samples, modalities: {name: {band: {…}}}, target: {…}}}`."""
        document: dict[str, Any] = {"task": self.task}
        for subset in SUBSETS:
            modalities: dict[str, Any] = {}
            for name in MODALITIES:
                bands = {
                    band.name: self.bands[subset, name, band.name].to_json()
                    for band in MODALITIES[name].bands
                    if (subset, name, band.name) in self.bands
                }
                if bands:
                    modalities[name] = bands
            outputs = TASKS[self.task].outputs
            target = {
                output: self.bands[subset, "target", output].to_json()
                for output in outputs
                if (subset, "target", output) in self.bands
            }
            document[subset] = {
                "n_samples": self.n_samples[subset],
                "modalities": modalities,
                "target": target,
            }
        return document

    def _band(self, subset: str, modality: str, band: str) -> BandStatistics:
        return self.bands.setdefault((subset, modality, band), BandStatistics())

    def _update_target(self, target: NDArray[np.generic]) -> None:
        task = TASKS[self.task]
        for i, output in enumerate(task.outputs):
            values = target.ravel() if task.level == "pixel" else target[i : i + 1]
            n_seen = values.size
            if task.nodata is not None:
                values = values[values != np.asarray(task.nodata, values.dtype)]
            self._band("train", "target", output).update(values, n_seen - values.size, False)


def _exact_sums(values: NDArray[np.generic]) -> tuple[Fraction, Fraction]:
    """Return the exact sum and sum of squares of a flat array."""
    if values.dtype.kind in "iub":
        # 16 bits squared times 2^24 values fit an int64; a tile has 2^14.
        whole = values.astype(np.int64)
        return Fraction(int(whole.sum())), Fraction(int((whole * whole).sum()))
    if values.dtype == np.float32:
        return _exact_float32_sums(values)
    exact = [Fraction(float(value)) for value in values]
    return sum(exact, Fraction(0)), sum((value * value for value in exact), Fraction(0))


def _exact_float32_sums(values: NDArray[np.generic]) -> tuple[Fraction, Fraction]:
    """Sum a float32 array exactly: integer mantissas, added up exponent by exponent.

    A mantissa has 24 bits, its square 48: 2^14 of them fit an int64.
    """
    fraction, exponent = np.frexp(values)
    mantissa = np.ldexp(fraction, _FLOAT32_MANTISSA).astype(np.int64)
    total, squares = 0, 0
    lowest = _FLOAT32_LOWEST - _FLOAT32_MANTISSA
    for power in np.unique(exponent).tolist():
        same = mantissa[exponent == power]
        shift = power - _FLOAT32_MANTISSA - lowest
        total += int(same.sum()) << shift
        squares += int((same * same).sum()) << (2 * shift)
    return Fraction(total, 2 ** (-lowest)), Fraction(squares, 2 ** (-2 * lowest))
