"""Arguments against the signatures of the client's wheel: required, of the type, or promoted."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmearth.tests.earthengine.evaluate.dates import as_date
from mmearth.tests.earthengine.evaluate.filters import Filter
from mmearth.tests.earthengine.evaluate.geometry import region_of
from mmearth.tests.earthengine.evaluate.images import constant
from mmearth.tests.earthengine.evaluate.joins import Join
from mmearth.tests.earthengine.evaluate.nouns import (
    Date,
    DateRange,
    Elements,
    Picture,
    PixelType,
    Projection,
    Region,
    Row,
    Stream,
    refuse,
)
from mmearth.tests.earthengine.evaluate.reducers import Reducer
from mmearth.tests.earthengine.evaluate.surfaces import affine
from mmearth.tests.earthengine.model import ServiceError


class MismatchError(Exception):
    """A value is not of the type that is asked for, nor becomes one."""


Coerce = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a function of the service."""

    name: str
    """As the client sends it."""
    kind: str
    """Its type as the service writes it."""
    coerce: Coerce
    """Makes a value of the type, or raises MismatchError."""
    optional: bool
    """Whether it may be absent or null."""
    default: Any
    """What it is then."""


def _only(*kinds: type) -> Coerce:
    def check(value: Any) -> Any:
        if not isinstance(value, kinds):
            raise MismatchError
        return value

    return check


def _integer(value: Any) -> int:
    if not isinstance(value, int | float) or not math.isfinite(value) or value != int(value):
        raise MismatchError
    return int(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, int | float):
        raise MismatchError
    return bool(value)


def _image(value: Any) -> Picture:
    """Return an image; a number becomes a constant one."""
    if isinstance(value, int | float):
        return constant(value)
    if not isinstance(value, Picture):
        raise MismatchError
    return value


def _elements(value: Any) -> Elements:
    """Return a collection; an element or a geometry becomes a collection of itself."""
    if isinstance(value, Region):
        value = Row(value, {})
    if isinstance(value, Row | Picture):
        return Elements(Stream([value]), isinstance(value, Picture))
    if not isinstance(value, Elements):
        raise MismatchError
    return value


def _element(value: Any) -> Any:
    if isinstance(value, Region):
        return Row(value, {})
    if not isinstance(value, Row | Picture):
        raise MismatchError
    return value


def _geometry(value: Any) -> Region:
    region = region_of(value) if isinstance(value, Region | Row | Elements | dict) else None
    if region is None:
        raise MismatchError
    return region


def _instant(value: Any) -> Date:
    if not isinstance(value, Date | int | float | str):
        raise MismatchError
    return as_date(value)


def _projection(value: Any) -> Projection:
    """Return a projection; a code becomes one, and so does the default of a signature."""
    if isinstance(value, str):
        return Projection(value)
    if isinstance(value, dict) and value.get("type") == "Projection":
        return Projection(value["crs"], affine(value["transform"]))
    if not isinstance(value, Projection):
        raise MismatchError
    return value


def _any(value: Any) -> Any:
    return value


def _callable(value: Any) -> Any:
    if not callable(value):
        raise MismatchError
    return value


_NUMBER = _only(int, float)

COERCE: dict[str, Coerce] = {
    "Algorithm": _callable,
    "Boolean": _boolean,
    "Date": _instant,
    "DateRange": _only(DateRange),
    "Dictionary": _only(dict),
    "Element": _element,
    "ErrorMargin": _any,
    "Feature": _element,
    "FeatureCollection": _elements,
    "Filter": _only(Filter),
    "Float": _NUMBER,
    "Geometry": _geometry,
    "Image": _image,
    "ImageCollection": _elements,
    "Integer": _integer,
    "Join": _only(Join),
    "List": _only(list),
    "Long": _integer,
    "Number": _NUMBER,
    "Object": _any,
    "PixelType": _only(PixelType),
    "Projection": _projection,
    "Reducer": _only(Reducer),
    "String": _only(str),
}
"""By the name of a type without its parameters."""


@cache
def _algorithms() -> dict[str, dict[str, Any]]:
    found = importlib.util.find_spec("ee")
    if found is None or found.origin is None:
        raise RuntimeError(
            "the client of Earth Engine is not installed: pip install earthengine-api"
        )
    path = Path(found.origin).parent / "tests" / "algorithms.json"
    listed = json.loads(path.read_text(encoding="utf-8"))["algorithms"]
    return {one["name"].removeprefix("algorithms/"): one for one in listed}


def _unknown(kind: str) -> Coerce:
    def fail(_: Any) -> Any:
        raise refuse(f"Arguments of type {kind} are not known here.")

    return fail


@cache
def signature(name: str) -> tuple[Parameter, ...]:
    """Return the parameters of a function in order.

    Raises:
        ServiceError: The service has no such function.
    """
    if name not in _algorithms():
        raise refuse(f"Unrecognized function '{name}'")
    made = []
    for argument in _algorithms()[name].get("arguments", ()):
        kind = argument["type"]
        plain = kind.partition("<")[0]
        coerce = COERCE.get(plain, _any if plain == "" else _unknown(kind))
        optional, default = bool(argument.get("optional")), argument.get("defaultValue")
        if default is not None:
            default = coerce(default)
        made.append(Parameter(argument["argumentName"], kind, coerce, optional, default))
    return tuple(made)


def accepted(function: str, parameter: Parameter, value: Any) -> Any:
    """Return a value as a function takes it.

    Raises:
        ServiceError: It is null where it may not be, or of another type.
    """
    if value is None:
        if parameter.optional:
            return parameter.default
        raise refuse(f"{function}: Parameter '{parameter.name}' is required and may not be null.")
    try:
        return parameter.coerce(value)
    except MismatchError as error:
        raise _mismatch(function, parameter, value) from error


def _mismatch(function: str, parameter: Parameter, value: Any) -> ServiceError:
    names = {str: "String", int: "Integer", float: "Float", bool: "Boolean", list: "List<Object>"}
    names |= {dict: "Dictionary<Object>", Picture: "Image<unknown bands>", Row: "Feature"}
    names |= {Elements: "FeatureCollection", Region: "Geometry"}
    actual = names.get(type(value), type(value).__name__)
    return refuse(
        f"{function}, argument '{parameter.name}': Invalid type.\n"
        f"Expected type: {parameter.kind}.\nActual type: {actual}."
    )
