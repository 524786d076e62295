"""Stored values → what a model is fed: z-scores or class indices, zero where nothing is valid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.modalities import MODALITIES
from mmearth.loaders.inputs import ModalityInput, Normalisation
from mmearth.loaders.masks import Known, Masks, Truth, mask_tiles


def shape_of(name: str, normalisation: Normalisation) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of one sample's normalised array: float32, or int64 for classes.

    Raises:
        ConfigError: The normalisation has no such modality.
    """
    wanted = normalisation.only([name])[name]
    modality = MODALITIES[name]
    dtype = np.int64 if modality.kind == "categorical" else np.float32
    return (len(wanted.bands), *modality.shape[1:]), np.dtype(dtype)


@dataclass(slots=True)
class Normalising:
    """Normalises pixels, a sample at a time: while its bytes are in the cache.

    (stored - mean) / std of the wanted bands. Classes become indices 0 … n-1: their codes are their
    positions in `Modality.classes`. What is not valid becomes 0, whatever is stored there. Against
    the formula in float64, a z-score z of float32 or integer values is off by at most
    2**-22 |z| + 2**-24 |mean| / std: the mean is rounded once and the sum never cancels.
    """

    stored: NDArray[Any]
    nodata: float | None
    terms: _Terms
    out: NDArray[Any]
    masks: Masks

    @classmethod
    def of(
        cls,
        stored: NDArray[Any],
        wanted: ModalityInput,
        out: NDArray[Any],
        valid: Truth,
        bands: Truth,
        known: Known,
    ) -> Normalising:
        """Return what normalises a batch.

        Args:
            stored: (B, band, 128, 128), all bands of the modality, in its own dtype.
            wanted: What the model wants.
            out: (B, wanted band, 128, 128) of the dtype that `shape_of` says; written.
            valid: Of the shape of `out`; written to the extent that `masks` has in the end.
            bands: (B, wanted band); written.
            known: (B, band) of all bands.
        """
        terms = _terms(wanted)
        masks = Masks.of(valid, bands, known[:, terms.bands])
        return cls(stored, MODALITIES[wanted.modality].nodata, terms, out, masks)

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
            _mask(self.stored[slot], self.nodata, self.terms, valid)
            _drop_invalid(out, valid)
            self.masks.looked(slot)
        else:
            out[~bands] = 0


@dataclass(frozen=True, slots=True)
class _Terms:
    """Stored value - shift, × factor."""

    bands: list[int]
    runs: list[tuple[int, int, int]]  # wanted bands begin to end, exclusive, from a stored band on
    shift: NDArray[np.float32]  # (band, 1, 1)
    factor: NDArray[np.float32]  # (band, 1, 1)
    mean: NDArray[np.float64]  # (band,)
    std: NDArray[np.float64]  # (band,)
    is_scaled: bool


@cache
def _terms(wanted: ModalityInput) -> _Terms:
    modality = MODALITIES[wanted.modality]
    bands = modality.index(wanted.bands)
    runs: list[tuple[int, int, int]] = []
    for i, band in enumerate(bands):
        if runs and runs[-1][2] + (i - runs[-1][0]) == band:
            runs[-1] = (runs[-1][0], i + 1, runs[-1][2])
        else:
            runs.append((i, i + 1, band))
    mean, std = np.array([wanted.stored(i) for i in range(len(bands))], dtype=np.float64).T
    shift = mean.astype(np.float32).reshape(-1, 1, 1)
    factor = (1.0 / std).astype(np.float32).reshape(-1, 1, 1)
    return _Terms(bands, runs, shift, factor, mean, std, modality.kind != "categorical")


def _scale(stored: NDArray[Any], terms: _Terms, out: NDArray[Any]) -> None:
    """Write the scores, or the class indices, of one sample's wanted bands."""
    for begin, end, at in terms.runs:
        into, values = out[begin:end], stored[at : at + end - begin]
        if terms.is_scaled and values.dtype == into.dtype:
            np.subtract(values, terms.shift[begin:end], out=into)
            continue
        # In steps: a ufunc that casts goes through a buffer and takes twice as long.
        np.copyto(into, values)
        if terms.is_scaled:
            np.subtract(into, terms.shift[begin:end], out=into)
    if terms.is_scaled:
        np.multiply(out, terms.factor, out=out)


def _mask(stored: NDArray[Any], nodata: float | None, terms: _Terms, valid: Truth) -> None:
    for begin, end, at in terms.runs:
        values = stored[at : at + end - begin]
        np.not_equal(values, values.dtype.type(nodata), out=valid[begin:end])


def _drop_invalid(values: NDArray[Any], valid: Truth) -> None:
    """Write 0 where values, (band, 128, 128), are not valid."""
    for band, is_valid in zip(values, valid, strict=True):
        n_valid = np.count_nonzero(is_valid)
        if n_valid == 0:
            band.fill(0)
        elif n_valid < is_valid.size:
            # Times 0 or 1 as whole numbers: no NaN survives it, and no -0 comes of it.
            bits = band.view(f"i{band.itemsize}")
            np.multiply(bits, is_valid, out=bits)


def normalise_tiles(
    stored: NDArray[Any],
    present: Truth,
    wanted: ModalityInput,
    out: NDArray[Any],
    valid: Truth,
) -> None:
    """Normalise a tile-level modality, in float64; otherwise as `Normalising`.

    Args:
        stored: (B, band), all bands of the modality, in its own dtype.
        present: (B,) which samples have it; what is stored of others has no meaning.
        wanted: What the model wants.
        out: (B, wanted band) of the dtype that `shape_of` says; written.
        valid: (B, wanted band); written.
    """
    terms = _terms(wanted)
    values = stored[:, terms.bands]
    mask_tiles(wanted.modality, values, present, valid)
    # What is not valid may be anything, and is computed with the rest before it is dropped.
    with np.errstate(invalid="ignore", over="ignore"):
        scores = (values - terms.mean) / terms.std if terms.is_scaled else values
    out[:] = 0
    np.copyto(out, scores, where=valid, casting="same_kind")
