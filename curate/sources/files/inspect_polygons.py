"""What one polygon entry of the configuration would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmearth.catalog.errors import ConfigError, DataError, MMEarthError, NoDataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import Polygons
from mmearth.curate.sources.files.header import Bounds
from mmearth.curate.sources.files.polygons import (
    class_at,
    is_class,
    named_polygons,
    says_none,
)

_TRIED = 50
"""Tiles that are looked up; the first with a class is told."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class PolygonFacts:
    """What one polygon entry would give."""

    name: str
    """The modality."""
    path: str
    """As in the configuration."""
    product: str
    """As in the configuration."""
    field: str
    """As in the configuration."""
    n_polygons: int
    """Polygons of one part."""
    footprint: Bounds | None
    """West, south, east, north in degrees; None where nothing can be read."""
    n_classes: int
    """Different names that are classes of the modality."""
    unknown: tuple[str, ...]
    """Names that are none: a tile there is a failure."""
    tile: str | None
    """The first tile of the plan with a class; None where none of those looked up has one."""
    found: str | None
    """The name there."""
    code: int | None
    """Its class code, as stored."""
    problems: tuple[str, ...]
    """Why it cannot be used."""
    warnings: tuple[str, ...]
    """What is suspicious, each with the key to look at."""


def inspect_polygons(
    source: Files, name: str, entry: Polygons, tiles: Sequence[Tile]
) -> PolygonFacts:
    """Return what one polygon entry would give.

    Args:
        source: With the files found.
        name: The modality.
        entry: Of the configuration.
        tiles: Of the plan; the first few are looked up.
    """
    path, layer, problems = source.root / entry.path, source.layer(name), list[str]()
    names: list[str] = []
    footprint: Bounds | None = None
    found: tuple[str, str, int] | None = None
    try:
        if not path.exists():
            raise ConfigError(f"{entry.path} is not there; correct path: or root:")
        names, tree = named_polygons(path, entry)
        bounds = np.array([shape.bounds for shape in tree.geometries])
        west, south = bounds[:, :2].min(axis=0).tolist()
        east, north = bounds[:, 2:].max(axis=0).tolist()
        footprint = (west, south, east, north)
        found = next(filter(None, (_at(layer, entry, path, tile) for tile in tiles[:_TRIED])), None)
    except MMEarthError as exc:
        problems.append(str(exc).replace(f"{source.root}/", ""))
    classes = {text: is_class(layer, text) for text in set(names) if not says_none(layer, text)}
    unknown = tuple(sorted(text for text, known in classes.items() if not known))
    tile, text, code = found or (None, None, None)
    return PolygonFacts(
        name=name,
        path=entry.path,
        product=entry.product,
        field=entry.field,
        n_polygons=len(names),
        footprint=footprint,
        n_classes=sum(classes.values()),
        unknown=unknown,
        tile=tile,
        found=text,
        code=code,
        problems=tuple(problems),
        warnings=tuple(_warnings(names, unknown, found is None and bool(tiles))),
    )


def _at(layer: Layer, entry: Polygons, path: Path, tile: Tile) -> tuple[str, str, int] | None:
    """Return tile, name and code of a tile with a class; None where it has none."""
    try:
        array, text = class_at(layer, entry, path, tile)
    except (NoDataError, DataError):
        return None
    return tile.id, text, int(array[0])


def _warnings(names: Sequence[str], unknown: Sequence[str], nowhere: bool) -> list[str]:
    found = []
    if unknown:
        shown = ", ".join(repr(text) for text in unknown[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        found.append(f"field: {len(unknown)} names are no classes: {shown}{more}; check field:")
    if names and nowhere:
        found.append("path: none of the tiles looked up has a class; check path: and crs:")
    return found
