"""Rows of an index → the arrays of a batch; without torch, so that worker processes start fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.tasks import TASKS
from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.inputs import Normalisation
from mmearth.loaders.masks import Extent, Masking, Masks, Truth, mask_tiles
from mmearth.loaders.normalise import Normalising, normalise_tiles, shape_of
from mmearth.loaders.pool import Arrays, Form, Layout, lay_out

TARGET = "target"
"""Name of the target's array, and of its mask."""
Rows = NDArray[np.int64]
Extents = dict[str, Extent]
"""Name of a modality, or `target` → how much of its mask array was written."""


def mask_of(name: str) -> str:
    """Return the name of the array that says which values of `name` are valid, of its shape."""
    return f"mask of {name}"


def bands_of(name: str) -> str:
    """Return the name of the array that says which bands of `name` are valid, (B, band).

    It holds where all of a batch is known beforehand; see `Extent`.
    """
    return f"bands of {name}"


@dataclass(frozen=True, slots=True)
class BatchReader:
    """Reads batches into arrays that are there already; each stored pixel is copied once."""

    index: Index
    """The samples."""
    members: Members
    """Where their bytes come from."""
    normalisation: Normalisation | None
    """What the model wants; None: the values as they are stored."""

    def layout(self, size: int) -> Layout:
        """Return the arrays of a batch of up to `size` samples.

        Raises:
            ConfigError: The normalisation lacks a chosen modality.
        """
        forms: dict[str, Form] = {}
        for name in (*self.index.modalities, TARGET):
            shape, dtype = self._form(name)
            forms[name] = ((size, *shape), dtype)
            forms[mask_of(name)] = ((size, *shape), np.dtype(np.bool_))
        for member in self.index.offset:
            n_bands = 1 if member == self.index.task else forms[member][0][1]
            forms[bands_of(self._called(member))] = ((size, n_bands), np.dtype(np.bool_))
        return lay_out(forms)

    def scratch_layout(self, size: int) -> Layout:
        """Return the arrays that reading needs besides: stored values that will be normalised."""
        if self.normalisation is None:
            return {}
        names = [name for name in self.index.modalities if name in self.index.offset]
        forms = {name: _stored(name) for name in names}
        return lay_out({name: ((size, *shape), dtype) for name, (shape, dtype) in forms.items()})

    def read(self, rows: Rows, arrays: Arrays, scratch: Arrays) -> Extents:
        """Fill arrays with a batch.

        Args:
            rows: Of the index, (B,).
            arrays: Of `layout(size)`, size ≥ B; beyond B they are left as they were.
            scratch: Of `scratch_layout(size)`.

        Returns:
            How much of each mask array was written; of the rest, the array of bands says it.

        Raises:
            IntegrityError: Bytes differ from their checksum, or the dataset was rebuilt.
            FormatError, StorageError, SourceError: See `Members.fill`.
        """
        into = {name: self._destination(name, arrays, scratch) for name in self.index.offset}
        finish = {name: self._finish(name, rows, into[name], arrays) for name in into}
        self.members.fill(rows, {k: _as_bytes(array) for k, array in into.items()}, finish)
        for name, array in into.items():
            for slot in (self.index.offset[name][rows] == 0).nonzero()[0].tolist():
                array[slot] = 0  # not what the batch before left there
                if finish[name].look[slot]:
                    finish[name](slot)
        extents = {self._called(name): each.masks.extent for name, each in finish.items()}
        for name in self.index.values:
            self._tiles(name, rows, arrays)
            extents[name] = "values"
        if self.index.target is not None:
            self._targets(self.index.target[rows], self.index.labelled[rows], arrays)
            extents[TARGET] = "values"
        return extents

    def _form(self, name: str) -> Form:
        """Return shape and dtype of one sample's array in a batch."""
        if name == TARGET:
            task = TASKS[self.index.task]
            return task.shape, np.dtype(task.dtype)
        return _stored(name) if self.normalisation is None else shape_of(name, self.normalisation)

    def _destination(self, name: str, arrays: Arrays, scratch: Arrays) -> NDArray[Any]:
        """Return the array that a member's values are read into."""
        if name == self.index.task or self.normalisation is None:
            return arrays[self._called(name)]
        return scratch[name]

    def _called(self, member: str) -> str:
        """Return what a member's array is called in a batch."""
        return TARGET if member == self.index.task else member

    def _finish(
        self, name: str, rows: Rows, stored: NDArray[Any], arrays: Arrays
    ) -> Masking | Normalising:
        """Return what makes stored pixels into the batch's, a sample at a time."""
        n, called, known = len(rows), self._called(name), self.index.known[name][rows]
        mask, bands = arrays[mask_of(called)][:n], arrays[bands_of(called)][:n]
        if name == self.index.task:
            masks = Masks.of(mask[:, np.newaxis], bands, known)
            return Masking.of(name, stored[:n, np.newaxis], masks)
        if self.normalisation is None:
            return Masking.of(name, stored[:n], Masks.of(mask, bands, known))
        wanted, out = self.normalisation[name], arrays[name][:n]
        return Normalising.of(stored[:n], wanted, out, mask, bands, known)

    def _tiles(self, name: str, rows: Rows, arrays: Arrays) -> None:
        """Write a tile-level modality and its masks."""
        n, present = len(rows), self.index.present[name][rows]
        out, mask = arrays[name][:n], arrays[mask_of(name)][:n]
        # They were of that dtype before they were float64.
        stored = self.index.values[name][rows].astype(MODALITIES[name].dtype)
        if self.normalisation is not None:
            normalise_tiles(stored, present, self.normalisation[name], out, mask)
        else:
            np.copyto(out, stored)
            mask_tiles(name, stored, present, mask)

    def _targets(self, target: NDArray[Any], labelled: Truth, arrays: Arrays) -> None:
        """Write tile-level targets, (B, n_outputs), and their masks."""
        out = arrays[TARGET][: len(target)]
        np.copyto(out, target)
        out[~labelled] = 0
        arrays[mask_of(TARGET)][: len(target)] = labelled[:, np.newaxis]


def _stored(name: str) -> Form:
    return MODALITIES[name].shape, np.dtype(MODALITIES[name].dtype)


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(len(array), -1).view(np.uint8)
