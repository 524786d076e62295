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
from mmearth.loaders.normalise import normalise, shape_of, valid_mask
from mmearth.loaders.pool import Arrays, Layout

TARGET = "target"
"""Name of the target's array, and of its mask."""
Rows = NDArray[np.int64]
Form = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and dtype."""


def mask_of(name: str) -> str:
    """Return the name of the array that says which values of `name` are valid, of its shape."""
    return f"mask of {name}"


def presence_of(name: str) -> str:
    """Return the name of the array that says which samples have `name` at all, (B,)."""
    return f"presence of {name}"


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
        layout: dict[str, Form] = {}
        for name in (*self.index.modalities, TARGET):
            shape, dtype = self._form(name)
            layout[name] = ((size, *shape), dtype)
            layout[mask_of(name)] = ((size, *shape), np.dtype(np.bool_))
            layout[presence_of(name)] = ((size,), np.dtype(np.bool_))
        return layout

    def scratch_layout(self, size: int) -> Layout:
        """Return the arrays that reading needs besides: stored values that will be normalised."""
        if self.normalisation is None:
            return {}
        names = [name for name in self.index.modalities if name in self.index.offset]
        return {name: ((size, *shape), dtype) for name in names for shape, dtype in [_stored(name)]}

    def read(self, rows: Rows, arrays: Arrays, scratch: Arrays) -> frozenset[str]:
        """Fill arrays with a batch.

        Args:
            rows: Of the index, (B,).
            arrays: Of `layout(size)`, size ≥ B; beyond B they are left as they were.
            scratch: Of `scratch_layout(size)`.

        Returns:
            Which of the modalities and the target have a mask array that was filled; of the others
            each sample is valid as a whole or not there, as its presence says.

        Raises:
            IntegrityError: Bytes differ from their checksum, or the dataset was rebuilt.
            FormatError, StorageError, SourceError: See `Members.fill`.
        """
        into = {name: self._destination(name, arrays, scratch) for name in self.index.offset}
        self.members.fill(rows, {name: _as_bytes(array) for name, array in into.items()})
        names = self.index.modalities
        masked = {name for name in names if self._modality(name, rows, arrays, scratch)}
        return frozenset(masked | ({TARGET} if self._target(rows, arrays) else set()))

    def _form(self, name: str) -> Form:
        """Return shape and dtype of one sample's array in a batch."""
        if name == TARGET:
            task = TASKS[self.index.task]
            return task.shape, np.dtype(task.dtype)
        return _stored(name) if self.normalisation is None else shape_of(name, self.normalisation)

    def _destination(self, name: str, arrays: Arrays, scratch: Arrays) -> NDArray[Any]:
        """Return the array that a member's values are read into."""
        if name == self.index.task:
            return arrays[TARGET]
        return arrays[name] if self.normalisation is None else scratch[name]

    def _modality(self, name: str, rows: Rows, arrays: Arrays, scratch: Arrays) -> bool:
        """Finish a modality; return whether its mask array was filled."""
        n = len(rows)
        present = self.index.present[name][rows]
        full = self.index.full[name][rows] if name in self.index.full else None
        out, mask = arrays[name][:n], arrays[mask_of(name)][:n]
        arrays[presence_of(name)][:n] = present
        if name in self.index.values:
            stored = self.index.values[name][rows].astype(MODALITIES[name].dtype)
        elif self.normalisation is None:
            out[~present] = 0
            return valid_mask(name, out, mask, present, full)
        else:
            stored = scratch[name][:n]
        if self.normalisation is not None:
            return normalise(stored, mask, self.normalisation[name], out, present, full)
        np.copyto(out, stored)
        return valid_mask(name, out, mask, present, full)

    def _target(self, rows: Rows, arrays: Arrays) -> bool:
        """Finish the target; return whether its mask array was filled."""
        n, task = len(rows), self.index.task
        labelled = self.index.labelled[rows]
        arrays[presence_of(TARGET)][:n] = labelled
        out = arrays[TARGET][:n]
        if self.index.target is not None:
            np.copyto(out, self.index.target[rows])
            out[~labelled] = 0
            return False
        mask, full = arrays[mask_of(TARGET)][:n], self.index.full[task][rows]
        return valid_mask(task, out, mask, labelled, full)


def _stored(name: str) -> Form:
    return MODALITIES[name].shape, np.dtype(MODALITIES[name].dtype)


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(len(array), -1).view(np.uint8)
