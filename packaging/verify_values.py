"""Whether one member of a shard keeps its contract and says what its row of the manifest says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import FormatError
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import member_column
from mmearth.catalog.targets import target_array
from mmearth.catalog.task import Task
from mmearth.packaging.codec import decode_tile_level

Row = dict[str, Any]
"""A row of a manifest."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What the arrays of a layer are compared with, made once for all of them."""

    layer: Layer
    """What they are of."""
    shape: tuple[int, ...]
    """Of an array in a shard: a pixel-level target has no axis of bands there."""
    low: NDArray[np.generic]
    """Lowest valid value of each band, (band,), in the layer's type."""
    high: NDArray[np.generic]
    """Highest, likewise."""
    by_extremes: bool
    """Whether all values of a band are valid where its least and its greatest are."""

    @classmethod
    def of(cls, layer: Layer, shape: tuple[int, ...]) -> Contract:
        """Return the contract of a layer whose arrays are of `shape` in a shard."""
        low, high = np.array([band.valid for band in layer.bands], dtype=layer.dtype).T
        return cls(layer, shape, low, high, not layer.has_gaps)

    def n_valid(self, array: NDArray[np.generic]) -> NDArray[np.int64]:
        """Return how many values of each band are valid, (band,), after looking at all of them.

        Raises:
            DataError: The array breaks the layer's contract.
        """
        found = self._n_valid_at_once(array)
        if found is not None:
            return found
        self.layer.check(array)
        valid = self.layer.valid(array).reshape(len(array), -1)
        return np.asarray(np.count_nonzero(valid, axis=1))

    def _n_valid_at_once(self, array: NDArray[np.generic]) -> NDArray[np.int64] | None:
        """Return the counts where the extremes settle them, else None.

        They do in the usual case, a band that is all valid or all no-data, at the speed of memory.
        """
        layer = self.layer
        if not self.by_extremes or array.shape != layer.shape or array.dtype != layer.dtype:
            return None
        bands: NDArray[Any] = array.reshape(array.shape[0], -1)
        least, most = bands.min(axis=1), bands.max(axis=1)
        valid = (least >= self.low) & (most <= self.high)
        if layer.nodata is not None:  # which may stand between the limits
            valid &= (layer.nodata < least) | (most < layer.nodata)
        empty = (least == layer.nodata) & (most == layer.nodata)
        return valid * bands.shape[1] if (valid | empty).all() else None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the samples of a task are made of."""

    catalogue: Catalogue
    """Of the dataset."""
    task: Task
    """One of its tasks."""
    contracts: dict[str, Contract]
    """By modality, and by the task's name where its targets have pixels."""
    members: dict[str, str]
    """Suffix of each member with pixels → its name, in the order of a shard."""

    @classmethod
    def of(cls, catalogue: Catalogue, task: Task) -> Expected:
        """Return what the samples of a task are made of."""
        layers = [*catalogue.members(task), *catalogue.tile_layers]
        contracts = {
            each.name: Contract.of(each, catalogue.member_shape(each.name)) for each in layers
        }
        named = catalogue.codec.member
        members = {named(layer.name): layer.name for layer in catalogue.members(task)}
        return cls(catalogue, task, contracts, members)


def read_document(data: bytes, row: Row, expected: Expected) -> dict[str, NDArray[np.generic]]:
    """Return the tile-level arrays of a `<key>.json`, its tile-level target, if any, as `target`.

    Raises:
        FormatError: It contradicts its row.
        ConfigError: It names a modality that the catalogue has not.
        DataError: A value breaks its contract.
        ValueError, KeyError, TypeError: It is not such a document at all.
    """
    document, task = parse_json(data, "it"), expected.task
    for name in ("key", "tile", "task", "split"):
        _same(name, document[name], row[name])
    _same("date", document["date"], str(row["date"]))
    for layer in expected.catalogue.layers.values():
        present = row[member_column(layer)]["present"]
        if not layer.is_pixel:
            _same(f"presence of {layer.name}", layer.name in document["modalities"], present)
        if present and layer.name in document["missing"]:
            raise FormatError(
                f"it says that {layer.name} is missing, the manifest that it is present"
            )
    arrays = {}
    for layer, array in decode_tile_level(document, expected.catalogue):
        expected.contracts[layer.name].n_valid(array)
        _same(f"values of {layer.name}", array.tolist(), row[member_column(layer)]["values"])
        if layer.has_code_column:
            _same(layer.name, int(array[0]), row[layer.name])
        arrays[layer.name] = array
    if not task.is_pixel:
        target = target_array(task, document["target"])
        task.check(target)
        # Decoded alike: a shard keeps a target in the task's own type, a manifest as a double.
        _same("target", _plain(target), _plain(target_array(task, row[task.column])))
        if target is not None:
            arrays["target"] = target
    return arrays


def read_array(data: memoryview, name: str, expected: Expected, said: Row) -> NDArray[np.generic]:
    """Return the array of a member with pixels after looking at every value.

    Args:
        data: The member.
        name: A modality, or a task with pixel-level targets.
        expected: What the task's samples are made of.
        said: Its struct in the manifest.

    Raises:
        FormatError: It is not an array, or the share of valid values differs.
        DataError: Its dtype, shape or a value breaks the contract.
    """
    contract = expected.contracts[name]
    codec = expected.catalogue.codec
    array = codec.decode(data, name, contract.layer.dtype, contract.shape)
    if name == expected.task.name:
        _check_target(expected.task, array, said)
        return array
    n_valid = contract.n_valid(array)
    _same("valid_fraction", int(n_valid.sum()) / array.size, said["valid_fraction"])
    shares = (n_valid / (array.size // len(array))).tolist()
    _same("band_valid_fraction", shares, said["band_valid_fraction"])
    return array


def _check_target(task: Task, array: NDArray[np.generic], said: Row) -> None:
    task.check(array)
    labelled = array[task.target.valid(array)]
    _same("valid_fraction", labelled.size / array.size, said["valid_fraction"])
    mean = None if task.kind == "classification" else float(labelled.mean(dtype=np.float64))
    if mean is None or not math.isclose(mean, said["mean"], rel_tol=1e-9, abs_tol=1e-12):
        _same("mean", mean, said["mean"])


def _plain(target: NDArray[np.generic] | None) -> object:
    return None if target is None else target.tolist()


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise FormatError(f"its {what} is {found!r}, the manifest says {expected!r}")
