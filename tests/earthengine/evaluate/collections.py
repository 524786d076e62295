"""Collections: order, limits, maps, sets of rows, aggregates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmearth.tests.earthengine.evaluate.elements import identity, with_properties
from mmearth.tests.earthengine.evaluate.filters import prop
from mmearth.tests.earthengine.evaluate.geometry import as_json, region_of
from mmearth.tests.earthengine.evaluate.nouns import (
    Date,
    Elements,
    Lambda,
    Picture,
    Region,
    Row,
    Stream,
    refuse,
)
from mmearth.tests.earthengine.evaluate.reducers import SIMPLE, Column, Reducer
from mmearth.tests.earthengine.evaluate.values import iterate, order
from mmearth.tests.earthengine.model import ServiceError


def _collection(features: list[Any]) -> Elements:
    """Return a collection of features, images or collections; each gets an index of its own."""

    def listed() -> Iterator[Any]:
        for number, item in enumerate(features):
            if isinstance(item, Region):
                yield Row(item, {"system:index": str(number)})
            elif isinstance(item, Elements) or identity(item) is not None:
                yield item
            else:
                yield with_properties(item, {"system:index": str(number)})

    if not all(isinstance(item, Row | Picture | Elements | Region) for item in features):
        raise refuse("Collection: Expected a list of features.")
    return Elements(Stream(listed()), bool(features) and isinstance(features[0], Picture))


def _mapped(collection: Elements, function: Lambda, drop_nulls: bool) -> Elements:
    """Return what a function makes of each element, when it is asked for."""

    def each() -> Iterator[Any]:
        for item in collection.items:
            try:
                result = function(item)
            except ServiceError as error:
                message = f"Error in map(ID={identity(item)}):\n{error.message}"
                raise ServiceError(error.status, error.reason, message) from error
            if isinstance(result, Region):
                result = Row(result, {})
            if result is None and drop_nulls:
                continue
            if not isinstance(result, Row | Picture | Elements):
                raise refuse("Collection.map: A mapped algorithm must return a Feature or Image.")
            unnamed = isinstance(result, Row) and identity(result) is None
            named = {"system:index": identity(item)}
            yield with_properties(result, named) if unnamed else result

    return Elements(Stream(each()), collection.images)


def sort(items: list[Any], key: str, ascending: bool) -> list[Any]:
    """Return elements by a property; equal ones keep their order, those without it come last."""
    known = [(prop(item, key), item) for item in items]
    there = [pair for pair in known if pair[0] is not None]
    there.sort(key=lambda pair: order(pair[0]), reverse=not ascending)
    return [item for _, item in there] + [item for value, item in known if value is None]


def _limit(collection: Elements, limit: int | None, key: str | None, ascending: bool) -> Elements:
    def chosen() -> Iterator[Any]:
        items = collection.items
        rows = items if key is None else sort(list(items), key, ascending)
        for number, item in enumerate(rows):
            if limit is not None and number >= limit:
                return
            yield item

    return Elements(Stream(chosen()), collection.images)


def _first(collection: Elements) -> Any:
    return next(iter(collection.items), None)


def _to_list(collection: Elements, count: int, offset: int) -> list[Any]:
    found: list[Any] = []
    for number, item in enumerate(collection.items):
        if number >= offset + count:
            break
        if number >= offset:
            found.append(item)
    return found


def _merge(first: Elements, second: Elements) -> Elements:
    """Return both; the indices of the first get the prefix 1_, of the second 2_."""

    def both() -> Iterator[Any]:
        for prefix, part in (("1", first), ("2", second)):
            for item in part.items:
                yield with_properties(item, {"system:index": f"{prefix}_{identity(item)}"})

    return Elements(Stream(both()), first.images)


def _flatten(collection: Elements) -> Elements:
    """Return what is in the collections, one after the other; indices get their number before."""

    def flat() -> Iterator[Any]:
        for number, outer in enumerate(collection.items):
            if not isinstance(outer, Elements):
                raise refuse("Collection.flatten: Expected a collection of collections.")
            for item in outer.items:
                yield with_properties(item, {"system:index": f"{number}_{identity(item)}"})

    return Elements(Stream(flat()), collection.images)


def _comparable(value: Any) -> str:
    if isinstance(value, Region):
        return repr(as_json(value))
    return repr(value.millis if isinstance(value, Date) else value)


def _distinct(collection: Elements, properties: Any) -> Elements:
    names = [properties] if isinstance(properties, str) else list(properties)

    def once() -> Iterator[Any]:
        met = set()
        for item in collection.items:
            key = tuple(_comparable(prop(item, name)) for name in names)
            if key not in met:
                met.add(key)
                yield item

    return Elements(Stream(once()), collection.images)


def _random_column(
    collection: Elements, column: str, seed: int, distribution: str, keys: list[str]
) -> Elements:
    """Return the elements with a number in [0, 1) that depends on the seed and the keys alone."""
    if distribution != "uniform":
        raise refuse("Collection.randomColumn: only 'uniform' is known here.")

    def drawn() -> Iterator[Any]:
        for item in collection.items:
            text = "\x1f".join([str(seed), *(_comparable(prop(item, key)) for key in keys)])
            digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
            yield with_properties(item, {column: (int.from_bytes(digest) >> 11) / 2**53})

    return Elements(Stream(drawn()), collection.images)


def _column(values: list[Any], weights: list[Any] | None) -> Column:
    """Return values as a column; null weighs nothing."""
    plain = [value.millis if isinstance(value, Date) else value for value in values]
    filled = np.empty(len(plain), dtype=object)
    filled[:] = plain
    sizes = [1.0] * len(plain) if weights is None else [float(w or 0.0) for w in weights]
    heavy = [0.0 if v is None else w for v, w in zip(plain, sizes, strict=True)]
    return filled, np.array(heavy, dtype=np.float64)


def _reduce_columns(
    collection: Elements, reducer: Reducer, selectors: list[str], weights: list[str] | None
) -> dict[str, Any]:
    """Return a reducer's outputs by name, of the properties that feed it."""
    if len(selectors) != reducer.inputs:
        raise refuse(
            f"Collection.reduceColumns: Need {reducer.inputs} selectors, got {len(selectors)}."
        )
    items = list(collection.items)
    heavy = None if not weights else [prop(item, weights[0]) for item in items]
    columns = [_column([prop(item, name) for item in items], heavy) for name in selectors]
    return dict(zip(reducer.outputs, reducer.fold(columns), strict=True))


def _values(collection: Elements, name: str) -> list[Any]:
    found = (prop(item, name) for item in collection.items)
    return [value for value in found if value is not None]


def _aggregate(reducer: str) -> Lambda:
    def fold(collection: Elements, name: str) -> Any:
        return SIMPLE[reducer].fold([_column(_values(collection, name), None)])[0]

    return fold


def _geometry(collection: Elements, *_: Any) -> Any:
    return region_of(collection)


def _bounds(collection: Elements, *_: Any) -> Any:
    region = region_of(collection)
    return None if region is None else Region(region.shape.envelope, region.crs, False)


AGGREGATES = {
    "count": "count",
    "count_distinct": "countDistinct",
    "first": "first",
    "histogram": "frequencyHistogram",
    "max": "max",
    "mean": "mean",
    "min": "min",
    "product": "product",
    "sum": "sum",
}
"""Aggregates of a property, and the reducers that they are."""

FUNCTIONS: dict[str, Lambda] = {
    "AggregateFeatureCollection.array": _values,
    **{f"AggregateFeatureCollection.{name}": _aggregate(of) for name, of in AGGREGATES.items()},
    "Collection": _collection,
    "Collection.bounds": _bounds,
    "Collection.distinct": _distinct,
    "Collection.first": _first,
    "Collection.flatten": _flatten,
    "Collection.geometry": _geometry,
    "Collection.iterate": lambda collection, function, first: iterate(
        collection.items, function, first
    ),
    "Collection.limit": _limit,
    "Collection.map": _mapped,
    "Collection.merge": _merge,
    "Collection.randomColumn": _random_column,
    "Collection.reduceColumns": _reduce_columns,
    "Collection.size": lambda collection: sum(1 for _ in collection.items),
    "Collection.toList": _to_list,
    "ImageCollection.merge": _merge,
}
