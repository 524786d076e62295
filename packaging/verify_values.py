"""Whether one member of a shard keeps its contract and says what its row of the manifest says."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import FormatError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.modality import TILE_PX
from mmearth.catalog.schema import CLASS_COLUMNS, member_column
from mmearth.catalog.tasks import TASKS
from mmearth.packaging.codec import decode_npy, decode_target, decode_tile_level, npy

Row = dict[str, Any]
"""A row of a manifest."""


def read_document(data: bytes, row: Row, task: str) -> dict[str, NDArray[np.generic]]:
    """Return the tile-level arrays of a `<key>.json`, its tile-level target, if any, as `target`.

    Raises:
        FormatError: It contradicts its row.
        DataError: A value breaks its contract.
        ValueError, KeyError, TypeError: It is not such a document at all.
    """
    document = parse_json(data, "it")
    for name in ("key", "tile", "task", "split"):
        _same(name, document[name], row[name])
    _same("date", document["date"], str(row["date"]))
    for name, modality in MODALITIES.items():
        present = row[member_column(name)]["present"]
        if modality.level == "tile":
            _same(f"presence of {name}", name in document["modalities"], present)
        if present and name in document["missing"]:
            raise FormatError(f"it says that {name} is missing, the manifest that it is present")
    arrays = dict(decode_tile_level(document))
    for name, array in arrays.items():
        if _shares_at_once(name, array) is None:
            MODALITIES[name].check(array)
        _same(f"values of {name}", array.tolist(), row[member_column(name)]["values"])
        if name in CLASS_COLUMNS:
            _same(name, int(array[0]), row[name])
    if TASKS[task].level == "tile":
        target = decode_target(document)
        TASKS[task].check(target)
        # Decoded alike: a shard keeps a target in the task's own type, a manifest as a double.
        said = decode_target({"task": task, "target": row[task if task in row else "target"]})
        _same("target", _plain(target), _plain(said))
        if target is not None:
            arrays["target"] = target
    return arrays


def read_array(data: memoryview, name: str, expected: Row) -> NDArray[np.generic]:
    """Return the array of an `.npy` member after looking at every value.

    Args:
        data: The member.
        name: A modality, or a task with pixel-level targets.
        expected: Its struct in the manifest.

    Raises:
        FormatError: It is not an array, or the share of valid values differs.
        DataError: Its dtype, shape or a value breaks the contract.
    """
    array = _array(data, name)
    shares = _shares_at_once(name, array) if name in MODALITIES else None
    if shares is None:
        spec = MODALITIES[name] if name in MODALITIES else TASKS[name]
        spec.check(array)
        valid = (array != spec.nodata).reshape(-1, TILE_PX * TILE_PX)
        shares = np.count_nonzero(valid, axis=1) / valid.shape[1]
    # Exact: the shares are whole multiples of 2**-14.
    _same("valid_fraction", float(shares.mean()), expected["valid_fraction"])
    if name in MODALITIES:
        _same("band_valid_fraction", shares.tolist(), expected["band_valid_fraction"])
    return array


@cache
def pixel_level() -> tuple[str, ...]:
    """Return the modalities that are `.npy` members, in the published order."""
    return tuple(name for name, modality in MODALITIES.items() if modality.level == "pixel")


def _plain(target: NDArray[np.generic] | None) -> object:
    return None if target is None else target.tolist()


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise FormatError(f"its {what} is {found!r}, the manifest says {expected!r}")


def _array(data: memoryview, name: str) -> NDArray[np.generic]:
    header, dtype, shape = _layout(name)
    whole = len(header) + dtype.itemsize * int(np.prod(shape))
    if len(data) == whole and bytes(data[: len(header)]) == header:
        return np.frombuffer(data, dtype, offset=len(header)).reshape(shape)
    return decode_npy(data, name)


def _shares_at_once(name: str, array: NDArray[np.generic]) -> NDArray[np.float64] | None:
    """Return the share of valid values of each band where its extremes settle it, else None.

    They do in the usual case, a band that is all valid or all no-data, at the speed of memory. The
    rest is for `Modality.check`.
    """
    modality = MODALITIES[name]
    if array.shape != modality.shape or array.dtype != np.dtype(modality.dtype):
        return None
    low, high = _limits(name)
    bands: NDArray[Any] = array.reshape(array.shape[0], -1)
    least, most = bands.min(axis=1), bands.max(axis=1)
    valid = (least >= low) & (most <= high)
    empty = (least == modality.nodata) & (most == modality.nodata)
    return valid.astype(np.float64) if (valid | empty).all() else None


@cache
def _limits(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bands = MODALITIES[name].bands
    return np.array([b.valid[0] for b in bands]), np.array([b.valid[1] for b in bands])


@cache
def _layout(name: str) -> tuple[bytes, np.dtype[Any], tuple[int, ...]]:
    """Return the .npy header, dtype and shape that a member must have."""
    spec = MODALITIES[name] if name in MODALITIES else TASKS[name]
    values = np.zeros(spec.shape, dtype=spec.dtype)
    return npy(values)[: -values.nbytes], values.dtype, spec.shape
