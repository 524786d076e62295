"""Stored values → what a model is fed: z-scores or class indices, zero where nothing is valid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.modalities import MODALITIES
from mmearth.loaders.inputs import ModalityInput, Normalisation
from mmearth.loaders.masks import Extent, Masks, Truth, mask_tiles


def shape_of(name: str, normalisation: Normalisation) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of one sample's normalised array: float32, or int64 for classes.

    Raises:
        ConfigError: The normalisation has no such modality.
    """
    wanted = normalisation.only([name])[name]
    modality = MODALITIES[name]
    dtype = np.int64 if modality.kind == "categorical" else np.float32
    return (len(wanted.bands), *modality.shape[1:]), np.dtype(dtype)


def normalise(
    stored: NDArray[Any],
    valid: Truth,
    wanted: ModalityInput,
    out: NDArray[Any],
    present: Truth | None = None,
    full: Truth | None = None,
) -> Extent:
    """Write (stored - mean) / std of the wanted bands, and where they are valid.

    Classes become indices 0 … n-1: their codes are their positions in `Modality.classes`. What is
    not valid becomes 0, whatever is stored there. Against the formula in float64, a z-score z of
    float32 or integer values is off by at most 2**-22 |z| + 2**-24 |mean| / std: the mean is
    rounded once and the sum never cancels. float64 values are computed in float64.

    Args:
        stored: (B, band, 128, 128) or (B, band), all bands of the modality, in its own dtype.
        valid: Written to the extent that is returned: (B, wanted band, …), as by `valid_mask`.
        wanted: What the model wants.
        out: Written: of the shape of `valid`, and the dtype that `shape_of` says.
        present: As for `valid_mask`.
        full: As for `valid_mask`.
    """
    if stored.ndim == 2:
        # What is not valid may be anything, and is computed with the rest before it is dropped.
        with np.errstate(invalid="ignore", over="ignore"):
            _normalise_tiles(stored, present, wanted, valid, out)
        return "values"
    normalising = Normalising.of(stored, valid, wanted, out, present, full)
    for slot in range(len(stored)):
        normalising(slot)
    return normalising.masks.extent


@dataclass(slots=True)
class Normalising:
    """`normalise` of pixel-level values, a sample at a time: while its bytes are in the cache."""

    stored: NDArray[Any]
    nodata: float | None
    terms: _Terms
    out: NDArray[Any]
    masks: Masks

    @classmethod
    def of(
        cls,
        stored: NDArray[Any],
        valid: Truth,
        wanted: ModalityInput,
        out: NDArray[Any],
        present: Truth | None,
        full: Truth | None,
    ) -> Normalising:
        """Return it for the arguments of `normalise`."""
        nodata = MODALITIES[wanted.modality].nodata
        masks = Masks.of(valid, nodata, present, full)
        return cls(stored, nodata, _terms(wanted), out, masks)

    def __call__(self, slot: int) -> None:
        """Finish a sample."""
        whole, out = self.masks.known[slot], self.out[slot]
        if whole is False:
            out[...] = 0
        else:
            # What is not valid may be anything, and is computed before it is dropped.
            with np.errstate(invalid="ignore", over="ignore"):
                _scale(self.stored[slot], self.terms, out)
        if whole is None:
            valid = self.masks.valid[slot]
            _mask(self.stored[slot], self.nodata, self.terms, valid)
            _drop_invalid(out, valid)
            self.masks.looked(slot)


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


def _normalise_tiles(
    stored: NDArray[Any],
    present: Truth | None,
    wanted: ModalityInput,
    valid: Truth,
    out: NDArray[Any],
) -> None:
    """Normalise (B, band) in one go."""
    terms = _terms(wanted)
    values = stored[:, terms.bands]
    mask_tiles(values, MODALITIES[wanted.modality].nodata, valid, present)
    scores = (values - terms.mean) / terms.std if terms.is_scaled else values
    out[:] = 0
    np.copyto(out, scores, where=valid, casting="same_kind")
