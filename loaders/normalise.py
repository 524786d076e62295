"""Stored values → what a model is fed: z-scores, or indices of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.layer import Layer
from mmearth.loaders.inputs import ModalityInput
from mmearth.loaders.masks import Known, Masks, Truth, mask_tiles

UNLABELLED = -100
"""Index of a target that has no class: the one that PyTorch's cross-entropy leaves out."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Codes of a layer's classes → their positions in `Layer.classes`."""

    codes: NDArray[np.int64]
    """(n,) in rising order."""
    table: NDArray[np.int64] | None
    """Index by the bits of a code, for all values of a dtype; None for those of 32 bits."""
    is_plain: bool
    """Whether each code is its index."""

    @classmethod
    def of(cls, layer: Layer) -> Classes:
        """Return the classes of a categorical layer."""
        codes, dtype = np.array(layer.codes, np.int64), np.dtype(layer.dtype)
        is_plain = layer.codes == tuple(range(len(codes)))
        if is_plain or dtype.itemsize > 2:
            return cls(codes, None, is_plain)
        # -1 for what is no class: a model that is fed with it fails, and learns nothing wrong.
        table = np.full(1 << 8 * dtype.itemsize, -1, np.int64)
        table[codes.astype(dtype).view(f"u{dtype.itemsize}")] = np.arange(len(codes))
        return cls(codes, table, is_plain)

    def write(self, values: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the indices of codes; of what is no class something without a meaning."""
        if self.is_plain:
            np.copyto(out, values)
        elif self.table is not None:
            bits = values.view(f"u{values.itemsize}")
            np.take(self.table, bits, out=out, mode="clip")  # any other mode goes through a buffer
        else:
            np.copyto(out, np.searchsorted(self.codes, values))


@dataclass(frozen=True, slots=True)
class Terms:
    """How the stored values of a layer become a model's: scaled, or indices of classes."""

    bands: list[int]
    """Positions of the wanted bands in the layer."""
    runs: list[tuple[int, int, int]]
    """Wanted bands begin to end, exclusive, from a stored band on."""
    mean: NDArray[np.float64]
    """(band,), as stored."""
    std: NDArray[np.float64]
    """(band,), as stored."""
    shift: NDArray[np.float32]
    """(band, 1, 1), the mean: a score is (stored value - shift) × factor."""
    factor: NDArray[np.float32]
    """(band, 1, 1), one by the deviation."""
    classes: Classes | None
    """Of a categorical layer; None for one of numbers."""
    nodata: float | None
    """The stored value that means absent; None where a value is always there."""
    shape: tuple[int, ...]
    """Of one sample's result."""
    dtype: np.dtype[Any]
    """Of the result: float32, or int64 for classes."""
    absent: int
    """What the result is where nothing is valid."""

    @classmethod
    def of(cls, wanted: ModalityInput, layer: Layer, absent: int = 0) -> Terms:
        """Return what makes a layer's values into those that a model wants of it.

        Args:
            wanted: Compared with the layer.
            layer: Of the dataset.
            absent: What the result is where nothing is valid.
        """
        bands = layer.index(wanted.bands)
        runs: list[tuple[int, int, int]] = []
        for i, band in enumerate(bands):
            if runs and runs[-1][2] + (i - runs[-1][0]) == band:
                runs[-1] = (runs[-1][0], i + 1, runs[-1][2])
            else:
                runs.append((i, i + 1, band))
        mean, std = np.array([wanted.stored(i, layer) for i in range(len(bands))], np.float64).T
        shift, factor = (each.astype(np.float32).reshape(-1, 1, 1) for each in (mean, 1.0 / std))
        classes = Classes.of(layer) if layer.kind == "categorical" else None
        dtype = np.dtype(np.float32 if classes is None else np.int64)
        shape = (len(bands), *layer.shape[1:])
        of_values = (mean, std, shift, factor, classes, layer.nodata)
        return cls(bands, runs, *of_values, shape, dtype, absent)

    @classmethod
    def of_target(cls, target: Layer) -> Terms:
        """Return what makes the codes of a target into indices, UNLABELLED where there is none."""
        n = len(target.bands)
        plain = ("1",) * n, None, (0.0,) * n, (1.0,) * n
        return cls.of(ModalityInput(target.name, target.band_names, *plain), target, UNLABELLED)


@dataclass(slots=True)
class Normalising:
    """Normalises pixels, a sample at a time: while its bytes are in the cache.

    (stored - mean) / std of the wanted bands. Class codes become indices 0 … n-1, their positions
    in `Layer.classes`. What is not valid becomes `Terms.absent`, whatever is stored there. Against
    the formula in float64, a z-score z of float32 or integer values is off by at most
    2**-22 |z| + 2**-24 |mean| / std: the mean is rounded once and the sum never cancels.
    """

    stored: NDArray[Any]
    terms: Terms
    out: NDArray[Any]
    masks: Masks

    @classmethod
    def of(
        cls,
        stored: NDArray[Any],
        terms: Terms,
        out: NDArray[Any],
        valid: Truth,
        bands: Truth,
        known: Known,
    ) -> Normalising:
        """Return what normalises a batch.

        Args:
            stored: (B, band, row, column), all bands of the layer, in its own dtype.
            terms: What the model wants of the layer.
            out: (B, wanted band, row, column) of the dtype that `terms` has; written.
            valid: Of the shape of `out`; written to the extent that `masks` has in the end.
            bands: (B, wanted band); written.
            known: (B, band) of all bands.
        """
        return cls(stored, terms, out, Masks.of(valid, bands, known[:, terms.bands]))

    @property
    def look(self) -> Truth:
        """Every sample is to be normalised."""
        return np.ones(len(self.stored), np.bool_)

    @property
    def comparison(self) -> None:
        """Values change too."""

    def __call__(self, slot: int) -> None:
        """Normalise a sample, and make its masks."""
        look, bands, out = self.masks.look[slot], self.masks.bands[slot], self.out[slot]
        if look or bands.any():
            # What is not valid may be anything, and is computed before it is dropped.
            with np.errstate(invalid="ignore", over="ignore"):
                _scale(self.stored[slot], self.terms, out)
        if look:
            valid = self.masks.valid[slot]
            _mask(self.stored[slot], self.terms, valid)
            _drop_invalid(out, valid, self.terms.absent)
            self.masks.looked(slot)
        else:
            out[~bands] = self.terms.absent


def _scale(stored: NDArray[Any], terms: Terms, out: NDArray[Any]) -> None:
    """Write the scores, or the class indices, of one sample's wanted bands."""
    for begin, end, at in terms.runs:
        into, values = out[begin:end], stored[at : at + end - begin]
        if terms.classes is not None:
            terms.classes.write(values, into)
        elif values.dtype == into.dtype:
            np.subtract(values, terms.shift[begin:end], out=into)
        elif np.can_cast(values.dtype, into.dtype):
            # In steps: a ufunc that casts goes through a buffer and takes twice as long.
            np.copyto(into, values)
            np.subtract(into, terms.shift[begin:end], out=into)
        else:  # of more digits than a float32 has
            mean = terms.mean[begin:end, np.newaxis, np.newaxis]
            np.subtract(values, mean, out=into, casting="same_kind")
    if terms.classes is None:
        np.multiply(out, terms.factor, out=out)


def _mask(stored: NDArray[Any], terms: Terms, valid: Truth) -> None:
    for begin, end, at in terms.runs:
        values = stored[at : at + end - begin]
        np.not_equal(values, values.dtype.type(terms.nodata), out=valid[begin:end])


def _drop_invalid(values: NDArray[Any], valid: Truth, absent: int) -> None:
    """Write `absent` where values, (band, row, column), are not valid."""
    for band, is_valid in zip(values, valid, strict=True):
        n_valid = np.count_nonzero(is_valid)
        if n_valid == 0:
            band.fill(absent)
        elif n_valid < is_valid.size and absent:
            np.copyto(band, absent, where=~is_valid)
        elif n_valid < is_valid.size:
            # Times 0 or 1 as whole numbers: no NaN survives it, and no -0 comes of it.
            bits = band.view(f"i{band.itemsize}")
            np.multiply(bits, is_valid, out=bits)


def normalise_tiles(
    stored: NDArray[Any], present: Truth, terms: Terms, out: NDArray[Any], valid: Truth
) -> None:
    """Normalise a tile-level layer, in float64; otherwise as `Normalising`.

    Args:
        stored: (B, band), all bands of the layer, in its own dtype.
        present: (B,) which samples have it; what is stored of others has no meaning.
        terms: What the model wants of the layer.
        out: (B, wanted band) of the dtype that `terms` has; written.
        valid: (B, wanted band); written.
    """
    values = stored[:, terms.bands]
    mask_tiles(terms.nodata, values, present, valid)
    if terms.classes is not None:
        terms.classes.write(values, out)
        np.copyto(out, terms.absent, where=~valid)
        return
    # What is not valid may be anything, and is computed with the rest before it is dropped.
    with np.errstate(invalid="ignore", over="ignore"):
        scores = (values - terms.mean) / terms.std
    out[:] = terms.absent
    np.copyto(out, scores, where=valid, casting="same_kind")
