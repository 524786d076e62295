"""A YAML file → a checked configuration; what is wrong with it in one sentence."""

from __future__ import annotations

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
    """Keys of a configuration: unknown ones are refused, and yes, NaN and infinity for numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        parts = value if isinstance(value, list | tuple) else (value,)
        field = cls.model_fields.get(info.field_name or "")
        is_number = field is not None and not _takes_bool(field.annotation)
        if is_number and any(isinstance(part, bool) for part in parts):
            raise ValueError(
                "YAML reads yes, no, on and off as true and false; write a number, or quotes"
            )
        return value


def _takes_bool(annotation: Any) -> bool:
    """Return whether a value of a type may be true or false, or anything."""
    return annotation in (bool, Any) or any(map(_takes_bool, get_args(annotation)))


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
