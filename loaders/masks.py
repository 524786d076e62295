"""Where values of a batch are valid: there, and not no-data; no more is written than needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.tasks import TASKS

Truth = NDArray[np.bool_]
Known = list[bool | None]
"""Whether all of each sample is valid, or nothing; None where one must look."""
Extent = Literal["samples", "pixels", "values"]
"""How much of an array of masks was written:

- `samples`: nothing; each sample is valid as a whole or not there, as is known beforehand;
- `pixels`: the first band's masks, which are those of all bands;
- `values`: everything.
"""


def valid_mask(
    name: str,
    stored: NDArray[Any],
    out: Truth,
    present: Truth | None = None,
    full: Truth | None = None,
) -> Extent:
    """Write where values are valid, as much of it as is needed.

    Args:
        name: A key of MODALITIES, or of TASKS for a pixel-level target.
        stored: (B, …) as stored; what lies in samples that are not there has no meaning.
        out: Written, of the same shape, to the extent that is returned.
        present: (B,) which samples are there; None: all.
        full: (B,) which have no no-data value, if they are there; None: not known.
    """
    if stored.ndim == 2:
        nodata = nodata_of(name)
        if nodata is None:
            return "samples"
        mask_tiles(stored, nodata, out, present)
        return "values"
    masking = Masking.of(name, stored, out, present, full)
    for slot in range(len(stored)):
        masking(slot)
    return masking.masks.extent


@dataclass(slots=True)
class Masks:
    """The masks of a batch's pixels, one for all bands of a sample as long as they agree.

    Most often they do, where a sensor saw nothing: a twelfth of the bytes is written then.
    """

    valid: Truth
    """(B, band, 128, 128), or (B, 128, 128)."""
    known: Known
    """Of each sample."""
    extent: Extent
    """What has been written of `valid`, when every sample that is not known was looked at."""

    @classmethod
    def of(
        cls, valid: Truth, nodata: float | None, present: Truth | None, full: Truth | None
    ) -> Masks:
        """Return them for the arguments of `valid_mask`; what is known is written."""
        known = known_of(len(valid), nodata, present, full)
        if None not in known:
            return cls(valid, known, "samples")
        has_bands = valid.ndim == 4 and valid.shape[1] > 1
        masks = cls(valid, known, "pixels" if has_bands else "values")
        masks._write_known()
        return masks

    def looked(self, slot: int) -> None:
        """Say that all masks of a sample were written, because they were not known."""
        if self.extent == "pixels":
            words = self.valid[slot].view(np.uint64)
            if not (words[1:] == words[0]).all():
                self.extent = "values"
                self._write_known()

    def _write_known(self) -> None:
        out = self.valid[:, 0] if self.extent == "pixels" else self.valid
        for slot, whole in enumerate(self.known):
            if whole is not None:
                out[slot] = whole


@dataclass(slots=True)
class Masking:
    """`valid_mask` of pixel-level values, a sample at a time: while its bytes are in the cache."""

    stored: NDArray[Any]
    nodata: np.generic
    masks: Masks

    @classmethod
    def of(
        cls,
        name: str,
        stored: NDArray[Any],
        valid: Truth,
        present: Truth | None,
        full: Truth | None,
    ) -> Masking:
        """Return it for the arguments of `valid_mask`."""
        nodata = nodata_of(name)
        masks = Masks.of(valid, nodata, present, full)
        return cls(stored, stored.dtype.type(0 if nodata is None else nodata), masks)

    def __call__(self, slot: int) -> None:
        """Finish a sample."""
        if self.masks.known[slot] is None:
            np.not_equal(self.stored[slot], self.nodata, out=self.masks.valid[slot])
            self.masks.looked(slot)


def mask_tiles(
    values: NDArray[Any], nodata: float | None, valid: Truth, present: Truth | None
) -> None:
    """Write where (B, band) values are valid."""
    if nodata is None:
        valid[:] = True
    else:
        np.not_equal(values, values.dtype.type(nodata), out=valid)
    if present is not None:
        valid[~present] = False


def nodata_of(name: str) -> float | None:
    """Return what marks absence in a modality, or in a task's target."""
    return MODALITIES[name].nodata if name in MODALITIES else TASKS[name].nodata


def known_of(n: int, nodata: float | None, present: Truth | None, full: Truth | None) -> Known:
    """Return what is known of `n` samples before they are looked at."""
    if nodata is None:
        whole: Known = [True] * n
    else:
        whole = [None] * n if full is None else [all_ or None for all_ in full.tolist()]
    if present is None:
        return whole
    return [
        all_ if is_there else False for all_, is_there in zip(whole, present.tolist(), strict=True)
    ]
