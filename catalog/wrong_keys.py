"""What pydantic finds wrong with a configuration, in sentences that name what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from mmearth.catalog.wording import nearest, one_of

_FIXED = {
    "tile_size": "say grid: { pixels: 128, resolution_m: 10 }",
    "resolution": "say grid: { pixels: 128, resolution_m: 10 }",
    "schema_version": "mmearth writes it into the dataset, a configuration has none",
}
"""Keys that people look for and that nothing can be told by: why."""

_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "date": "a date, YYYY-MM-DD",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys with values",
    "model": "keys with values",
}
"""First word of pydantic's error type → what was expected."""

_LIMITS: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda c: f"a number above {c['gt']:g}",
    "greater_than_equal": lambda c: f"a number of at least {c['ge']:g}",
    "less_than": lambda c: f"a number below {c['lt']:g}",
    "less_than_equal": lambda c: f"a number of at most {c['le']:g}",
    "literal_error": lambda c: str(c["expected"]),
    "int_from_float": lambda c: "a whole number",
}
"""Error type → what was expected, from pydantic's context."""


def sentences(exc: ValidationError, model: type[BaseModel]) -> str:
    """Return all that is wrong, `key: what was found, what is expected`, one after another."""
    errors = exc.errors()
    places = [error["loc"] for error in errors]
    # A list is "too short" for pydantic when its entries are wrong, which is said already.
    told = [
        error
        for error in errors
        if error["type"] != "too_short" or not any(_is_inside(p, error["loc"]) for p in places)
    ]
    return "; ".join(_sentence(error, model) for error in told)


def _sentence(error: Any, model: type[BaseModel]) -> str:
    kind, (parts, at) = error["type"], _walk(error["loc"], model)
    key = ".".join(parts) or "the whole"
    found, context = error.get("input"), error.get("ctx", {})
    if kind in {"extra_forbidden", "invalid_key"}:
        return _unknown(key, str(error["loc"][-1]), _walk(error["loc"][:-1], model)[1])
    if kind == "missing":
        return f"{key}: this key is missing"
    if kind == "too_short":
        return f"{key}: it is empty, expected one or more"
    if kind.startswith("union_tag"):
        tag = f"found {context['tag']!r}" if "tag" in context else "this key is missing"
        return f"{key}.kind: {tag}, expected {one_of(_tag(each) for each in get_args(at))}"
    expected = _expected(kind, context)
    if expected == _KINDS["string"] and isinstance(found, int | float):
        expected = "text, in quotes"
    if expected is not None:
        return f"{key}: found {_shown(found)}, expected {expected}"
    said = error["msg"].removeprefix("Value error, ")
    return f"{key}: {said}" + ("" if isinstance(found, dict | BaseModel) else f" (found {found!r})")


def _unknown(key: str, name: str, above: Any) -> str:
    if name in _FIXED:
        return f"{key}: unknown key: {_FIXED[name]}, leave it out"
    known = list(above.model_fields) if _is_model(above) else []
    return f"{key}: unknown key{nearest(name, known)}, allowed here: {', '.join(known)}"


def _expected(kind: str, context: dict[str, Any]) -> str | None:
    if kind in _LIMITS:
        return _LIMITS[kind](context)
    if kind.endswith(("_type", "_parsing", "finite_number")):
        return _KINDS.get(kind.partition("_")[0])
    return None


def _shown(found: Any) -> str:
    if isinstance(found, dict):
        return "keys with values"
    return "nothing" if found is None else repr(found)


def _is_inside(place: Sequence[int | str], outer: Sequence[int | str]) -> bool:
    return len(place) > len(outer) and tuple(place[: len(outer)]) == tuple(outer)


def _walk(place: Sequence[int | str], model: type[BaseModel]) -> tuple[list[str], Any]:
    """Return a place as the file has it, without pydantic's tags of unions, and its type."""
    parts: list[str] = []
    at: Any = model
    for part in place:
        choices = [each for each in get_args(at) if each is not NoneType]
        is_union = not _is_model(at) and get_origin(at) not in (list, tuple, dict)
        tagged = [each for each in choices if is_union and _tag(each) == part]
        if tagged:
            at = _model(tagged[0])
            continue
        parts.append(str(part))
        at = _step(choices[0] if is_union and choices else at, part)
    return parts, at


def _step(at: Any, part: int | str) -> Any:
    """Return the type of a key or entry; None where it is unknown."""
    if _is_model(at):
        field = at.model_fields.get(part)
        found = None if field is None else field.annotation
    else:
        found = (get_args(at) or (None,))[-1 if get_origin(at) is dict else 0]
    inner = [each for each in get_args(found) if each is not NoneType]
    optional = NoneType in get_args(found) and len(inner) == 1
    return inner[0] if optional else found


def _tag(member: Any) -> Any:
    """Return the tag of a union's member: one that it is annotated with, or its literal `kind`."""
    tags = [each.tag for each in getattr(member, "__metadata__", ()) if isinstance(each, Tag)]
    kind = member.model_fields.get("kind") if _is_model(member) else None
    return tags[0] if tags else None if kind is None else get_args(kind.annotation)[0]


def _model(member: Any) -> Any:
    return get_args(member)[0] if hasattr(member, "__metadata__") else member


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
