"""Arrow columns → NumPy arrays, checked; a whole column at a time, no object of Python a row.

The buffers are read as they are: PyArrow's own `to_numpy` and `array` import pandas first, which
takes longer than all else that a small selection needs.
"""

from __future__ import annotations

import binascii
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError

Array = NDArray[Any]

_DTYPES = {
    **{name: name for name in ("int8", "int16", "int32", "int64", "uint32", "uint64")},
    "float": "float32",
    "double": "float64",
    "date32[day]": "int32",  # days since 1970-01-01
}
"""NumPy's name of an Arrow type."""


def required(column: pa.Array, name: str, dtype: str) -> Array:
    """Return a column that must have a value in every row.

    Raises:
        FormatError: A row has none, or they are no numbers.
    """
    if column.null_count:
        raise FormatError(f"{name} is null in {column.null_count} rows; expected a value in each")
    return numbers(column).astype(dtype, copy=False)


def check_all(is_right: Array, values: Array, name: str, expected: str) -> None:
    """Refuse a column of which a value cannot be.

    Args:
        is_right: Of each row, (n,).
        values: The column, (n,).
        name: Of the column.
        expected: What its values are.

    Raises:
        FormatError: One is not right; the sentence has the first.
    """
    if not is_right.all():
        raise FormatError(
            f"found {name} {values[int(np.argmin(is_right))]}, expected {expected}: the manifest "
            "is damaged; run `mmearth packaging verify`, or build the dataset again"
        )


def numbers(column: pa.Array, absent: float = 0) -> Array:
    """Return a column of numbers or dates, (n,), with `absent` where there is none.

    Raises:
        FormatError: They are no numbers.
    """
    dtype = _DTYPES.get(str(column.type))
    if dtype is None:
        raise FormatError(f"found a column of {column.type} where numbers were expected")
    if not len(column):
        return np.empty(0, dtype)
    values = np.frombuffer(column.buffers()[1], dtype)[column.offset :][: len(column)]
    return np.where(there(column), values, np.array(absent, dtype)) if column.null_count else values


def there(column: pa.Array) -> Array:
    """Return where a column has a value, (n,)."""
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    return _bits(column, 0)


def flags(column: pa.Array) -> Array:
    """Return a column of booleans without nulls, (n,)."""
    return _bits(column, 1) if len(column) else np.empty(0, np.bool_)


def positions(column: pa.Array, outputs: tuple[str, ...]) -> Array:
    """Return where each name stands among a task's outputs, (n,), 0 where there is none.

    Raises:
        FormatError: A name is not one of the outputs.
    """
    coded = column.dictionary_encode()
    position = {name: i for i, name in enumerate(outputs)}
    names = coded.dictionary.to_pylist()  # one a name, not one a row
    for name in names:
        if name not in position:
            raise FormatError(
                f"found the label {name!r}, which the task does not have; expected its outputs "
                "alone: build the dataset again"
            )
    known = np.array([position[name] for name in names], np.int64)
    return known[numbers(coded.indices)] if len(names) else np.zeros(len(column), np.int64)


def several(column: pa.Array, outputs: tuple[str, ...]) -> Array:
    """Return lists of names as zeros and ones, (n, n_outputs).

    Raises:
        FormatError: A name is not one of the outputs, or null.
    """
    flat = pc.list_flatten(column)
    if flat.null_count:
        raise FormatError("found a label that is null; expected names: build the dataset again")
    found = np.zeros((len(column), len(outputs)), np.uint8)
    found[numbers(pc.list_parent_indices(column)), positions(flat, outputs)] = 1
    return found


def lists(name: str, column: pa.Array, present: Array, n_bands: int, absent: float) -> Array:
    """Return lists of one length as rows, (n, n_bands), with `absent` where there is none.

    Raises:
        FormatError: A list has another length, or a null in it.
    """
    lengths = numbers(pc.list_value_length(column))
    flat = pc.list_flatten(column)
    if flat.null_count or (lengths != np.where(present, n_bands, 0)).any():
        raise FormatError(
            f"{name} has samples with another number of values than {n_bands} where it is present "
            "and none where it is not: build the dataset again"
        )
    found = np.full((len(column), n_bands), absent, np.float64)
    found[present] = numbers(flat).reshape(-1, n_bands)
    return found


def digests(name: str, column: pa.Array, present: Array) -> Array:
    """Return hexadecimal SHA-256 as raw digests, (n,) `V32`; zeros where there is none.

    Raises:
        FormatError: One is not 64 hexadecimal digits, or is there without its member.
    """
    column = column.cast(pa.large_string())
    found = np.zeros(len(column), "V32")
    if not len(column):
        return found
    _, ends, data = column.buffers()
    bounds = np.frombuffer(ends, np.int64)[column.offset :][: len(column) + 1]
    if (np.diff(bounds) != np.where(present, 64, 0)).any():
        raise FormatError(f"{name} has samples whose SHA-256 is not 64 digits")
    if not present.any():
        return found
    try:
        raw = binascii.unhexlify(memoryview(data)[bounds[0] : bounds[-1]])
    except binascii.Error as exc:
        raise FormatError(f"{name} has a SHA-256 that is not hexadecimal: {exc}") from exc
    found[present] = np.frombuffer(raw, "V32")
    return found


def _bits(column: pa.Array, buffer: int) -> Array:
    """Return a buffer of bits, validity (0) or values (1), as booleans, (n,)."""
    packed = np.frombuffer(column.buffers()[buffer], np.uint8)
    end = column.offset + len(column)
    return np.unpackbits(packed, count=end, bitorder="little")[column.offset :].view(np.bool_)
