"""Every call of a graph against the signatures that the client's own wheel ships."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ee

from mmearth.tests.earthengine.model import ServiceError

_PLAIN: dict[str, type | tuple[type, ...]] = {
    "String": str,
    "Number": (int, float),
    "Integer": int,
    "Float": (int, float),
}
# What the service takes where it asks for another type: it promotes these itself.
_TAKES: dict[str, set[str]] = {
    "Element": {"Image", "Feature", "FeatureCollection", "ImageCollection", "Collection"},
    "FeatureCollection": {"Collection", "ImageCollection"},
    "ImageCollection": {"Collection", "FeatureCollection"},
    "Collection": {"FeatureCollection", "ImageCollection"},
    "Feature": {"Element", "Geometry", "Image"},
    "Image": {"Element"},
    "Geometry": {"Feature", "FeatureCollection"},
    "Number": {"Integer", "Float", "Long", "Byte", "Short"},
    "Integer": {"Long", "Number", "Byte", "Short"},
    "Long": {"Integer", "Number"},
    "Float": {"Number", "Integer", "Long"},
    "Date": {"Number"},
}
_ANY = {"Object", "Any", ""}


@cache
def _signatures() -> dict[str, Any]:
    path = Path(ee.__file__).parent / "tests" / "algorithms.json"
    rows = json.loads(path.read_text())["algorithms"]
    return {row["name"].removeprefix("algorithms/"): row for row in rows}


def check(graph: Mapping[str, Any]) -> None:
    """Refuse a graph that the service would refuse.

    Raises:
        ServiceError: A function or argument is unknown, a required one is absent, a reference leads
            nowhere, or a constant is of the wrong type.
    """
    values = graph["values"]
    _check_node({"valueReference": graph["result"]}, values, frozenset(), set())


def _refuse(message: str) -> ServiceError:
    return ServiceError(400, "INVALID_ARGUMENT", message)


def _check_node(
    node: Mapping[str, Any], values: Mapping[str, Any], bound: frozenset[str], done: set[Any]
) -> None:
    if "valueReference" in node:
        _check_reference(node["valueReference"], values, bound, done)
    elif "argumentReference" in node:
        if node["argumentReference"] not in bound:
            raise _refuse(f"Unbound argument {node['argumentReference']!r}")
    elif "arrayValue" in node or "dictionaryValue" in node:
        parts = node.get("arrayValue", node.get("dictionaryValue"))["values"]
        for part in parts if isinstance(parts, list) else parts.values():
            _check_node(part, values, bound, done)
    elif "functionDefinitionValue" in node:
        lambda_ = node["functionDefinitionValue"]
        inner = bound | set(lambda_["argumentNames"])
        _check_node({"valueReference": lambda_["body"]}, values, inner, done)
    elif "functionInvocationValue" in node:
        _check_call(node["functionInvocationValue"], values, bound, done)


def _check_reference(
    name: str, values: Mapping[str, Any], bound: frozenset[str], done: set[Any]
) -> None:
    if name not in values:
        raise _refuse(f"The expression refers to {name!r}, which it does not define")
    if (name, bound) not in done:
        done.add((name, bound))
        _check_node(values[name], values, bound, done)


def _check_call(
    call: Mapping[str, Any], values: Mapping[str, Any], bound: frozenset[str], done: set[Any]
) -> None:
    name = call.get("functionName")
    signature = _signatures().get(str(name))
    if signature is None:
        raise _refuse(f"Unrecognized function {name!r}")
    expected = {argument["argumentName"]: argument for argument in signature.get("arguments", ())}
    given = call["arguments"]
    for argument in given:
        if argument not in expected:
            raise _refuse(f"{name}: unrecognized argument {argument!r}")
    for argument, about in expected.items():
        if argument not in given and not about.get("optional"):
            raise _refuse(f"{name}: Parameter {argument!r} is required")
    for argument, node in given.items():
        _check_node(node, values, bound, done)
        _check_type(f"{name}.{argument}", expected[argument]["type"], node, values)


def _check_type(
    where: str, wanted: str, node: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Refuse what can be seen to be of another type without evaluating it."""
    while "valueReference" in node:
        node = values[node["valueReference"]]
    wanted = wanted.partition("<")[0]
    if wanted in _ANY:
        return
    if "constantValue" in node:
        value = node["constantValue"]
        plain = _PLAIN.get(wanted)
        odd = plain is not None and (isinstance(value, bool) or not isinstance(value, plain))
        if value is not None and odd:
            raise _refuse(f"{where}: found {value!r}, expected {wanted}")
    elif "functionInvocationValue" in node:
        made = _signatures()[node["functionInvocationValue"]["functionName"]]["returnType"]
        made = made.partition("<")[0]
        if made not in _ANY and made != wanted and made not in _TAKES.get(wanted, set()):
            raise _refuse(f"{where}: found {made}, expected {wanted}")
