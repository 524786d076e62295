"""Reducers: of columns of values with weights, and of stacks of pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.tests.earthengine.evaluate.nouns import Array, Lambda, PixelType, refuse
from mmearth.tests.earthengine.evaluate.pixel_types import NAMED
from mmearth.tests.earthengine.model import Pixels

Column = tuple[Array, NDArray[np.float64]]
"""Values of one input and their weights; what is null or masked weighs 0."""
Fold = Callable[[Sequence[Column]], tuple[Any, ...]]
"""From one column an input to one result an output."""
Stack = Callable[[Array, NDArray[np.bool_]], Pixels]
"""From (image, row, col) values and validity to (row, col)."""


@dataclass(frozen=True, slots=True)
class Reducer:
    """A way to make few values of many."""

    name: str
    """As the service calls it."""
    inputs: int
    """Columns it takes."""
    outputs: tuple[str, ...]
    """Names of its results."""
    weighted: bool
    """Whether pixels count by the share that lies in the region; else by their centres."""
    fold: Fold
    """Its work on columns."""
    stack: Stack | None = None
    """Its work on stacks of pixels, where that is known here."""
    kind: Callable[[PixelType], PixelType] = lambda kind: kind
    """Type of a stack's result."""


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _kept(column: Column) -> Column:
    values, weights = column
    chosen = weights > 0
    return values[chosen], weights[chosen]


def _mean(columns: Sequence[Column]) -> tuple[Any, ...]:
    """Return the weighted mean; of whole pixels the plain one."""
    values, weights = _kept(columns[0])
    if not len(values):
        return (None,)
    numbers = values.astype(np.float64)
    if (weights == 1.0).all():
        return (float(numbers.mean()),)
    return (float((numbers * weights).sum() / weights.sum()),)


def _sum(columns: Sequence[Column]) -> tuple[Any, ...]:
    values, weights = _kept(columns[0])
    return (float((values.astype(np.float64) * weights).sum()),)


def _product(columns: Sequence[Column]) -> tuple[Any, ...]:
    return (float(_kept(columns[0])[0].astype(np.float64).prod()),)


def _pick(choose: Callable[[Array], Any]) -> Fold:
    """Return a fold that chooses one of the values, null of none."""

    def fold(columns: Sequence[Column]) -> tuple[Any, ...]:
        values, _ = _kept(columns[0])
        return (_item(choose(values)) if len(values) else None,)

    return fold


def _median(columns: Sequence[Column]) -> tuple[Any, ...]:
    values, _ = _kept(columns[0])
    return (float(np.median(values)) if len(values) else None,)


def _count(columns: Sequence[Column]) -> tuple[Any, ...]:
    return (int((columns[0][1] > 0).sum()),)


def _count_distinct(columns: Sequence[Column]) -> tuple[Any, ...]:
    return (len(np.unique(_kept(columns[0])[0])),)


def _tally(column: Column) -> tuple[Array, NDArray[np.float64]]:
    values, weights = _kept(column)
    distinct, place = np.unique(values, return_inverse=True)
    totals = np.bincount(place.ravel(), weights, len(distinct))
    return distinct, totals.astype(np.float64)


def _mode(columns: Sequence[Column]) -> tuple[Any, ...]:
    """Return the value of the greatest weight, the smallest of several."""
    distinct, weights = _tally(columns[0])
    return (_item(distinct[int(weights.argmax())]) if len(distinct) else None,)


def _histogram(columns: Sequence[Column]) -> tuple[Any, ...]:
    distinct, weights = _tally(columns[0])
    return ({str(_item(key)): float(n) for key, n in zip(distinct, weights, strict=True)},)


def _to_list(size: int | None, optional: int) -> Reducer:
    """Return the reducer that lists its inputs, in tuples where a size is given."""
    inputs = 1 if size is None else size

    def fold(columns: Sequence[Column]) -> tuple[Any, ...]:
        needed = columns[: inputs - optional] if inputs > optional else columns
        kept = np.all([weights > 0 for _, weights in needed], axis=0)
        rows = [
            [_item(v) if w > 0 else None for v, w in zip(values[kept], weights[kept], strict=True)]
            for values, weights in columns
        ]
        return (rows[0] if size is None else [list(row) for row in zip(*rows, strict=True)],)

    return Reducer("toList", inputs, ("list",), False, fold)


def _any(columns: Sequence[Column]) -> tuple[Any, ...]:
    return (int((_kept(columns[0])[0] != 0).any()),)


def _all(columns: Sequence[Column]) -> tuple[Any, ...]:
    return (int((_kept(columns[0])[0] != 0).all()),)


def _anywhere(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(seen.any(axis=0))


def _stack_mean(values: Array, seen: NDArray[np.bool_]) -> Pixels:
    count = seen.sum(axis=0)
    total = np.where(seen, values, 0).astype(np.float64).sum(axis=0)
    return total / np.maximum(count, 1), count > 0


def _stack_median(values: Array, seen: NDArray[np.bool_]) -> Pixels:
    known = _anywhere(seen)
    holed = np.where(seen | ~known, values.astype(np.float64), np.nan)
    return np.nanmedian(holed, axis=0), known


def _stack_sum(values: Array, seen: NDArray[np.bool_]) -> Pixels:
    return np.where(seen, values, 0).astype(np.float64).sum(axis=0), _anywhere(seen)


def _stack_product(values: Array, seen: NDArray[np.bool_]) -> Pixels:
    return np.where(seen, values, 1).astype(np.float64).prod(axis=0), _anywhere(seen)


def _stack_count(_: Array, seen: NDArray[np.bool_]) -> Pixels:
    return seen.sum(axis=0).astype(np.int32), np.ones(seen.shape[1:], np.bool_)


def _extreme(choose: Any, empty: float) -> Stack:
    def stack(values: Array, seen: NDArray[np.bool_]) -> Pixels:
        wide = np.where(seen, values.astype(np.float64), empty)
        found = choose(wide, axis=0)
        known = _anywhere(seen)
        return np.where(known, found, 0).astype(values.dtype), known

    return stack


def stack_first(values: Array, seen: NDArray[np.bool_]) -> Pixels:
    """Return the first valid value of each pixel."""
    place = seen.argmax(axis=0)[None]
    return np.take_along_axis(values, place, axis=0)[0], _anywhere(seen)


def stack_last(values: Array, seen: NDArray[np.bool_]) -> Pixels:
    """Return the last valid value of each pixel."""
    return stack_first(values[::-1], seen[::-1])


def _stack_mode(values: Array, seen: NDArray[np.bool_]) -> Pixels:
    """Return the commonest value of each pixel, the smallest of several."""
    candidates = np.unique(values[seen])
    best = np.zeros(values.shape[1:], values.dtype)
    votes = np.zeros(values.shape[1:], np.int64)
    for candidate in candidates:
        count = ((values == candidate) & seen).sum(axis=0)
        best = np.where(count > votes, candidate, best)
        votes = np.maximum(votes, count)
    return best, _anywhere(seen)


def _double(_: PixelType) -> PixelType:
    return NAMED["double"]


def _integer(_: PixelType) -> PixelType:
    return NAMED["int32"]


def _one(name: str, weighted: bool, fold: Fold, stack: Stack | None, kind: Any = None) -> Reducer:
    if kind is None:
        return Reducer(name, 1, (name,), weighted, fold, stack)
    return Reducer(name, 1, (name,), weighted, fold, stack, kind)


SIMPLE: dict[str, Reducer] = {
    "mean": _one("mean", True, _mean, _stack_mean, _double),
    "median": _one("median", False, _median, _stack_median, _double),
    "sum": _one("sum", True, _sum, _stack_sum, _double),
    "product": _one("product", False, _product, _stack_product, _double),
    "min": _one("min", False, _pick(lambda values: values.min()), _extreme(np.min, np.inf)),
    "max": _one("max", False, _pick(lambda values: values.max()), _extreme(np.max, -np.inf)),
    "count": _one("count", False, _count, _stack_count, _integer),
    "countDistinct": _one("count", False, _count_distinct, None),
    "mode": _one("mode", True, _mode, _stack_mode),
    "first": _one("first", False, _pick(lambda values: values[0]), stack_first),
    "firstNonNull": _one("first", False, _pick(lambda values: values[0]), stack_first),
    "last": _one("last", False, _pick(lambda values: values[-1]), stack_last),
    "lastNonNull": _one("last", False, _pick(lambda values: values[-1]), stack_last),
    "frequencyHistogram": _one("histogram", True, _histogram, None),
    "anyNonZero": _one("any", False, _any, None),
    "allNonZero": _one("all", False, _all, None),
}
"""Reducers of one input and one output."""


def _minmax(columns: Sequence[Column]) -> tuple[Any, ...]:
    return (*SIMPLE["min"].fold(columns), *SIMPLE["max"].fold(columns))


def _repeat(reducer: Reducer, count: int) -> Reducer:
    """Return copies of a reducer side by side; each output is a list."""

    def fold(columns: Sequence[Column]) -> tuple[Any, ...]:
        size = reducer.inputs
        each = [reducer.fold(columns[i * size : (i + 1) * size]) for i in range(count)]
        return tuple(list(output) for output in zip(*each, strict=True))

    return replace(reducer, inputs=reducer.inputs * count, fold=fold, stack=None)


def _combine(first: Reducer, second: Reducer, prefix: str, shared: bool) -> Reducer:
    """Return two reducers in parallel, of the same inputs or one after the other's."""
    if shared and first.inputs != second.inputs:
        raise refuse("Reducer.combine: Reducers that share inputs must have the same number.")
    names = (*first.outputs, *(f"{prefix}{name}" for name in second.outputs))
    if len(set(names)) != len(names):
        raise refuse("Reducer.combine: Output names must be unique.")
    if first.weighted != second.weighted:
        raise refuse("Reducer.combine: weighted with unweighted is not known here.")

    def fold(columns: Sequence[Column]) -> tuple[Any, ...]:
        rest = columns if shared else columns[first.inputs :]
        return (*first.fold(columns[: first.inputs]), *second.fold(rest))

    inputs = first.inputs if shared else first.inputs + second.inputs
    return Reducer("combine", inputs, names, first.weighted, fold)


def _set_outputs(reducer: Reducer, names: list[str]) -> Reducer:
    if len(names) != len(reducer.outputs):
        raise refuse(f"Reducer.setOutputs: {len(reducer.outputs)} names are needed.")
    return replace(reducer, outputs=tuple(names))


def _min_or_max(name: str) -> Lambda:
    def make(inputs: int) -> Reducer:
        if inputs != 1:
            raise refuse(f"Reducer.{name}: only one input is known here.")
        return SIMPLE[name]

    return make


FUNCTIONS: dict[str, Lambda] = {
    **{f"Reducer.{name}": lambda *_, made=made: made for name, made in SIMPLE.items()},
    "Reducer.combine": _combine,
    "Reducer.getOutputs": lambda reducer: list(reducer.outputs),
    "Reducer.max": _min_or_max("max"),
    "Reducer.min": _min_or_max("min"),
    "Reducer.minMax": lambda: Reducer("minMax", 1, ("min", "max"), False, _minmax),
    "Reducer.repeat": _repeat,
    "Reducer.setOutputs": _set_outputs,
    "Reducer.toList": _to_list,
    "Reducer.unweighted": lambda reducer: replace(reducer, weighted=False),
}
