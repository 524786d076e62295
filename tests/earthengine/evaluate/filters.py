"""Filters: questions about one element or a pair, and what they let an archive leave out."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from mmearth.tests.earthengine.evaluate.nouns import (
    Date,
    Elements,
    Lambda,
    Picture,
    Row,
    Stored,
    Stream,
    Times,
    refuse,
)

BAND_NAMES = "system:band_names"
"""A property of every image, which follows its bands."""
GEOMETRY_FIELDS = (".geo", ".all", "system:footprint")


@dataclass(frozen=True, slots=True)
class Filter:
    """A question, and necessary conditions of a yes that an archive can look up."""

    passes: Callable[[Any, Any], bool]
    """Of an element of the left (or only) collection and one of the right (or the same)."""
    bounds: BaseGeometry | None = None
    """What passes touches it; None is unknown."""
    times: Times | None = None
    """What passes begins in one of them; None is unknown."""
    measure: Callable[[Any, Any], float] | None = None
    """How far apart a pair is."""


def prop(element: Any, name: str) -> Any:
    """Return a property; None where there is none. Geometry fields give a region."""
    if isinstance(element, Row):
        if name in GEOMETRY_FIELDS and name not in element.properties:
            return element.geometry
        return element.properties.get(name)
    if isinstance(element, Picture):
        if name in GEOMETRY_FIELDS and name not in element.properties:
            return element.footprint
        if name == BAND_NAMES:
            return [layer.name for layer in element.layers]
        return element.properties.get(name)
    raise refuse(f"Element.get, argument 'object': Invalid type. Actual value: {element!r:.80}")


Operands = Callable[[Any, Any], tuple[Any, Any]]


def operands(
    left_field: str | None, right_value: Any, right_field: str | None, left_value: Any
) -> Operands:
    """Return what finds both sides of a comparison."""
    if (left_field is None) == (left_value is None):
        raise refuse("Filter: exactly one of 'leftField' and 'leftValue' must be specified.")
    if (right_field is None) == (right_value is None):
        raise refuse("Filter: exactly one of 'rightField' and 'rightValue' must be specified.")

    def find(left: Any, right: Any) -> tuple[Any, Any]:
        return (
            left_value if left_field is None else prop(left, left_field),
            right_value if right_field is None else prop(right, right_field),
        )

    return find


def _plain(value: Any) -> Any:
    """Return a value that can be compared: dates are their milliseconds."""
    return value.millis if isinstance(value, Date) else value


def _alike(left: Any, right: Any) -> bool:
    numbers = int | float
    return (isinstance(left, numbers) and isinstance(right, numbers)) or type(left) is type(right)


def _compare(test: Callable[[Any, Any], bool]) -> Lambda:
    """Return the filter of a comparison; what is null on either side, or of two kinds, fails."""

    def make(*arguments: Any) -> Filter:
        find = operands(*arguments)

        def passes(left: Any, right: Any) -> bool:
            a, b = (_plain(side) for side in find(left, right))
            return a is not None and b is not None and _alike(a, b) and bool(test(a, b))

        return Filter(passes)

    return make


def _not_equals(*arguments: Any) -> Filter:
    find = operands(*arguments)

    def passes(left: Any, right: Any) -> bool:
        a, b = (_plain(side) for side in find(left, right))
        return a is not None and b is not None and a != b

    return Filter(passes)


def _member(*arguments: Any) -> Filter:
    """Pass where the left list holds the right value."""
    find = operands(*arguments)

    def passes(left: Any, right: Any) -> bool:
        members, value = find(left, right)
        return members is not None and value is not None and _plain(value) in members

    return Filter(passes)


def _max_difference(difference: float, *arguments: Any) -> Filter:
    find = operands(*arguments)

    def measure(left: Any, right: Any) -> float:
        a, b = (_plain(side) for side in find(left, right))
        return float("inf") if a is None or b is None else float(abs(a - b))

    return Filter(lambda left, right: measure(left, right) <= difference, None, None, measure)


def _range_contains(field: str, low: Any, high: Any) -> Filter:
    def passes(left: Any, _: Any) -> bool:
        value, first, last = (_plain(item) for item in (prop(left, field), low, high))
        return value is not None and _alike(value, first) and first <= value <= last

    return Filter(passes)


def _not_null(properties: list[str]) -> Filter:
    return Filter(lambda left, _: all(prop(left, name) is not None for name in properties))


def _meet(first: Times | None, second: Times | None) -> Times | None:
    """Return the intersection of two sets of intervals."""
    if first is None or second is None:
        return second if first is None else first
    pairs = [(max(a, c), min(b, d)) for a, b in first for c, d in second]
    return tuple(sorted((a, b) for a, b in pairs if a < b))


def _smaller(first: BaseGeometry | None, second: BaseGeometry | None) -> BaseGeometry | None:
    """Return the geometry that fewer elements touch, most likely."""
    if first is None or second is None:
        return second if first is None else first
    return min(first, second, key=lambda item: item.area)


def _and(filters: list[Filter]) -> Filter:
    bounds, times = None, None
    for part in filters:
        bounds, times = _smaller(bounds, part.bounds), _meet(times, part.times)
    return Filter(lambda a, b: all(part.passes(a, b) for part in filters), bounds, times)


def _or(filters: list[Filter]) -> Filter:
    every = [part.bounds for part in filters if part.bounds is not None]
    bounds = shapely.union_all(every) if filters and len(every) == len(filters) else None
    spans = [part.times for part in filters if part.times is not None]
    known = bool(filters) and len(spans) == len(filters)
    times = tuple(sorted({span for group in spans for span in group})) if known else None
    return Filter(lambda a, b: any(part.passes(a, b) for part in filters), bounds, times)


def _not(negated: Filter) -> Filter:
    return Filter(lambda a, b: not negated.passes(a, b))


def keep(collection: Elements, condition: Any) -> Elements:
    """Return the elements that pass; a stored collection is asked for fewer."""
    if not isinstance(condition, Filter):
        raise refuse("Collection.filter, argument 'filter': Invalid type. Expected type: Filter.")

    def test(element: Any) -> bool:
        return condition.passes(element, element)

    if collection.stored is None:
        return Elements(Stream(filter(test, collection.items)), collection.images)
    stored = Stored(
        collection.stored.query,
        _smaller(collection.stored.bounds, condition.bounds),
        _meet(collection.stored.times, condition.times),
        (*collection.stored.tests, test),
    )
    return Elements(Stream(stored), collection.images, stored)


_EQ, _LT, _LTE = _compare(operator.eq), _compare(operator.lt), _compare(operator.le)
_GT, _GTE = _compare(operator.gt), _compare(operator.ge)


FUNCTIONS: dict[str, Lambda] = {
    "Collection.filter": keep,
    "Filter.always": lambda: Filter(lambda *_: True),
    "Filter.and": _and,
    "Filter.eq": _EQ,
    "Filter.equals": _EQ,
    "Filter.greaterThan": _GT,
    "Filter.greaterThanOrEquals": _GTE,
    "Filter.gt": _GT,
    "Filter.gte": _GTE,
    "Filter.lessThan": _LT,
    "Filter.lessThanOrEquals": _LTE,
    "Filter.listContains": _member,
    "Filter.lt": _LT,
    "Filter.lte": _LTE,
    "Filter.maxDifference": _max_difference,
    "Filter.neq": _not_equals,
    "Filter.never": lambda: Filter(lambda *_: False),
    "Filter.not": _not,
    "Filter.notEquals": _not_equals,
    "Filter.notNull": _not_null,
    "Filter.or": _or,
    "Filter.rangeContains": _range_contains,
    "Filter.stringContains": _compare(lambda a, b: b in a),
    "Filter.stringEndsWith": _compare(lambda a, b: a.endswith(b)),
    "Filter.stringStartsWith": _compare(lambda a, b: a.startswith(b)),
}
