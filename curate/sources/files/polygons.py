"""Which class of polygons a tile's centre lies in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.ecoregions import biome_id, ecoregion_id
from mmearth.catalog.errors import ConfigError, DataError, NoDataError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.config import Polygons
from mmearth.curate.vector import read_polygons

_IDS = {"biome": biome_id, "ecoregion": ecoregion_id}
_NO_CLASS = frozenset({"n/a", "rock and ice"})  # RESOLVE's 847th record, in either field
_SHAPEFILE = (".cpg", ".dbf", ".prj", ".shp", ".shx")


def class_at(name: str, entry: Polygons, path: Path, tile: Tile) -> tuple[NDArray[np.generic], str]:
    """Return the class of the polygon that holds a tile's centre, (1,), and its name.

    Raises:
        ConfigError: The file cannot be used.
        DataError: The polygon's name is no class.
        NoDataError: No polygon with a class is there.
    """
    names, tree = named_polygons(path, entry)
    hits = tree.query(shapely.Point(tile.lon, tile.lat), predicate="intersects")
    if not hits.size or says_none(names[int(hits.min())]):
        raise NoDataError(f"no polygon of {entry.path} with a {name} holds the tile's centre")
    found = names[int(hits.min())]
    try:
        code = _IDS[name](found)
    except ConfigError as exc:
        raise DataError(f"{entry.path}: {exc}") from exc
    return np.array([code], dtype=MMEARTH_BENCH.layers[name].dtype), found


def named_polygons(path: Path, entry: Polygons) -> tuple[list[str], shapely.STRtree]:
    """Return the names of an entry's polygons, and the polygons, in one order.

    Raises:
        ConfigError: The file cannot be used.
    """
    return _read(path, entry.field, entry.layer, entry.crs)


def says_none(text: str) -> bool:
    """Return whether a polygon's name says that there is no class."""
    return text.casefold() in _NO_CLASS


def is_class(name: str, text: str) -> bool:
    """Return whether a polygon's name is a class of a modality."""
    try:
        _IDS[name](text)
    except ConfigError:
        return False
    return True


def parts(path: Path) -> list[Path]:
    """Return the files that a vector file consists of: a shapefile's attributes lie beside it."""
    if path.suffix.lower() != ".shp":
        return [path]
    beside = (path.with_suffix(suffix) for suffix in _SHAPEFILE)
    return [part for part in beside if part.is_file()]


# By process: a source is pickled to its workers with every visit, and reading takes seconds.
@cache
def _read(
    path: Path, field: str, layer: str | None, crs: str | None
) -> tuple[list[str], shapely.STRtree]:
    frame = read_polygons(path, field, layer=layer, crs=crs)
    return frame[field].fillna("N/A").tolist(), shapely.STRtree(frame.geometry.to_numpy())
