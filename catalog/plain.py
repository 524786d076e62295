"""Plain JSON → frozen dataclasses, each field compared with its type."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from textwrap import shorten
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mmearth.catalog.errors import ConfigError, FormatError

Noun = TypeVar("Noun")
_MOST_ITEMS = 1 << 20  # of a list: a catalogue of more is not ours


def from_plain(kind: Callable[..., Noun], document: Any, where: str) -> Noun:
    """Return a dataclass from a JSON object; keys that it does not know are left out.

    A field with the metadata `written: False` is not looked for, and has its default.

    Args:
        kind: A dataclass of texts, numbers, booleans, literals, optionals, tuples and dataclasses.
        document: JSON, as `json.loads` returns it.
        where: What it is, for the sentence: `catalogue.json`.

    Raises:
        FormatError: A field is missing, or a value is not what it must be.
    """
    if not isinstance(document, dict):
        raise _wrong(where, document, "an object")
    values = {}
    for name, hint in written(kind):
        if name not in document:
            raise FormatError(f"{where} has no {name!r}; it is damaged, or from another version")
        values[name] = _value(hint, document[name], f"{where}: {name}")
    try:
        return kind(**values)
    except ConfigError as exc:
        raise FormatError(f"{where}: {exc}") from exc


@cache
def written(kind: Any) -> list[tuple[str, Any]]:
    """Return name and type of the fields of a dataclass that stand in a file."""
    hints = get_type_hints(kind)
    return [(f.name, hints[f.name]) for f in fields(kind) if f.metadata.get("written", True)]


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        named = isinstance(value, dict) and isinstance(value.get("name"), str)
        place = f"{where} {value['name'][:40]!r}" if named else where
        return from_plain(kind, value, place)  # type: ignore[arg-type]  # any class of fields
    if origin is Literal:
        if not isinstance(value, str) or value not in inner:
            raise _wrong(where, value, f"one of {', '.join(inner)}")
        return value
    if origin in (Union, UnionType):
        (other,) = (each for each in inner if each is not NoneType)
        return None if value is None else _value(other, value, where)
    if origin is tuple:
        return _tuple(inner, value, where)
    return _scalar(kind, value, where)


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    kinds = inner[:1] if inner[1:] == (Ellipsis,) else inner
    expected = "a list" if inner[1:] == (Ellipsis,) else f"a list of {len(inner)}"
    if not isinstance(value, list) or len(value) > _MOST_ITEMS:
        raise _wrong(where, value, expected)
    if inner[1:] == (Ellipsis,):
        return tuple(_value(kinds[0], each, where) for each in value)
    if len(value) != len(inner):
        raise _wrong(where, value, expected)
    return tuple(_value(kind, each, where) for kind, each in zip(kinds, value, strict=True))


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value):
        return value
    if kind is int and type(value) is int and abs(value) < 1 << 62:
        return value
    if kind is float and type(value) in (int, float) and abs(value) < math.inf:
        return value
    names = {bool: "true or false", str: "text", int: "a whole number", float: "a finite number"}
    raise _wrong(where, value, names[kind])


def _wrong(where: str, value: Any, expected: str) -> FormatError:
    return FormatError(
        f"{where} is {shorten(repr(value), 60)}, expected {expected}; it is damaged, or from "
        "another version"
    )
