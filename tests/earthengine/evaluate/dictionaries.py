"""Dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmearth.tests.earthengine.evaluate.nouns import Lambda, Region, refuse
from mmearth.tests.earthengine.evaluate.values import typed


def _dictionary(value: Any) -> dict[str, Any]:
    """Return a dictionary of itself or of a list of keys and values in turn."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list) and len(value) % 2 == 0:
        return dict(zip(value[::2], value[1::2], strict=True))
    raise refuse("Dictionary: Cannot make a dictionary of this.")


def _entry(dictionary: dict[str, Any], key: str, default: Any) -> Any:
    if key in dictionary:
        return dictionary[key]
    if default is not None:
        return default
    raise refuse(f"Dictionary.get: Dictionary does not contain key: '{key}'.")


def _combine(first: dict[str, Any], second: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    both = {**first, **second} if overwrite else {**second, **first}
    return {key: value for key, value in both.items() if value is not None}


def _from_lists(keys: list[str], values: list[Any]) -> dict[str, Any]:
    if len(keys) != len(values):
        raise refuse("Dictionary: The number of keys and the number of values must match.")
    return dict(zip(keys, values, strict=True))


def _values(dictionary: dict[str, Any], keys: list[str] | None) -> list[Any]:
    """Return values, in the order of the keys' alphabet where no keys are given."""
    return [_entry(dictionary, key, None) for key in (keys or sorted(dictionary))]


def _chosen(dictionary: dict[str, Any], keys: list[str], ignore: bool, name: str) -> list[str]:
    missing = [key for key in keys if key not in dictionary]
    if missing and not ignore:
        raise refuse(f"Dictionary.{name}: Dictionary does not contain key: '{missing[0]}'.")
    return [key for key in keys if key in dictionary]


def _remove(dictionary: dict[str, Any], keys: list[str], ignore: bool) -> dict[str, Any]:
    gone = set(_chosen(dictionary, keys, ignore, "remove"))
    return {key: value for key, value in dictionary.items() if key not in gone}


def _select(dictionary: dict[str, Any], keys: list[str], ignore: bool) -> dict[str, Any]:
    return {key: dictionary[key] for key in _chosen(dictionary, keys, ignore, "select")}


def _rename(
    dictionary: dict[str, Any], old: list[str], new: list[str], overwrite: bool
) -> dict[str, Any]:
    names = _from_lists(_chosen(dictionary, old, False, "rename"), new)
    clash = [name for name in new if name in dictionary and name not in names]
    if clash and not overwrite:
        raise refuse(f"Dictionary.rename: Dictionary already contains key: '{clash[0]}'.")
    return {names.get(key, key): value for key, value in dictionary.items()}


def _map_dictionary(dictionary: dict[str, Any], function: Lambda) -> dict[str, Any]:
    return {key: function(key, value) for key, value in dictionary.items()}


def _plain_entry(dictionary: dict[str, Any], key: str) -> Any:
    return _entry(dictionary, key, None)


FUNCTIONS: dict[str, Lambda] = {
    "Dictionary": _dictionary,
    "Dictionary.combine": _combine,
    "Dictionary.contains": lambda dictionary, key: key in dictionary,
    "Dictionary.fromLists": _from_lists,
    "Dictionary.get": _entry,
    "Dictionary.getGeometry": typed("Dictionary.getGeometry", Region, _plain_entry),
    "Dictionary.getNumber": typed("Dictionary.getNumber", int | float, _plain_entry),
    "Dictionary.getString": typed("Dictionary.getString", str, _plain_entry),
    "Dictionary.keys": sorted,
    "Dictionary.map": _map_dictionary,
    "Dictionary.remove": _remove,
    "Dictionary.rename": _rename,
    "Dictionary.select": _select,
    "Dictionary.set": lambda dictionary, key, value: {**dictionary, key: value},
    "Dictionary.size": len,
    "Dictionary.toArray": lambda dictionary, keys, _: _values(dictionary, keys),
    "Dictionary.values": _values,
}
