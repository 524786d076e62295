"""Where values of a batch are valid: there, and not no-data; no more is written than needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmearth.loaders.fetch.finish import Comparison

Truth = NDArray[np.bool_]
Known = NDArray[np.int8]
"""(B, band) of samples' bands, as `Index.known` has it: 1 all valid, 0 nothing, -1 to be looked at;
what is absent is 0."""
Extent = Literal["bands", "pixels", "values"]
"""How much of an array of masks was written:

- `bands`: nothing; each band of each sample is valid as a whole or nowhere, as is known beforehand;
- `pixels`: the first band's masks, which are those of all bands;
- `values`: everything.
"""


@dataclass(slots=True)
class Masks:
    """The masks of a batch's pixels, no larger than they must be.

    Where a sensor saw nothing all bands saw nothing, mostly: a twelfth of the bytes is written
    then. And where an orbit is missing, its bands have no pixel: nothing is written at all.
    """

    valid: Truth
    """(B, band, row, column)."""
    bands: Truth
    """(B, band) which are valid as a whole, in samples that need no look."""
    look: Truth
    """(B,) whether one must look at a sample's pixels."""
    extent: Extent
    """What has been written of `valid`, when every sample that needs it was looked at."""

    @classmethod
    def of(cls, valid: Truth, bands: Truth, known: Known) -> Masks:
        """Return masks for what is known of them, which is written.

        Args:
            valid: (B, band, row, column), written to the extent that they have in the end.
            bands: (B, band), written.
            known: (B, band).
        """
        np.greater(known, 0, out=bands)
        look: Truth = known.min(axis=1) < 0
        if not look.any():
            return cls(valid, bands, look, "bands")
        # Where one must look, bands mostly turn out to agree; elsewhere it is known.
        alike = (known == known[:, :1]).all(axis=1)
        agree = valid.shape[1] > 1 and (alike | look).all()
        masks = cls(valid, bands, look, "pixels" if agree else "values")
        masks._write_known()
        return masks

    def looked(self, slot: int) -> None:
        """Say that all masks of a sample that needs it were written."""
        if self.extent == "pixels":
            words = self.valid[slot].view(np.uint64)
            self.found(bool((words[1:] == words[0]).all()))

    def found(self, agree: bool) -> None:
        """Say whether, in samples whose masks were written, those of all bands are the same."""
        if not agree and self.extent == "pixels":
            self.extent = "values"
            self._write_known()

    def _write_known(self) -> None:
        for slot in np.flatnonzero(~self.look).tolist():
            if self.extent == "pixels":
                self.valid[slot, 0] = self.bands[slot, 0]
            else:
                self.valid[slot] = self.bands[slot, :, np.newaxis, np.newaxis]


@dataclass(slots=True)
class Masking:
    """Masks pixels as they are stored, a sample at a time: while its bytes are in the cache."""

    stored: NDArray[Any]
    """(B, band, row, column)."""
    nodata: np.generic
    """Of its dtype."""
    masks: Masks
    """Of the same shape."""

    @classmethod
    def of(cls, nodata: float | None, stored: NDArray[Any], masks: Masks) -> Masking:
        """Return it for a layer's no-data value; where it has none nobody looks."""
        return cls(stored, stored.dtype.type(nodata or 0), masks)

    @property
    def look(self) -> Truth:
        """Which samples' pixels one must look at, (B,); of the others the masks are made."""
        return self.masks.look

    @property
    def comparison(self) -> Comparison | None:
        """All that there is to do, unless no-data has two forms: 0.0 is -0.0, with other bits."""
        if self.nodata == 0 and self.nodata.dtype.kind == "f":
            return None
        return Comparison(self.nodata, self.masks.valid, self.masks.found)

    def __call__(self, slot: int) -> None:
        """Make the masks of a sample at which one must look."""
        np.not_equal(self.stored[slot], self.nodata, out=self.masks.valid[slot])
        self.masks.looked(slot)


def mask_tiles(nodata: float | None, values: NDArray[Any], present: Truth, valid: Truth) -> None:
    """Write where a tile-level layer is valid.

    Args:
        nodata: Of the layer; None where a value is always there.
        values: (B, band) as stored; what lies in samples that are not there has no meaning.
        present: (B,) which samples have it.
        valid: (B, band), written.
    """
    if nodata is None:
        valid[:] = True
    else:
        np.not_equal(values, values.dtype.type(nodata), out=valid)
    valid[~present] = False
