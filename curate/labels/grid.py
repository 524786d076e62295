"""Places on a regular grid inside polygons, as even on the sphere as latitude allows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import shapely

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import EARTH_RADIUS_KM
from mmearth.curate.labels.ranges import species_in_ranges
from mmearth.curate.places import GridPlaces
from mmearth.curate.source import Label
from mmearth.curate.vector import read_polygons


def grid_labels(config: GridPlaces, base: Path, grid: Grid) -> list[Label]:
    """Return places `spacing_m` apart inside the polygons, south to north and west to east.

    Raises:
        ConfigError: The file cannot be read, or no place lies inside.
    """
    area = _area(base / config.path, config)
    step = config.spacing_m / 1000.0 / EARTH_RADIUS_KM * 180.0 / math.pi
    west, south, east, north = area.bounds
    lons: list[float] = []
    lats: list[float] = []
    for row in range(math.floor(south / step), math.ceil(north / step) + 1):
        lat = row * step
        across = step / max(math.cos(math.radians(lat)), 1e-6)
        columns = np.arange(math.floor(west / across), math.ceil(east / across) + 1) * across
        inside = columns[shapely.contains_xy(area, columns, np.full(columns.shape, lat))]
        lons.extend(inside.tolist())
        lats.extend([lat] * inside.size)
    if not lons:
        raise ConfigError(
            f"no place of a {config.spacing_m:g} m grid lies inside {config.path}; "
            "make spacing_m smaller"
        )
    every = 1 if config.limit is None else -(-len(lons) // config.limit)
    lons, lats = lons[::every], lats[::every]
    species = None
    if config.ranges is not None:
        species = species_in_ranges(config.ranges, base, lons, lats, grid)
    return [
        Label(round(lon, 7), round(lat, 7), None, None if species is None else species[i])
        for i, (lon, lat) in enumerate(zip(lons, lats, strict=True))
    ]


def _area(path: Path, config: GridPlaces) -> shapely.Geometry:
    """Return all polygons of the file as one geometry in longitude and latitude."""
    frame = read_polygons(path, layer=config.layer, crs=config.crs)
    area = shapely.union_all(frame.geometry.to_numpy())
    shapely.prepare(area)
    return area
