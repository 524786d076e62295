"""Which species are present at a place: those whose range touches its tile."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import lonlat_bounds, tiles_at
from mmearth.catalog.utm import UTM_NORTH, UTM_SOUTH
from mmearth.curate.overlap import OUTER_MARGIN_M
from mmearth.curate.places import RangesConfig
from mmearth.curate.vector import read_vector

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Where species live."""

    names: tuple[str, ...]
    """Of the species, one a polygon."""
    shapes: NDArray[np.object_]
    """Polygons in longitude and latitude, one or more a species, (n,)."""

    def present(self, lons: Sequence[float], lats: Sequence[float]) -> list[tuple[str, ...]]:
        """Return the names of the species present at each place, in the task's order.

        Args:
            lons: Degrees east, n of them.
            lats: Degrees north, n of them; beyond UTM nothing is present.

        Source:
            MMEarth-Bench §3: a species is present where its range intersects the tile's 1.3 km box.
        """
        lon, lat = np.asarray(lons, dtype=np.float64), np.asarray(lats, dtype=np.float64)
        placed = np.flatnonzero(np.isfinite(lon) & (lat >= UTM_SOUTH) & (lat <= UTM_NORTH))
        boxes = outer_boxes(lon[placed], lat[placed])
        present: list[set[str]] = [set() for _ in lons]
        # The polygons do the asking: each is prepared once, however many vertices it has.
        ranges, places = shapely.STRtree(boxes).query(self.shapes, predicate="intersects")
        for place, found in zip(placed[places].tolist(), ranges.tolist(), strict=True):
            present[place].add(self.names[found])
        known = TASKS["species"].outputs
        return [tuple(name for name in known if name in here) for here in present]


def outer_boxes(lons: NDArray[np.float64], lats: NDArray[np.float64]) -> NDArray[np.object_]:
    """Return the 1.3 km boxes of the tiles at places, in longitude and latitude, (n,)."""
    west, south, east, north = lonlat_bounds(tiles_at(lons, lats), OUTER_MARGIN_M).T
    return np.asarray(shapely.box(west, south, east, north))


def species_in_ranges(
    config: RangesConfig, base: Path, lons: Sequence[float], lats: Sequence[float]
) -> list[tuple[str, ...]]:
    """Return the names of the species present at each place; see `Ranges.present`.

    Raises:
        ConfigError: See `read_ranges`.
    """
    return read_ranges(config, base).present(lons, lats)


def read_ranges(config: RangesConfig, base: Path) -> Ranges:
    """Return the ranges of the species that the task knows.

    Args:
        config: The polygons.
        base: Directory that a relative path starts from.

    Raises:
        ConfigError: The file cannot be read, lacks the field, or none of its species is known.
    """
    path = base / config.path
    frame = read_vector(path, config.name)
    frame["_name"] = frame[config.name].astype(str).str.replace("_", " ").str.strip()
    frame = frame[frame["_name"].isin(TASKS["species"].outputs)]
    if frame.empty:
        raise ConfigError(f"{path} has none of the task's 100 species in its field {config.name!r}")
    parts, owner = shapely.get_parts(frame.geometry.to_numpy(), return_index=True)
    coordinates, of_part = shapely.get_coordinates(parts, return_index=True)
    broken = np.unique(of_part[~np.isfinite(coordinates).all(axis=1)])
    if broken.size:
        _log.warning("%s: %d polygons have a vertex that is no number: left out", path, broken.size)
    names = np.delete(frame["_name"].to_numpy(dtype=str)[owner], broken)
    return Ranges(tuple(names.tolist()), shapely.make_valid(np.delete(parts, broken)))
