"""Joins: elements of one collection with those of another that pass a filter together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from mmearth.tests.earthengine.evaluate.collections import sort
from mmearth.tests.earthengine.evaluate.elements import with_properties
from mmearth.tests.earthengine.evaluate.filters import Filter
from mmearth.tests.earthengine.evaluate.nouns import Elements, Lambda, Row, Stream, refuse


@dataclass(frozen=True, slots=True)
class Join:
    """What becomes of an element and its matches."""

    outcome: Callable[[Any, list[Any]], Iterator[Any]]
    """Yields the results of one primary element."""
    measure_key: str | None = None
    """Property of a match that says how far away it is."""
    pairs: bool = False
    """Whether results are features of pairs."""


def _simple(item: Any, matches: list[Any]) -> Iterator[Any]:
    if matches:
        yield item


def _inverted(item: Any, matches: list[Any]) -> Iterator[Any]:
    if not matches:
        yield item


def _inner(primary: str, secondary: str, measure: str | None) -> Join:
    if measure is not None:
        raise refuse("Join.inner: 'measureKey' is not known here.")

    def outcome(item: Any, matches: list[Any]) -> Iterator[Any]:
        for match in matches:
            yield Row(None, {primary: item, secondary: match})

    return Join(outcome, None, pairs=True)


def _save(
    many: bool, key: str, by: str | None, ascending: bool, measure: str | None, outer: bool
) -> Join:
    """Return the join that saves the first match, or all, as a property."""

    def outcome(item: Any, matches: list[Any]) -> Iterator[Any]:
        ordered = matches if by is None else sort(matches, by, ascending)
        if ordered:
            yield with_properties(item, {key: ordered if many else ordered[0]})
        elif outer:
            yield with_properties(item, {key: []}) if many else item

    return Join(outcome, measure)


def _save_best(key: str, measure: str, outer: bool) -> Join:
    return _save(False, key, measure, True, measure, outer)


def _apply(join: Join, primary: Elements, secondary: Elements, condition: Filter) -> Elements:
    """Return the results of each primary element in turn; the secondary is listed once."""
    if join.measure_key is not None and condition.measure is None:
        raise refuse("Join.apply: The condition yields no measure.")

    def measured(item: Any, other: Any) -> Any:
        if join.measure_key is None or condition.measure is None:
            return other
        return with_properties(other, {join.measure_key: condition.measure(item, other)})

    def joined() -> Iterator[Any]:
        others = list(secondary.items)
        for item in primary.items:
            matches = [measured(item, other) for other in others if condition.passes(item, other)]
            yield from join.outcome(item, matches)

    return Elements(Stream(joined()), primary.images and not join.pairs)


FUNCTIONS: dict[str, Lambda] = {
    "Join.apply": _apply,
    "Join.inner": _inner,
    "Join.inverted": lambda: Join(_inverted),
    "Join.saveAll": partial(_save, True),
    "Join.saveBest": _save_best,
    "Join.saveFirst": partial(_save, False),
    "Join.simple": lambda: Join(_simple),
}
