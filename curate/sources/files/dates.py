"""When a file of the user's was acquired."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.curate.sources.files.config import DateConfig
from mmearth.curate.sources.files.header import opened
from mmearth.curate.sources.files.index import Product, match_paths


def acquired(product: Product) -> str | None:
    """Return the date of a product, `YYYY-MM-DD`, or None where its entry has no date.

    A year's, or a month's, is told as its first day where the name has no more.

    Raises:
        ConfigError: The entry tells where the date is, and it is not there.
    """
    config = product.entry.date
    if config is None:
        return None
    if config.value is not None:
        return config.value.isoformat()
    if config.name is not None:
        return _from_name(product.name, config.name)
    path = _file(product, config)
    key = config.tag or config.json_key or ""
    found = _tag(path, key) if config.tag else _json_value(path, key)
    if found is None:
        raise ConfigError(f"{path} has no {key!r} to read the date from; correct date:")
    return _iso(str(found)[:10], f"{path} {key}")


def told(product: Product) -> str:
    """Return the date of a product, or why there is none, for a fingerprint."""
    try:
        return acquired(product) or "undated"
    except ConfigError:
        return "no date"


def _from_name(name: str, pattern: str) -> str:
    found = re.search(pattern, name)
    try:
        groups = found.groupdict() if found else {}
        if len(groups["year"]) != 4:
            raise ValueError("a year of four digits is needed")
        month, day = (int(groups.get(part, 1)) for part in ("month", "day"))
        return datetime.date(int(groups["year"]), month, day).isoformat()
    except (KeyError, TypeError, ValueError) as exc:
        raise ConfigError(
            f"date.name {pattern!r} finds no date in {name!r}; expected groups year (of "
            "four digits), month and day"
        ) from exc


def _file(product: Product, config: DateConfig) -> Path:
    """Return the file that the date is in: the raster itself, or one beside it."""
    if config.file is None:
        return next(iter(product.rasters.values()))
    directory = product.path if product.path.is_dir() else product.path.parent
    matches = match_paths(directory, config.file)
    if len(matches) != 1:
        raise ConfigError(
            f"{directory} has {len(matches)} files {config.file} for date.file; expected one"
        )
    return matches[0]


def _tag(path: Path, tag: str) -> str | None:
    try:
        with opened(path, None) as dataset:
            found: str | None = dataset.tags().get(tag)
            return found
    except FormatError as exc:
        raise ConfigError(f"{path} cannot be opened to read its date ({exc}); replace it") from exc


def _json_value(path: Path, key: str) -> Any:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} is not JSON ({exc}); correct date.file") from exc
    if not isinstance(document, dict):
        raise ConfigError(f"{path} holds no keys; expected a JSON object; correct date.file")
    return document.get(key)


def _iso(text: str, where: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError as exc:
        raise ConfigError(
            f"{where} holds {text!r}; expected a date that begins YYYY-MM-DD"
        ) from exc
