"""Columns of text as numbers: with a decimal point or, throughout a table, a decimal comma."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMA = r"^[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+$"  # 1,234 is one number here and another there
_MINUS = "\u2212"  # as word processors write it

_NONE = (-9999.0, -99999.0, -32768.0)
_ENDLESS = 1e38  # beyond it are the ends of float32, in some of their roundings


def stands_for_none(values: NDArray[np.float64], valid: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which numbers are what GIS write where a raster has no data, (n,).

    Args:
        values: Any numbers, (n,).
        valid: Lowest and highest that are values; what lies outside is told by that already.
    """
    low, high = (end if abs(end) <= _ENDLESS else math.copysign(math.inf, end) for end in valid)
    none = np.isin(values, _NONE) | (np.abs(values) > _ENDLESS)
    return np.asarray(none & (low <= values) & (values <= high))


def has_decimal_commas(columns: Iterable[pa.ChunkedArray]) -> bool:
    """Return whether the columns of a table write numbers with a decimal comma.

    They do where some cell can be read in no other way and no cell has a decimal point.
    """
    found = False
    for column in columns:
        if pc.any(pc.match_substring(column, ".")).as_py():
            return False
        commas = pc.match_substring_regex(column, _COMMA)
        other = pc.invert(pc.match_substring_regex(column, _THOUSANDS))
        found = found or bool(pc.any(pc.and_(commas, other)).as_py())
    return found


def numbers(
    column: pa.ChunkedArray, comma: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a column of text as numbers.

    Args:
        column: Text, (n,); null where the cell is empty.
        comma: Whether the decimal sign is a comma.

    Returns:
        The numbers, NaN where there is none, and which cells hold something else than a number;
        both (n,).
    """
    column = pc.replace_substring(column, _MINUS, "-")
    if comma:
        column = pc.replace_substring(column, ",", ".", max_replacements=1)
    try:
        values = column.cast(pa.float64())
        if pc.all(pc.is_finite(values)).as_py() is not False:  # it takes `inf` for a number
            return _as_numpy(values), np.zeros(len(column), dtype=np.bool_)
    except pa.ArrowInvalid:
        pass  # some cell is no plain number: look at each
    fits = pc.fill_null(pc.match_substring_regex(column, _NUMBER), False)
    plain = pc.utf8_ltrim(pc.if_else(fits, column, pa.scalar(None, pa.string())), "+")
    values = _as_numpy(plain.cast(pa.float64()))
    text = pc.and_(pc.is_valid(column), pc.invert(fits)).to_numpy(zero_copy_only=False)
    endless = np.isinf(values)
    values[endless] = np.nan
    return values, np.array(text, dtype=np.bool_) | endless


def _as_numpy(values: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float64)
