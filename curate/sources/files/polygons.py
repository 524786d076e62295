"""Which class of polygons a tile's centre lies in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, DataError, NoDataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.tile import Tile
from mmearth.catalog.wording import folded, nearest
from mmearth.curate.sources.files.config import Polygons
from mmearth.curate.vector import read_polygons

_RESOLVE = ("biome", "ecoregion")
_SHOWN = 12
_BESIDE = {
    ".shp": (".cpg", ".dbf", ".prj", ".shp", ".shx"),
    ".tab": (".dat", ".id", ".map", ".tab"),
    ".mif": (".mid", ".mif"),
}
"""Name of a format → the files that make up one of its layers."""


def class_at(
    layer: Layer, entry: Polygons, path: Path, tile: Tile
) -> tuple[NDArray[np.generic], str]:
    """Return the class of the polygon that holds a tile's centre, (1,), and its name.

    Of several, as on a border, the one with the least code counts, whatever their order.

    Raises:
        ConfigError: The file cannot be used.
        DataError: The polygon's name is no class.
        NoDataError: No polygon with a class is there.
    """
    names, tree = named_polygons(path, entry)
    hits = tree.query(shapely.Point(tile.lon, tile.lat), predicate="intersects")
    here = sorted({names[i] for i in hits.tolist()})
    here = [text for text in here if not says_none(layer, text)]
    if not here:
        raise NoDataError(f"no polygon of {entry.path} with a {layer.name} holds the tile's centre")
    try:
        code, found = min((class_code(layer, text), text) for text in here)
    except ConfigError as exc:
        raise DataError(f"{entry.path}: {exc}") from exc
    return np.array([code], dtype=layer.dtype), found


def class_code(layer: Layer, text: str) -> int:
    """Return the class that a polygon's field tells: by name, or by code of the user's own layer.

    Case, underscores for blanks and further blanks do not matter.

    Raises:
        ConfigError: It tells none.
    """
    code = _codes(layer).get(folded(text.removesuffix(".0")))
    if code is None:
        names = [entry.name for entry in layer.classes]
        known = ", ".join(names) if len(names) <= _SHOWN else f"its {len(names)} names"
        raise ConfigError(
            f"{text!r} is no class of {layer.name}{nearest(text, names)}; expected one of {known}"
        )
    return code


def named_polygons(path: Path, entry: Polygons) -> tuple[list[str], shapely.STRtree]:
    """Return the names of an entry's polygons, and the polygons, in one order.

    Raises:
        ConfigError: The file cannot be used.
    """
    return _read(path, entry.field, entry.layer, entry.crs)


def says_none(layer: Layer, text: str) -> bool:
    """Return whether a polygon's name says that there is no class."""
    # RESOLVE's 847th record says it in either field.
    return text.casefold() in ("n/a", "rock and ice" if layer.name in _RESOLVE else "")


def is_class(layer: Layer, text: str) -> bool:
    """Return whether a polygon's name is a class of a layer."""
    try:
        class_code(layer, text)
    except ConfigError:
        return False
    return True


def parts(path: Path) -> list[Path]:
    """Return the files that a vector file consists of: some formats keep attributes beside it."""
    if path.is_dir():  # an Esri geodatabase
        return sorted(part for part in path.rglob("*") if part.is_file())
    beside = (path.with_suffix(suffix) for suffix in _BESIDE.get(path.suffix.lower(), ()))
    return [part for part in beside if part.is_file()] or [path]


# By process: a source is pickled to its workers with every visit, and reading takes seconds.
@cache
def _read(
    path: Path, field: str, layer: str | None, crs: str | None
) -> tuple[list[str], shapely.STRtree]:
    frame = read_polygons(path, field, layer=layer, crs=crs)
    return frame[field].fillna("N/A").tolist(), shapely.STRtree(frame.geometry.to_numpy())


@cache
def _codes(layer: Layer) -> dict[str, int]:
    """Return what a field may hold → class code; RESOLVE counts its classes otherwise than we."""
    by_code = {} if layer.name in _RESOLVE else {str(code): code for code in layer.codes}
    return by_code | {folded(entry.name): entry.code for entry in layer.classes}
