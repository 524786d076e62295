"""Arguments of public calls: a wrong one is a ConfigError that names it."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from mmearth.catalog.errors import ConfigError

LARGEST = 2**63 - 1
"""What a whole number may be where nothing else bounds it: 64 bits."""


def whole(name: str, value: Any, least: int = 0, most: int = LARGEST) -> int:
    """Return a whole number as Python's own: 5, or NumPy's, but neither 5.0 nor True.

    Args:
        name: Of the argument.
        value: What was given.
        least: It may be.
        most: It may be.

    Raises:
        ConfigError: It is no whole number, or out of the range.
    """
    expected = f"{least} or more" if most == LARGEST else f"{least} to {most}"
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None or not least <= found <= most:
        more = f", at most {LARGEST}" if found is not None and found > most == LARGEST else ""
        raise ConfigError(f"found {name} {value!r}; expected a whole number, {expected}{more}")
    return found


def flag(name: str, value: Any) -> bool:
    """Return a yes or no.

    Raises:
        ConfigError: It is neither True nor False.
    """
    if not isinstance(value, bool) and type(value).__name__ not in {"bool", "bool_"}:
        raise ConfigError(f"found {name} {value!r}; expected True or False")
    return bool(value)


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """Return a name that is known.

    Raises:
        ConfigError: It is none of them, or no text.
    """
    listed = tuple(known)
    # Its type first: an array is neither equal to a name nor not.
    if not isinstance(value, str) or value not in listed:
        raise ConfigError(f"found {name} {value!r}; expected one of {', '.join(listed)}")
    return value
