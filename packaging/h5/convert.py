"""Published values → ours: dtype and no-data, and a refusal where a number would become another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import DataError
from mmearth.catalog.layer import Layer


def ours(values: NDArray[Any], layer: Layer) -> NDArray[Any]:
    """Return published values in our dtype, rounded where it is whole; NaN becomes no-data."""
    dtype, nodata = np.dtype(layer.dtype), layer.nodata
    if values.dtype.kind == "f" and nodata is not None:
        values = np.where(np.isnan(values), values.dtype.type(nodata), values)
    if values.dtype.kind == "f" and dtype.kind != "f":
        values = np.rint(values)
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which no contract allows
        return values.astype(dtype)


def refuse_beyond(path: Path, name: str, first: int, values: NDArray[Any], layer: Layer) -> None:
    """Refuse what our whole numbers cannot hold: it would become another number.

    Args:
        path: Of the file, for the sentence.
        name: Of the dataset in it.
        first: The row of values[0].
        values: As published, rows first.
        layer: What they are to become.

    Raises:
        DataError: There is such a value.
    """
    dtype = np.dtype(layer.dtype)
    if dtype.kind == "f" or values.dtype == dtype:
        return
    limits = np.iinfo(dtype)
    is_beyond = (values < limits.min - 0.5) | (values >= limits.max + 0.5)
    if is_beyond.any():
        row = first + int(np.argmax(is_beyond.reshape(len(values), -1).any(axis=1)))
        raise DataError(
            f"{path}: row {row} of {name} holds {float(values[is_beyond][0]):g}, expected "
            f"{limits.min} to {limits.max}; fetch the file again"
        )
