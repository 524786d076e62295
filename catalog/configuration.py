"""A YAML file → a checked configuration; what is wrong with it in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.wrong_keys import sentences
from mmearth.catalog.yaml_file import read_yaml

Model = TypeVar("Model", bound=BaseModel)


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
