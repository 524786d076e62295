"""Types of pixels: their names, what holds two of them, casts."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmearth.tests.earthengine.evaluate.nouns import Array, PixelType

BOOLEAN = PixelType("int", 0, 1)
"""What a comparison gives."""


_DIGITS = 2**24
"""Integers beyond it do not fit a float exactly."""


def union(a: PixelType, b: PixelType) -> PixelType:
    """Return the narrowest type that holds both."""
    if a.precision == b.precision == "int":
        return PixelType("int", min(a.low, b.low), max(a.high, b.high))
    wide = any(t.precision == "int" and max(-t.low, t.high) > _DIGITS for t in (a, b))
    double = wide or "double" in (a.precision, b.precision)
    return PixelType("double" if double else "float")


def ints(name: str) -> PixelType:
    """Return the type of an integer of NumPy."""
    limits = np.iinfo(name)
    return PixelType("int", limits.min, limits.max)


NAMED: dict[str, PixelType] = {
    **{name: ints(name) for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32")},
    "int64": ints("int64"),
    "byte": ints("uint8"),
    "short": ints("int16"),
    "int": ints("int32"),
    "long": ints("int64"),
    "float": PixelType("float"),
    "double": PixelType("double"),
    "float32": PixelType("float"),
    "float64": PixelType("double"),
}
"""Pixel types as clients and NumPy name them."""


CAST_TYPES: dict[str, PixelType] = {
    **{name: NAMED[name] for name in NAMED if not name.endswith(("32", "64"))},
    **{name: NAMED[name] for name in ("int32", "uint32", "int64")},
    **{
        f"to{name[0].upper()}{name[1:]}": NAMED[name]
        for name in (
            *("byte", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64"),
            *("short", "int", "long", "float", "double"),
        )
    },
}
"""Names of the casts of numbers and images."""


def cast_to(values: Any, kind: PixelType) -> Any:
    """Return values of a type: fractions are cut off, what is out of range goes to its end."""
    if kind.precision != "int":
        return np.asarray(values).astype(kind.dtype)[()]
    whole = np.asarray(values)
    if whole.dtype.kind == "f":
        whole = np.trunc(np.nan_to_num(whole, nan=0.0))
        if kind.high > 2**53:
            whole = np.clip(whole, -(2.0**63), 2.0**63 - 1024)
    if whole.dtype.kind == "u" or kind.dtype != np.int64:
        whole = np.clip(whole, max(kind.low, _least(whole)), min(kind.high, _most(whole)))
    return whole.astype(kind.dtype)[()]


def _least(values: Array) -> float:
    return -np.inf if values.dtype.kind == "f" else int(np.iinfo(values.dtype).min)


def _most(values: Array) -> float:
    return np.inf if values.dtype.kind == "f" else int(np.iinfo(values.dtype).max)
