"""Arrow columns → NumPy arrays, checked; a whole column at a time, no object of Python a row.

The buffers are read as they are: PyArrow's own `to_numpy` and `array` import pandas first, `cast`
and `dictionary_encode` import `pyarrow.compute`, and each takes longer than all else that a small
selection needs.
"""

from __future__ import annotations

import binascii
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError

Array = NDArray[Any]

_FEW = 4096  # texts that are told apart sooner than `pyarrow.compute` is imported
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
    _check_there(column, name)
    return numbers(column).astype(dtype, copy=False)


def coded(column: pa.Array, name: str) -> tuple[list[str], Array]:
    """Return the different texts of a column, and which of them each row has, (n,).

    Raises:
        FormatError: A row has none.
    """
    _check_there(column, name)
    if len(column) > _FEW:
        encoded = column.dictionary_encode()
        return encoded.dictionary.to_pylist(), numbers(encoded.indices)
    codes: dict[str, int] = {}
    each = [codes.setdefault(text, len(codes)) for text in column.to_pylist()]
    return list(codes), np.array(each, np.int32)


def _check_there(column: pa.Array, name: str) -> None:
    if column.null_count:
        raise FormatError(f"{name} is null in {column.null_count} rows; expected a value in each")


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
    found, known = np.zeros(len(column), np.int64), there(column)
    names, codes = coded(column.drop_null() if column.null_count else column, "a label")
    if unknown := [name for name in names if name not in outputs]:
        raise FormatError(
            f"found the label {unknown[0]!r}, which the task does not have; expected its outputs "
            "alone: build the dataset again"
        )
    found[known] = np.array([outputs.index(name) for name in names], np.int64)[codes]
    return found


def several(column: pa.Array, outputs: tuple[str, ...]) -> Array:
    """Return lists of names as zeros and ones, (n, n_outputs).

    Raises:
        FormatError: A name is not one of the outputs, or null.
    """
    flat = _values(column)
    _check_there(flat, "a label")
    found = np.zeros((len(column), len(outputs)), np.uint8)
    found[np.repeat(np.arange(len(column)), _lengths(column)), positions(flat, outputs)] = 1
    return found


def lists(name: str, column: pa.Array, present: Array, n_bands: int, absent: float) -> Array:
    """Return lists of one length as rows, (n, n_bands), with `absent` where there is none.

    Raises:
        FormatError: A list has another length, or a null in it.
    """
    flat = _values(column)
    if flat.null_count or (_lengths(column) != np.where(present, n_bands, 0)).any():
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
    found = np.zeros(len(column), "V32")
    if not len(column):
        return found
    _, ends, data = column.buffers()
    width = "int64" if pa.types.is_large_string(column.type) else "int32"
    bounds = np.frombuffer(ends, width)[column.offset :][: len(column) + 1]
    if (np.where(there(column), np.diff(bounds), 0) != np.where(present, 64, 0)).any():
        raise FormatError(f"{name} has samples whose SHA-256 is not 64 digits")
    if not present.any():
        return found
    try:
        raw = binascii.unhexlify(memoryview(data)[bounds[0] : bounds[-1]])
    except binascii.Error as exc:
        raise FormatError(f"{name} has a SHA-256 that is not hexadecimal: {exc}") from exc
    found[present] = np.frombuffer(raw, "V32")
    return found


def _lengths(column: pa.Array) -> Array:
    """Return how many values each list has, (n,); 0 where there is no list."""
    return np.where(there(column), np.diff(numbers(column.offsets)), 0)


def _values(column: pa.Array) -> pa.Array:
    """Return the values of all lists, one after the other; DuckDB leaves none between them."""
    bounds = numbers(column.offsets)
    return column.values[bounds[0] : bounds[-1]]


def _bits(column: pa.Array, buffer: int) -> Array:
    """Return a buffer of bits, validity (0) or values (1), as booleans, (n,)."""
    packed = np.frombuffer(column.buffers()[buffer], np.uint8)
    end = column.offset + len(column)
    return np.unpackbits(packed, count=end, bitorder="little")[column.offset :].view(np.bool_)
