"""Rows of an index → the arrays of a batch; without torch, so that worker processes start fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.loaders.choose.index import Index
from mmearth.loaders.fetch.members import Members
from mmearth.loaders.inputs import Normalisation
from mmearth.loaders.masks import Extent, Masking, Masks, Truth, mask_tiles
from mmearth.loaders.normalise import Normalising, Terms, normalise_tiles
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
    terms: dict[str, Terms]
    """Modality, or `target` → what makes its values into those that a model wants; what is left out
    stays as it is stored."""

    @classmethod
    def of(cls, index: Index, members: Members, normalisation: Normalisation | None) -> BatchReader:
        """Return what reads an index' samples.

        Args:
            index: The samples.
            members: Where their bytes come from.
            normalisation: Of the chosen modalities, compared with the dataset; None: values as they
                are stored. The classes of a target are indices in any case.
        """
        wanted = normalisation or Normalisation({})
        terms = {name: Terms.of(wanted[name], index.layers[name]) for name in wanted}
        if index.task.kind == "classification":
            terms[TARGET] = Terms.of_target(index.task.target)
        return cls(index, members, terms)

    def layout(self, size: int) -> Layout:
        """Return the arrays of a batch of up to `size` samples."""
        forms: dict[str, Form] = {}
        for name in (*self.index.layers, TARGET):
            shape, dtype = self._form(name)
            forms[name] = ((size, *shape), dtype)
            forms[mask_of(name)] = ((size, *shape), np.dtype(np.bool_))
        for member in self.index.offset:
            called = self._called(member)
            n_bands = 1 if called == TARGET else forms[called][0][1]
            forms[bands_of(called)] = ((size, n_bands), np.dtype(np.bool_))
        return lay_out(forms)

    def scratch_layout(self, size: int) -> Layout:
        """Return the arrays that reading needs besides: stored values that will be normalised."""
        forms: dict[str, Form] = {}
        for name in self.index.offset:
            if self._called(name) in self.terms:
                stored = self.index.contract(name)
                forms[name] = ((size, *stored.shape), np.dtype(stored.dtype))
        return lay_out(forms)

    def read(self, rows: Rows, arrays: Arrays, scratch: Arrays, epoch: int = 0) -> Extents:
        """Fill arrays with a batch.

        Args:
            rows: Of the index, (B,).
            arrays: Of `layout(size)`, size ≥ B; beyond B they are left as they were.
            scratch: Of `scratch_layout(size)`.
            epoch: That is read.

        Returns:
            How much of each mask array was written; of the rest, the array of bands says it.

        Raises:
            IntegrityError: Bytes differ from their checksum, or the dataset was rebuilt.
            FormatError, StorageError, SourceError: See `Members.fill`.
        """
        into = {name: self._destination(name, arrays, scratch) for name in self.index.offset}
        finish = {name: self._finish(name, rows, into[name], arrays) for name in into}
        of_bytes = {name: _as_bytes(array) for name, array in into.items()}
        self.members.fill(rows, of_bytes, finish, epoch)
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
            self._targets(rows, self.index.target[rows], arrays)
            extents[TARGET] = "values"
        return extents

    def _form(self, called: str) -> Form:
        """Return shape and dtype of one sample's array in a batch."""
        task = self.index.task
        stored = task if called == TARGET else self.index.layers[called]
        terms = self.terms.get(called)
        if terms is None:
            return stored.shape, np.dtype(stored.dtype)
        return stored.shape if called == TARGET else terms.shape, terms.dtype

    def _destination(self, name: str, arrays: Arrays, scratch: Arrays) -> NDArray[Any]:
        """Return the array that a member's values are read into."""
        called = self._called(name)
        return scratch[name] if called in self.terms else arrays[called]

    def _called(self, member: str) -> str:
        """Return what a member's array is called in a batch."""
        return TARGET if member == self.index.task.name else member

    def _finish(
        self, name: str, rows: Rows, stored: NDArray[Any], arrays: Arrays
    ) -> Masking | Normalising:
        """Return what makes stored pixels into the batch's, a sample at a time."""
        n, called, known = len(rows), self._called(name), self.index.known[name][rows]
        pixels, out, mask = stored[:n], arrays[called][:n], arrays[mask_of(called)][:n]
        if called == TARGET:  # it has no axis of bands
            pixels, out, mask = (array[:, np.newaxis] for array in (pixels, out, mask))
        bands, terms = arrays[bands_of(called)][:n], self.terms.get(called)
        if terms is not None:
            return Normalising.of(pixels, terms, out, mask, bands, known)
        return Masking.of(self.index.contract(name).nodata, pixels, Masks.of(mask, bands, known))

    def _tiles(self, name: str, rows: Rows, arrays: Arrays) -> None:
        """Write a tile-level modality and its masks."""
        layer = self.index.layers[name]
        # They were of that dtype before they were float64.
        stored = self.index.values[name][rows].astype(layer.dtype)
        self._write(name, stored, self.index.present[name][rows], layer.nodata, arrays)

    def _targets(self, rows: Rows, target: NDArray[Any], arrays: Arrays) -> None:
        """Write tile-level targets, (B, band), and their masks; nothing in one is no-data."""
        self._write(TARGET, target, self.index.labelled[rows], None, arrays)
        if TARGET not in self.terms:
            arrays[TARGET][: len(rows)][~self.index.labelled[rows]] = 0

    def _write(
        self,
        called: str,
        stored: NDArray[Any],
        present: Truth,
        nodata: float | None,
        arrays: Arrays,
    ) -> None:
        """Write values without pixels, (B, band), and their masks."""
        out, mask = arrays[called][: len(stored)], arrays[mask_of(called)][: len(stored)]
        if called in self.terms:
            normalise_tiles(stored, present, self.terms[called], out, mask)
        else:
            np.copyto(out, stored)
            mask_tiles(nodata, stored, present, mask)


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(len(array), -1).view(np.uint8)
