"""Statistics of a split's values that merge exactly: any order, any number of parts, one result.

Sums are kept as whole numbers, not as floats: every stored value is an integer times a power of
two, so its sum and the sum of its squares have exact integer forms at one common power of two.
Only the last step, mean and standard deviation, rounds. Values are cut into pieces of 20 bits, of
which dot products in float64 are exact: that is several times as fast as integer arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task

SUBSETS = ("train", "train_50", "train_5")
"""The train subsets that have statistics of their own (MMEarth-Bench §4: 100 %, 50 % and 5 %)."""

_UNIT = -1074  # the exponent of the smallest float64: sums count in units of two to this power
_MANTISSA = {"float32": 24, "float64": 53}
# 20 + 20 + 13 = 53 bits: what a float64 holds exactly. So few values start no threads in BLAS.
_PIECE_BITS, _MOST_VALUES = 20, 2**13
_MOST_COUNTERS = 1 << 16  # one per code up to the greatest; sorting takes ten times as long

Subsets = tuple[str, ...]
Sums = tuple[int, int]
"""Exact sum in units of 2**-1074, and exact sum of squares in units of 2**-2148."""


@dataclass(slots=True)
class BandStatistics:
    """Count, sums and extremes of one band; exact."""

    n: int = 0
    """Valid values seen."""
    n_missing: int = 0
    """No-data values seen."""
    total: int = 0
    """Exact sum of the valid values, in units of 2**-1074."""
    squares: int = 0
    """Exact sum of their squares, in units of 2**-2148."""
    low: float = math.inf
    """Lowest valid value; infinite while there is none."""
    high: float = -math.inf
    """Highest valid value; minus infinite while there is none."""
    classes: dict[int, int] = field(default_factory=dict)
    """Values by class code, for categorical bands."""

    def update(
        self, values: NDArray[np.generic], nodata: float | None, categorical: bool = False
    ) -> None:
        """Add the values of one array, (n,), of which those equal to `nodata` are missing."""
        low, high = float(values.min()), float(values.max())
        if nodata is not None and low <= nodata <= high:
            valid = values[values != values.dtype.type(nodata)]
            self.n_missing += values.size - valid.size
            if not valid.size:
                return
            values, low, high = valid, float(valid.min()), float(valid.max())
        self.n += values.size
        self.low, self.high = min(self.low, low), max(self.high, high)
        if categorical:
            self._add_codes(*_count_codes(values, low, high))
            return
        total, squares = _exact_sums(values, low, high)
        self.total += total
        self.squares += squares

    def add(self, value: float, nodata: float | None, categorical: bool = False) -> None:
        """Add one value, which is missing where it equals `nodata`."""
        if value == nodata:
            self.n_missing += 1
            return
        self.n += 1
        self.low, self.high = min(self.low, value), max(self.high, value)
        whole = _whole(value, _UNIT)
        self.total += whole
        self.squares += whole * whole
        if categorical:
            self.classes[int(value)] = self.classes.get(int(value), 0) + 1

    def _add_codes(self, codes: NDArray[np.generic], counts: NDArray[np.int64]) -> None:
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self.classes[code] = self.classes.get(code, 0) + count
            self.total += code * count << -_UNIT
            self.squares += code * code * count << -2 * _UNIT

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
        return float(Fraction(self.total, self.n << -_UNIT)) if self.n else None

    @property
    def std(self) -> float | None:
        """Population standard deviation; None where nothing is valid."""
        if not self.n:
            return None
        squares = Fraction(self.squares, self.n << -2 * _UNIT)
        return math.sqrt(squares - Fraction(self.total, self.n << -_UNIT) ** 2)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers that people and loaders read."""
        document: dict[str, Any] = {
            "n": self.n,
            "mean": self.mean,
            "std": self.std,
            "min": self.low + 0.0 if self.n else None,  # -0.0 is 0.0: which came first is luck
            "max": self.high + 0.0 if self.n else None,
            "missing_share": self.n_missing / seen if (seen := self.n + self.n_missing) else None,
        }
        if self.classes:
            document["classes"] = {str(code): self.classes[code] for code in sorted(self.classes)}
        return document


@dataclass(slots=True)
class TaskStatistics:
    """Statistics of a task's train subsets: every layer and the target, band by band."""

    task: Task
    """Whose."""
    layers: tuple[Layer, ...]
    """The dataset's modalities, in their order."""
    n_samples: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUBSETS, 0))
    """Samples by subset."""
    bands: dict[tuple[Subsets, str, str], BandStatistics] = field(default_factory=dict)
    """By (the subsets that its samples are in, modality or `target`, band): each sample once."""

    def update(
        self,
        subsets: Subsets,
        arrays: Mapping[str, NDArray[np.generic]],
        target: NDArray[np.generic] | None,
    ) -> None:
        """Add one sample of the train split.

        Args:
            subsets: Those of SUBSETS that the sample is in, in that order.
            arrays: By modality, of the modality's shape; missing ones left out, not counted.
            target: Of the task's shape; None is not counted.
        """
        for subset in subsets:
            self.n_samples[subset] += 1
        for layer in self.layers:
            if layer.name in arrays:
                bands = [self._band(subsets, layer.name, name) for name in layer.band_names]
                _add(bands, arrays[layer.name], layer.nodata, layer.kind == "categorical")
        if target is None:
            return
        layer, is_class = self.task.target, self.task.kind == "classification"
        bands = [self._band(subsets, "target", name) for name in layer.band_names]
        _add(bands, target.reshape(layer.shape), layer.nodata, is_class)

    def merge(self, other: TaskStatistics) -> None:
        """Add what another has seen; the order of merging does not matter."""
        for subset in SUBSETS:
            self.n_samples[subset] += other.n_samples[subset]
        for key, seen in other.bands.items():
            self._band(*key).merge(seen)

    def to_json(self) -> dict[str, Any]:
        """Return `{subset: {n_samples, modalities: {name: {band: {…}}}, target: {…}}}`."""
        document: dict[str, Any] = {"task": self.task.name}
        for subset in SUBSETS:
            modalities = {
                layer.name: bands
                for layer in self.layers
                if (bands := self._of(subset, layer.name, layer.band_names))
            }
            document[subset] = {
                "n_samples": self.n_samples[subset],
                "modalities": modalities,
                "target": self._of(subset, "target", self.task.target.band_names),
            }
        return document

    def _band(self, subsets: Subsets, modality: str, band: str) -> BandStatistics:
        return self.bands.setdefault((subsets, modality, band), BandStatistics())

    def _of(self, subset: str, modality: str, bands: Iterable[str]) -> dict[str, Any]:
        """Return the numbers of a subset's bands, those left out that no sample has."""
        merged: dict[str, BandStatistics] = {}
        for band in bands:
            for (subsets, name, seen_band), seen in self.bands.items():
                if subset in subsets and (name, seen_band) == (modality, band):
                    merged.setdefault(band, BandStatistics()).merge(seen)
        return {band: seen.to_json() for band, seen in merged.items()}


def _add(
    bands: Sequence[BandStatistics],
    array: NDArray[np.generic],
    nodata: float | None,
    categorical: bool = False,
) -> None:
    """Add an array (band, row, col) or (band,) to the statistics of its bands."""
    if array.ndim == 1:
        for band, value in zip(bands, array.tolist(), strict=True):
            band.add(float(value), nodata, categorical)
    else:
        for band, values in zip(bands, array, strict=True):
            band.update(values.ravel(), nodata, categorical)


def _count_codes(
    values: NDArray[np.generic], low: float, high: float
) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Return the class codes in an array and how often each is there."""
    if low < 0 or high >= _MOST_COUNTERS:
        return np.unique(values, return_counts=True)
    counts = np.bincount(values)
    codes = np.flatnonzero(counts)
    return codes, counts[codes]


def _exact_sums(values: NDArray[np.generic], low: float, high: float) -> Sums:
    """Return the exact sum and sum of squares of a flat array of finite values.

    Args:
        values: Integers of up to 32 bits, or floats; not empty.
        low: The least of them.
        high: The greatest.
    """
    top = max(-low, high)
    if top == 0.0:
        return 0, 0
    exact = values.astype(np.float64)
    unit = 0
    if values.dtype.kind == "f":
        # Every value is a multiple of the last bit of the one nearest to zero.
        unit = math.frexp(_least(exact, low, high))[1] - _MANTISSA[values.dtype.name]
    if values.size == 1 or unit < -500:
        return _sums_one_by_one(exact)
    n_bits = math.frexp(top)[1] - unit
    total = squares = 0
    for begin in range(0, values.size, _MOST_VALUES):
        pieces = _pieces(exact[begin : begin + _MOST_VALUES], n_bits, unit)
        total += sum(_whole(float(piece.sum()), unit) for piece in pieces)
        for i, piece in enumerate(pieces):
            squares += _whole(float(piece @ piece), 2 * unit)
            squares += sum(_whole(float(piece @ other), 2 * unit) for other in pieces[:i]) << 1
    return total << unit - _UNIT, squares << 2 * (unit - _UNIT)


def _least(values: NDArray[np.float64], low: float, high: float) -> float:
    """Return the size of the value nearest to zero that is not zero."""
    if low > 0.0 or high < 0.0:
        return min(abs(low), abs(high))
    size = np.abs(values)
    return float(size.min()) or float(size[size > 0.0].min())


def _pieces(values: NDArray[np.float64], n_bits: int, unit: int) -> list[NDArray[np.float64]]:
    """Cut multiples of 2**unit below 2**(unit + n_bits) into pieces of 20 bits that add up to them.

    Exact: what remains when the highest bits of a float64 are taken away is a float64.
    """
    pieces = []
    for i in range(-(-n_bits // _PIECE_BITS) - 1, 0, -1):
        step = unit + _PIECE_BITS * i
        piece = values * 2.0**-step
        np.trunc(piece, out=piece)
        piece *= 2.0**step
        values = values - piece
        pieces.append(piece)
    return [*pieces, values]


def _whole(value: float, unit: int) -> int:
    """Return a multiple of 2**unit in that unit."""
    numerator, denominator = value.as_integer_ratio()
    shift = -unit - (denominator.bit_length() - 1)
    return numerator << shift if shift >= 0 else numerator >> -shift


def _sums_one_by_one(values: NDArray[np.float64]) -> Sums:
    """Sum a few values, or values too small to be cut, as Python's integers."""
    whole = [_whole(value, _UNIT) for value in values.tolist()]
    return sum(whole), sum(value * value for value in whole)
