"""Arithmetic on numbers and on bands: values, types, which band meets which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mmearth.tests.earthengine.evaluate.nouns import (
    WHOLE_DEGREES,
    Array,
    Lambda,
    Layer,
    Picture,
    PixelType,
    computed,
    refuse,
)
from mmearth.tests.earthengine.evaluate.pixel_types import (
    BOOLEAN,
    CAST_TYPES,
    NAMED,
    cast_to,
    union,
)
from mmearth.tests.earthengine.model import Grid, Pixels


def _divide(a: Any, b: Any) -> Any:
    """Return a quotient; 0 for division by 0."""
    safe = np.where(np.equal(b, 0), 1, b)
    return np.where(np.equal(b, 0), 0.0, np.true_divide(a, safe))[()]


def _mod(a: Any, b: Any) -> Any:
    """Return the remainder with the sign of the dividend; 0 for division by 0."""
    safe = np.where(np.equal(b, 0), 1, b)
    return np.where(np.equal(b, 0), 0, np.fmod(a, safe))[()]


def _pow(a: Any, b: Any) -> Any:
    return np.power(np.asarray(a, dtype=np.float64), b)[()]


def _half_up(value: Any) -> Any:
    """Return the nearest integer; halves go away from zero."""
    return np.copysign(np.floor(np.abs(value) + 0.5), value)


def _truth(test: Callable[[Any, Any], Any]) -> Lambda:
    return lambda a, b: np.asarray(test(a, b)).astype(np.uint8)[()]


def _not(value: Any) -> Any:
    return np.asarray(np.equal(value, 0)).astype(np.uint8)[()]


COMPARISONS: dict[str, Lambda] = {
    "and": _truth(lambda a, b: np.not_equal(a, 0) & np.not_equal(b, 0)),
    "eq": _truth(np.equal),
    "gt": _truth(np.greater),
    "gte": _truth(np.greater_equal),
    "lt": _truth(np.less),
    "lte": _truth(np.less_equal),
    "neq": _truth(np.not_equal),
    "or": _truth(lambda a, b: np.not_equal(a, 0) | np.not_equal(b, 0)),
}
"""Of two numbers or arrays: 0 or 1."""


BINARY: dict[str, Lambda] = {
    **COMPARISONS,
    "add": np.add,
    "bitwiseAnd": np.bitwise_and,
    "bitwiseOr": np.bitwise_or,
    "bitwiseXor": np.bitwise_xor,
    "divide": _divide,
    "hypot": np.hypot,
    "leftShift": np.left_shift,
    "max": np.maximum,
    "min": np.minimum,
    "mod": _mod,
    "multiply": np.multiply,
    "pow": _pow,
    "rightShift": np.right_shift,
    "subtract": np.subtract,
}
"""Of two numbers or arrays."""


UNARY: dict[str, Lambda] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "cos": np.cos,
    "exp": np.exp,
    "floor": np.floor,
    "log": np.log,
    "log10": np.log10,
    "not": _not,
    "round": _half_up,
    "signum": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "tan": np.tan,
}
"""Of one number or array."""


_ENDS: dict[str, Lambda] = {
    "add": lambda a, b: (a.low + b.low, a.high + b.high),
    "subtract": lambda a, b: (a.low - b.high, a.high - b.low),
    "multiply": lambda a, b: _hull([x * y for x in (a.low, a.high) for y in (b.low, b.high)]),
    "min": lambda a, b: (min(a.low, b.low), min(a.high, b.high)),
    "max": lambda a, b: (max(a.low, b.low), max(a.high, b.high)),
}
"""The range of the result of two ints."""


def _hull(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def result_type(name: str, a: PixelType, b: PixelType) -> PixelType:
    """Return the type of a binary operation."""
    if name in COMPARISONS:
        return BOOLEAN
    if name in ("divide", "pow", "hypot"):
        return PixelType("double" if "double" in (a.precision, b.precision) else "float")
    both = union(a, b)
    if both.precision == "int" and name in _ENDS:
        return PixelType("int", *_ENDS[name](a, b))
    if name in ("leftShift", "rightShift"):
        return NAMED["int64"]
    return both


def _cast_number(kind: PixelType) -> Lambda:
    return lambda value: cast_to(value, kind)


CASTS: dict[str, Lambda] = {name: _cast_number(kind) for name, kind in CAST_TYPES.items()}
"""Casts of a number."""


def pairs(name: str, first: Picture, second: Picture) -> list[tuple[str, Layer, Layer]]:
    """Return which bands meet: one with all, by name, or in order; and the names of the results."""
    a, b = first.layers, second.layers
    if not a or not b:
        raise refuse(f"Image.{name}: If one image has no bands, the other must also have no bands.")
    if len(a) == 1 or len(b) == 1:
        longer = a if len(a) >= len(b) else b
        return [
            (layer.name, a[0 if len(a) == 1 else i], b[0 if len(b) == 1 else i])
            for i, layer in enumerate(longer)
        ]
    by_name = {layer.name: layer for layer in b}
    common = [layer for layer in a if layer.name in by_name]
    if len(common) == len(a) or len(a) != len(b):
        if not common:
            raise refuse(f"Image.{name}: The images have no bands in common.")
        return [(layer.name, layer, by_name[layer.name]) for layer in common]
    return [(left.name, left, right) for left, right in zip(a, b, strict=True)]


def _widened(values: Array) -> Array:
    """Return values in which sums and products do not overflow."""
    return values.astype(np.int64 if values.dtype.kind in "iub" else np.float64)


def _meeting(compute: Lambda, kind: PixelType, left: Layer, right: Layer) -> Lambda:
    def read(grid: Grid) -> Pixels:
        (a, seen), (b, known) = left.read(grid), right.read(grid)
        with np.errstate(all="ignore"):
            values = compute(_widened(a), _widened(b))
        return values.astype(kind.dtype), seen & known

    return read


def lasting(image: Picture) -> dict[str, Any]:
    """Return the properties that outlive arithmetic."""
    return {k: v for k, v in image.properties.items() if k == "system:index"}


def binary(name: str) -> Lambda:
    """Return an operation on two images."""
    compute = BINARY[name]

    def operate(first: Picture, second: Picture) -> Picture:
        layers = []
        for label, left, right in pairs(name, first, second):
            kind = result_type(name, left.kind, right.kind)
            projection = right.projection if left.projection == WHOLE_DEGREES else left.projection
            read = _meeting(compute, kind, left, right)
            layers.append(computed(label, kind, projection, read, left, right))
        where = second.footprint if first.footprint is None else first.footprint
        return Picture(tuple(layers), lasting(first), where)

    return operate


def each(image: Picture, change: Callable[[Array], Array], kind: Lambda) -> Picture:
    """Return an image with a function applied to every value; its metadata are mostly lost."""

    def one(layer: Layer) -> Layer:
        made = kind(layer.kind)

        def read(grid: Grid) -> Pixels:
            values, seen = layer.read(grid)
            with np.errstate(all="ignore"):
                return np.asarray(change(values)).astype(made.dtype, copy=False), seen

        return computed(layer.name, made, layer.projection, read, layer)

    return Picture(tuple(one(layer) for layer in image.layers), lasting(image), image.footprint)


def _unary_type(name: str) -> Lambda:
    def made(kind: PixelType) -> PixelType:
        if name == "not":
            return BOOLEAN
        if kind.precision != "int" or name in ("ceil", "floor", "round"):
            return kind
        if name == "abs":
            return PixelType("int", 0, max(abs(kind.low), abs(kind.high)))
        return PixelType("int", -1, 1) if name == "signum" else PixelType("double")

    return made


def _unary(name: str) -> Lambda:
    made = _unary_type(name)
    return lambda image: each(image, lambda values: UNARY[name](_widened(values)), made)


def _cast(kind: PixelType) -> Lambda:
    def cast(image: Picture) -> Picture:
        made = each(image, lambda values: cast_to(values, kind), lambda _: kind)
        if kind.precision == "int":
            return made
        # A slope is of the same heights, whatever type they are kept in.
        pairs = zip(made.layers, image.layers, strict=True)
        return replace(made, layers=tuple(replace(new, derived=old.derived) for new, old in pairs))

    return cast


FUNCTIONS: dict[str, Lambda] = {
    **{f"Image.{name}": binary(name) for name in BINARY},
    **{f"Image.{name}": _unary(name) for name in UNARY},
    **{f"Image.{name}": _cast(kind) for name, kind in CAST_TYPES.items()},
}
