"""Index: what a loader must know of every chosen sample, as arrays; light enough for workers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.codec import Codec
from mmearth.catalog.errors import StorageError
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task
from mmearth.loaders.choose.spill import Spill

Rows = NDArray[np.int64]
"""Positions in an index, (k,)."""
_BLOCK = 1 << 20  # rows that are hashed in one piece


@dataclass(frozen=True, slots=True, repr=False)
class Index:
    """What a loader must know of every chosen sample: arrays of n rows in the manifest's order.

    Pickled, arrays in memory travel by value and those in files by path: the files live as long as
    the index that was built, and another process must open them before it goes.
    """

    task: Task
    """What is to be predicted."""
    layers: dict[str, Layer]
    """The chosen modalities by name, in the dataset's order."""
    grid: Grid
    """Of every sample."""
    codec: Codec
    """Of its members."""
    shards: tuple[str, ...]
    """Paths relative to the dataset's root, in the order in which the rows need them."""
    shard: NDArray[np.uint32]
    """(n,) position in `shards`."""
    place: NDArray[np.int32]
    """(n, 3) EPSG code, left and top in metres."""
    date: NDArray[np.int32]
    """(n,) days since 1970-01-01 of the anchor date."""
    lon: NDArray[np.float64]
    """(n,) of the centre, degrees."""
    lat: NDArray[np.float64]
    """(n,) of the centre, degrees."""
    offset: dict[str, NDArray[np.uint64]]
    """Pixel-level modality, or the task if its target is pixel-level → (n,) byte of the shard at
    which its member begins; 0 where it is absent (a tar never has a member's bytes there)."""
    length: dict[str, NDArray[np.uint32]]
    """The same keys → (n,) bytes that a member has as it is stored, 0 where it is absent; empty of
    `npy`, whose members are all of one length."""
    sha256: dict[str, NDArray[np.void]]
    """The same keys → (n,) `V32`, of the member as it is stored, zeros where absent; empty if left
    out."""
    known: dict[str, NDArray[np.int8]]
    """The same keys → (n, band): 1 where a band has no no-data pixel, 0 where it has no other or is
    absent, -1 where it has both, so that one must look. A target is one band."""
    values: dict[str, NDArray[np.float64]]
    """Tile-level modality → (n, band); where absent its no-data value, NaN if it has none."""
    present: dict[str, NDArray[np.bool_]]
    """Every chosen modality → (n,)."""
    target: NDArray[Any] | None
    """(n, band) of the task's dtype, class codes not yet indices, NaN or 0 where unlabelled; None
    if pixel-level."""
    labelled: NDArray[np.bool_]
    """(n,) whether there is a target; False only in tasks where a sample may have none."""
    owner: Spill | None = field(default=None, repr=False, compare=False)
    """Keeps the arrays' files alive; None where all is in memory, or in another process."""

    def __len__(self) -> int:
        return len(self.shard)

    def __repr__(self) -> str:
        return f"<Index of {len(self):,} samples of {self.task.name}: {', '.join(self.layers)}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Index:
        return self  # nothing writes to it, and its files go with it

    def contract(self, member: str) -> Layer | Task:
        """Return what a key of `offset` is: the shape, dtype and no-data value of its arrays."""
        return self.task if member == self.task.name else self.layers[member]

    def keys(self, rows: Rows) -> list[str]:
        """Return samples' keys, `<epsg>_<left>_<top>_<yyyymmdd>`."""
        return [
            f"{epsg}_{left}_{top}_{_text(day)}"
            for (epsg, left, top), day in zip(
                self.place[rows].tolist(), self.date[rows].tolist(), strict=True
            )
        ]

    def hash(self, dataset: str) -> str:
        """Return the SHA-256 of which samples these are, in which order; not of their modalities.

        Args:
            dataset: The dataset's hash.
        """
        digest = hashlib.sha256(f"{dataset}\n{self.task.name}\n{len(self)}\n".encode())
        digest.update("".join(f"{name}\n" for name in self.shards).encode())
        for array, kind in ((self.shard, "<u4"), (self.place, "<i4"), (self.date, "<i4")):
            for begin in range(0, len(self), _BLOCK):
                block = np.ascontiguousarray(array[begin : begin + _BLOCK], kind)
                digest.update(block.data)
        return digest.hexdigest()

    def __reduce__(self) -> tuple[Callable[..., Index], tuple[dict[str, Any]]]:
        state = {f.name: _packed(getattr(self, f.name)) for f in fields(self) if f.name != "owner"}
        return _restored, (state,)


@cache
def _text(day: int) -> str:
    """Return yyyymmdd of a day since 1970-01-01; there are few days, and many samples of each."""
    return str(np.datetime64(day, "D")).replace("-", "")


@dataclass(frozen=True, slots=True)
class _Mapped:
    """An array in a file."""

    path: str
    dtype: str
    shape: tuple[int, ...]


def _packed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _packed(inner) for name, inner in value.items()}
    if isinstance(value, np.memmap):
        return _Mapped(str(value.filename), value.dtype.str, value.shape)
    return value


def _unpacked(value: Any) -> Any:
    """Return a packed value.

    Raises:
        StorageError: The file of an array has gone, with the index that owned it.
    """
    if isinstance(value, dict):
        return {name: _unpacked(inner) for name, inner in value.items()}
    if not isinstance(value, _Mapped):
        return value
    try:
        return np.memmap(value.path, np.dtype(value.dtype), mode="r", shape=value.shape)
    except FileNotFoundError as exc:
        raise StorageError(
            f"the index's file {value.path} has gone; keep the selection that made the index "
            "until its workers have started, and let them see the same temporary directory"
        ) from exc


def _restored(state: dict[str, Any]) -> Index:
    return Index(**_unpacked(state))
