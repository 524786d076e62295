"""Numbers, strings and lists."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from mmearth.tests.earthengine.evaluate.arithmetic import BINARY, CASTS, UNARY
from mmearth.tests.earthengine.evaluate.nouns import Date, Lambda, Region, refuse

Number = int | float


def _tidy(value: Any) -> Any:
    """Return a number of Python's own."""
    return value.item() if hasattr(value, "item") else value


def _whole(compute: Lambda) -> Callable[[Number], Any]:
    """Return a rounding that gives an integer where there is one."""

    def rounded(value: Number) -> Any:
        result = compute(value)
        return int(result) if math.isfinite(result) else float(result)

    return rounded


def _binary(compute: Lambda) -> Callable[[Number, Number], Any]:
    return lambda left, right: _tidy(compute(left, right))


def _unary(compute: Lambda) -> Callable[[Number], Any]:
    return lambda value: _tidy(compute(value))


def _clamp(number: Number, low: float, high: float) -> Number:
    return min(max(number, low), high)


def _parse(text: str, radix: int) -> Number:
    try:
        return int(text, radix) if radix != 10 else _plain_number(text)
    except ValueError as error:
        raise refuse(f"Number.parse: Cannot parse '{text}' as a number.") from error


def _plain_number(text: str) -> Number:
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def _format(number: Number, pattern: str) -> str:
    """Return text by one of Java's patterns of a single number."""
    if pattern == "%s":
        return _text(number)
    if not re.fullmatch(r"[^%]*%[0 +-]*\d*(\.\d+)?[dfeg][^%]*", pattern):
        raise refuse(f"Number.format: '{pattern}' is not known here.")
    return pattern % (int(number) if "d" in pattern.split("%")[1] else number)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(f"String: Cannot convert {type(value).__name__} to a string here.")
    return str(value)


def truth(value: Any) -> bool:
    """Return whether a condition holds, by the service's rules."""
    if isinstance(value, float) and math.isnan(value):
        return False
    return bool(value) if isinstance(value, int | float | str | list | dict) else value is not None


def _place(items: list[Any], index: int, name: str) -> int:
    """Return an index from the front."""
    place = index + len(items) if index < 0 else index
    if not 0 <= place < len(items):
        raise refuse(
            f"{name}: List index must be between 0 and {len(items) - 1}, or -{len(items)} "
            f"and -1. Got {index}."
        )
    return place


def _get(items: list[Any], index: int) -> Any:
    return items[_place(items, index, "List.get")]


def _sequence(start: Number, end: Number | None, step: Number, count: int | None) -> list[Number]:
    """Return evenly spaced numbers, the last included."""
    if count is not None:
        width = step if end is None else (end - start) / max(count - 1, 1)
        return [start + i * width for i in range(count)]
    if end is None:
        raise refuse("List.sequence: Either 'end' or 'count' must be specified.")
    return [start + i * step for i in range(int((end - start) / step + 1e-9) + 1)]


def order(value: Any) -> tuple[int, Any]:
    """Return what a value is sorted by: numbers before strings."""
    if isinstance(value, Date):
        return (0, value.millis)
    if isinstance(value, int | float):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    if isinstance(value, list):
        return (2, [order(item) for item in value])
    raise refuse(f"Cannot sort by {type(value).__name__}.")


def _sort(items: list[Any], keys: list[Any] | None) -> list[Any]:
    if keys is None:
        return sorted(items, key=order)
    if len(keys) != len(items):
        raise refuse("List.sort: 'keys' must be as long as 'list'.")
    places = sorted(range(len(items)), key=lambda i: order(keys[i]))
    return [items[i] for i in places]


def _distinct(items: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return kept


def _flatten(items: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for item in items:
        flat.extend(_flatten(item) if isinstance(item, list) else [item])
    return flat


def _map(items: list[Any], function: Lambda, drop_nulls: bool) -> list[Any]:
    results = [function(item) for item in items]
    return [item for item in results if item is not None] if drop_nulls else results


def iterate(items: Any, function: Lambda, first: Any) -> Any:
    """Return what is left when a function has met every element in turn."""
    for item in items:
        first = function(item, first)
    return first


def _with(items: list[Any], index: int, element: Any) -> list[Any]:
    place = _place(items, index, "List.set")
    return [*items[:place], element, *items[place + 1 :]]


def typed(name: str, kind: Any, find: Lambda) -> Lambda:
    """Return a getter that refuses values of another kind."""

    def get(holder: Any, key: Any) -> Any:
        value = find(holder, key)
        if value is not None and not isinstance(value, kind):
            raise refuse(f"{name}: The value of '{key}' is not of this type.")
        return value

    return get


def _slice(items: list[Any], start: int, end: int | None, step: int | None) -> list[Any]:
    return items[start:end:step]


FUNCTIONS: dict[str, Lambda] = {
    **{f"Number.{name}": _binary(compute) for name, compute in BINARY.items()},
    **{f"Number.{name}": _unary(compute) for name, compute in UNARY.items()},
    **{f"Number.{name}": _unary(compute) for name, compute in CASTS.items()},
    **{f"Number.{name}": _whole(UNARY[name]) for name in ("ceil", "floor", "round")},
    "Number.clamp": _clamp,
    "Number.format": _format,
    "Number.parse": _parse,
    "String": _text,
    "String.cat": lambda a, b: a + b,
    "String.compareTo": lambda text, other: (text > other) - (text < other),
    "String.equals": lambda text, other: text == other,
    "String.index": lambda text, pattern: text.find(pattern),
    "String.length": len,
    "String.rindex": lambda text, pattern: text.rfind(pattern),
    "String.slice": lambda text, start, end: text[start:end],
    "String.toLowerCase": str.lower,
    "String.toUpperCase": str.upper,
    "String.trim": str.strip,
    "List.add": lambda items, element: [*items, element],
    "List.cat": lambda items, other: [*items, *other],
    "List.contains": lambda items, element: element in items,
    "List.containsAll": lambda items, other: all(item in items for item in other),
    "List.distinct": _distinct,
    "List.equals": lambda items, other: items == other,
    "List.flatten": _flatten,
    "List.frequency": lambda items, element: items.count(element),
    "List.get": _get,
    "List.getGeometry": typed("List.getGeometry", Region, _get),
    "List.getNumber": typed("List.getNumber", int | float, _get),
    "List.getString": typed("List.getString", str, _get),
    "List.indexOf": lambda items, element: items.index(element) if element in items else -1,
    "List.iterate": iterate,
    "List.join": lambda items, separator: separator.join(_text(item) for item in items),
    "List.length": len,
    "List.map": _map,
    "List.remove": lambda items, element: [item for item in items if item != element],
    "List.removeAll": lambda items, other: [item for item in items if item not in other],
    "List.repeat": lambda value, count: [value] * count,
    "List.reverse": lambda items: items[::-1],
    "List.sequence": _sequence,
    "List.set": _with,
    "List.size": len,
    "List.slice": _slice,
    "List.sort": _sort,
    "List.zip": lambda items, other: [list(pair) for pair in zip(items, other, strict=False)],
}
