"""Identifiers of points: those of GeoJSON features, and whether each point has one of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmearth.catalog.errors import ConfigError


def feature_ids(path: Path) -> list[Any] | None:
    """Return the `id` of every feature of a GeoJSON file, in its order.

    GDAL keeps text as a field `id`, but takes whole numbers for its own row numbers, which it
    changes where two are the same; so they are read here.

    Args:
        path: Any file; one that is no GeoJSON is for another reader to judge.

    Returns:
        The ids; None where features have none, or a property of the name `id` instead.

    Raises:
        ConfigError: Some features have no id, or two have the same.
    """
    if path.suffix.lower() not in {".geojson", ".json"}:
        return None
    try:
        members = json.loads(path.read_bytes()).get("features")
    except (OSError, ValueError, AttributeError):
        return None
    if not isinstance(members, list):
        return None
    features = [m for m in members if isinstance(m, dict) and m.get("type") == "Feature"]
    ids = [feature.get("id") for feature in features]
    if all(id_ is None for id_ in ids) or any(
        "id" in (f.get("properties") or ()) for f in features
    ):
        return None
    check_ids(ids, path)
    return ids


def check_ids(ids: Sequence[Any], path: Path) -> None:
    """Refuse identifiers that do not tell the points of a file apart.

    Raises:
        ConfigError: A point has none, or two have the same.
    """
    found = Counter(id_text(id_) for id_ in ids)
    n_missing = found.pop(None, 0)
    if n_missing:
        raise ConfigError(
            f"{path} has no id at {n_missing} of its {len(ids)} points; expected one at each: "
            "number them, or leave id: out"
        )
    common, count = found.most_common(1)[0] if found else ("", 0)
    if count > 1:
        raise ConfigError(
            f"{path} has the id {common} at {count} points; expected each once: number them anew"
        )


def id_text(value: Any) -> str | None:
    """Return an identifier as text, `7` for 7.0 too; None for an empty cell."""
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    if isinstance(value, str) and not value.strip():
        return None
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)
