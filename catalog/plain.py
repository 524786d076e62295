"""Plain JSON → frozen dataclasses, each field compared with its type.

What reads a type is made once; where a value is wrong is put together on the way out: a catalogue
has a thousand classes, and is read whenever a dataset is opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from textwrap import shorten
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mmearth.catalog.errors import ConfigError, FormatError

Noun = TypeVar("Noun")
Reader = Callable[[Any], Any]
"""A value of JSON → the value of a field, or _WrongError."""
_MOST_ITEMS = 1 << 20  # of a list: a catalogue of more is not ours
_MOST_WHOLE = 1 << 53  # a float holds all of them
_HALF = re.compile("[\ud800-\udfff]")  # of a character, which cannot be written


class _WrongError(Exception):
    """What is wrong; and the way to it, from the innermost field outwards."""

    def __init__(self, clause: str) -> None:
        super().__init__(clause)
        self.way: list[str] = []


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
    try:
        noun: Noun = _of_class(kind)(document)
    except _WrongError as exc:
        raise FormatError("".join([where, *reversed(exc.way), str(exc)])) from exc.__cause__
    return noun


@cache
def written(kind: Any) -> list[tuple[str, Any]]:
    """Return name and type of the fields of a dataclass that stand in a file."""
    hints = get_type_hints(kind)
    return [(f.name, hints[f.name]) for f in fields(kind) if f.metadata.get("written", True)]


@cache
def _reader(kind: Any) -> Reader:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _of_class(kind)  # type: ignore[arg-type]  # any class can be hashed
    if origin is Literal:
        return _of_choice(inner)
    if origin in (Union, UnionType):
        [other] = (_reader(each) for each in inner if each is not NoneType)
        return lambda value: None if value is None else other(value)
    if origin is tuple:
        return _of_many(_reader(inner[0])) if inner[1:] == (Ellipsis,) else _of_few(inner)
    return _SCALARS[kind]


@cache
def _of_class(kind: Any) -> Reader:
    parts = [(name, _reader(hint)) for name, hint in written(kind)]

    def read(document: Any) -> Any:
        if not isinstance(document, dict):
            raise _wrong(document, "an object")
        values, name = {}, ""
        try:
            for name, reader in parts:
                if name not in document:
                    break
                values[name] = reader(document[name])
            else:
                return kind(**values)
        except _WrongError as exc:
            exc.way += (f": {name}", _named(document))
            raise
        except ConfigError as exc:
            raise _WrongError(f"{_named(document)}: {exc}") from exc
        missing = f"{_named(document)} has no {name!r}"
        raise _WrongError(f"{missing}; it is damaged, or from another version")

    return read


def _named(document: dict[str, Any]) -> str:
    name = document.get("name")
    return f" {name[:40]!r}" if isinstance(name, str) else ""


def _of_choice(choices: tuple[str, ...]) -> Reader:
    def read(value: Any) -> Any:
        if isinstance(value, str) and value in choices:
            return value
        raise _wrong(value, f"one of {', '.join(choices)}")

    return read


def _of_many(reader: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list) or len(value) > _MOST_ITEMS:
            raise _wrong(value, "a list")
        return tuple([reader(each) for each in value])

    return read


def _of_few(kinds: tuple[Any, ...]) -> Reader:
    readers = [_reader(kind) for kind in kinds]

    def read(value: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(readers):
            raise _wrong(value, f"a list of {len(readers)}")
        return tuple([reader(each) for reader, each in zip(readers, value, strict=True)])

    return read


def _flag(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    raise _wrong(value, "true or false")


def _text(value: Any) -> Any:
    if isinstance(value, str) and (value.isascii() or not _HALF.search(value)):
        return value
    raise _wrong(value, "text")


def _whole(value: Any) -> Any:
    if type(value) is int and abs(value) <= _MOST_WHOLE:
        return value
    raise _wrong(value, "a whole number")


def _finite(value: Any) -> Any:
    if type(value) is float and -math.inf < value < math.inf:
        return value
    if type(value) is int and abs(value) <= _MOST_WHOLE:
        return value
    raise _wrong(value, "a finite number")


_SCALARS: dict[Any, Reader] = {bool: _flag, str: _text, int: _whole, float: _finite}


def _wrong(value: Any, expected: str) -> _WrongError:
    return _WrongError(
        f" is {shorten(repr(value), 60)}, expected {expected}; it is damaged, or from another "
        "version"
    )
