"""A YAML file → a checked configuration; what is wrong with it in one sentence."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.wrong_keys import sentences
from mmearth.catalog.yaml_file import read_yaml

Model = TypeVar("Model", bound=BaseModel)
AnyNumber = Annotated[float, Field(allow_inf_nan=True)]
"""A number that may be NaN or infinite: what marks absence in a file."""


class Strict(BaseModel):
    """Keys of a configuration: unknown ones are refused, and true, NaN and infinity as numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        takes = {bool} if field is None else _plain_types(field.annotation)
        # Of keys with values a part of the configuration looks at its own.
        if takes.isdisjoint({bool, Any}) and _has_bool(value, not takes & {BaseModel}):
            raise ValueError(
                "YAML reads yes, no, on and off as true and false; write a number, or quotes"
            )
        return value


def _plain_types(annotation: Any) -> set[Any]:
    """Return the types that a type is made of; BaseModel for any part of a configuration."""
    inner = get_args(annotation)
    if inner:
        return set[Any]().union(*map(_plain_types, inner))
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return {BaseModel if is_model else annotation} if isinstance(annotation, Hashable) else set()


def _has_bool(value: Any, in_values: bool) -> bool:
    """Return whether true or false is in a value, in lists, and as a key or its value."""
    if isinstance(value, dict):
        inside = [*value, *(value.values() if in_values else ())]
    else:
        inside = list(value) if isinstance(value, list | tuple) else []
    return isinstance(value, bool) or any(_has_bool(part, in_values) for part in inside)


def read_config(path: Path, model: type[Model], example: str) -> Model:
    """Read and check a configuration.

    Args:
        path: The YAML file.
        model: What it must be.
        example: A file to start from, relative to the repository.

    Raises:
        ConfigError: The file is missing, is not YAML, or a key is wrong; all wrong keys are named.
    """
    try:
        document = read_yaml(path)
    except (FileNotFoundError, IsADirectoryError) as exc:
        raise ConfigError(
            f"there is no configuration {path}; {example} is one to start from"
        ) from exc
    if not isinstance(document, dict):
        raise ConfigError(f"{path} holds no keys; {example} is one to start from")
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        raise ConfigError(f"{path}: {sentences(exc, model)}") from exc
