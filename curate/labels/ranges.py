"""Which species are present at a place: those whose range touches its tile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import UTM_NORTH, UTM_SOUTH, lonlat_bounds, tiles_at
from mmearth.curate.places import RangesConfig
from mmearth.curate.vector import read_vector


def species_in_ranges(
    config: RangesConfig, base: Path, lons: Sequence[float], lats: Sequence[float]
) -> list[tuple[str, ...]]:
    """Return the names of the species present at each place, in the task's order.

    Args:
        config: The polygons.
        base: Directory that a relative path starts from.
        lons: Degrees east, n of them.
        lats: Degrees north, n of them; beyond UTM nothing is present.

    Raises:
        ConfigError: The file cannot be read, lacks the field, or none of its species is known.

    Source:
        MMEarth-Bench §3: a species is present where its range intersects the tile's 1.3 km box.
    """
    names, shapes = _read(base / config.path, config.name)
    lon, lat = np.asarray(lons, dtype=np.float64), np.asarray(lats, dtype=np.float64)
    placed = np.flatnonzero(np.isfinite(lon) & (lat >= UTM_SOUTH) & (lat <= UTM_NORTH))
    west, south, east, north = lonlat_bounds(tiles_at(lon[placed], lat[placed]), 10.0).T
    boxes = shapely.box(west, south, east, north)
    present: list[set[str]] = [set() for _ in lons]
    places, ranges = shapely.STRtree(shapes).query(boxes, predicate="intersects")
    for place, found in zip(placed[places].tolist(), ranges.tolist(), strict=True):
        present[place].add(names[found])
    known = TASKS["species"].outputs
    return [tuple(name for name in known if name in here) for here in present]


def _read(path: Path, field: str) -> tuple[list[str], np.ndarray]:
    """Return names and polygons of the species that the task knows."""
    frame = read_vector(path, field)
    frame["_name"] = frame[field].astype(str).str.replace("_", " ").str.strip()
    frame = frame[frame["_name"].isin(TASKS["species"].outputs)]
    if frame.empty:
        raise ConfigError(f"{path} has none of the task's 100 species in its field {field!r}")
    return frame["_name"].tolist(), frame.geometry.to_numpy()
