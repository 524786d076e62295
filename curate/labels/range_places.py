"""Places drawn at random from species' ranges, in Africa and outside it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.africa import africa
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import tiles_at
from mmearth.catalog.utm import UTM_NORTH, UTM_SOUTH
from mmearth.curate.labels.ranges import Ranges, outer_boxes, read_ranges
from mmearth.curate.overlap import keep_apart
from mmearth.curate.places import RangePlaces
from mmearth.curate.source import Label

N_SPECIES = 100
"""How many the published rule selects, the first by name (MMEarth-Bench §3)."""
LEAST_KM2 = 6000.0
"""Least area of a selected range in Africa, and outside it (MMEarth-Bench §3)."""
_EQUAL_AREA = 6933  # EPSG: NSIDC EASE-Grid 2.0 Global, the published choice
_BATCH = 4096
_MOST_BATCHES = 250  # a million tries: a part that fits fewer tiles than asked for gives those
_log = logging.getLogger(__name__)
Double = NDArray[np.float64]


def range_labels(config: RangePlaces, base: Path, seed: int, grid: Grid) -> list[Label]:
    """Return random places in the ranges of species, with all species that are present there.

    Args:
        config: The polygons, and how many places a species.
        base: Directory that a relative path starts from.
        seed: With a species' name it decides that species' places, whatever others there are.
        grid: Of the tiles.

    Returns:
        By species in alphabetical order, African places first.

    Raises:
        ConfigError: The file cannot be used, or no species is left.

    Source:
        MMEarth-Bench §3: 100 places in the African part of each range and 300 outside it, uniform
        in longitude and latitude, kept where the 1.3 km box touches that part; overlapping tiles of
        a species are removed.
    """
    ranges = read_ranges(config, base)
    whole = _dissolved(ranges)
    if config.select:
        whole = _selected(whole, config)
        ranges = Ranges(tuple(whole), np.array(list(whole.values()), dtype=object))
    places = [
        _draw(part, count, _generator(seed, name, side), name, grid)
        for name, shape in whole.items()
        for side, part, count in (
            ("in Africa", shapely.intersection(shape, africa()), config.in_africa),
            ("outside Africa", shapely.difference(shape, africa()), config.outside),
        )
    ]
    lons, lats = np.concatenate(places, axis=1).tolist()
    if not lons:
        raise ConfigError(f"{base / config.path} has no range that a tile fits in; check its CRS")
    present = ranges.present(lons, lats, grid)
    return [
        Label(lon, lat, labels=here) for lon, lat, here in zip(lons, lats, present, strict=True)
    ]


def _dissolved(ranges: Ranges) -> dict[str, shapely.Geometry]:
    """Return one geometry a species, by name."""
    names = np.array(ranges.names)
    return {
        name: shapely.union_all(ranges.shapes[names == name]) for name in sorted(set(ranges.names))
    }


def _selected(
    whole: dict[str, shapely.Geometry], config: RangePlaces
) -> dict[str, shapely.Geometry]:
    """Return the species that the published rule selects.

    Raises:
        ConfigError: No species is selected.
    """
    shapes = np.array(list(whole.values()), dtype=object)
    inside, outside = (
        _area_km2(clip(shapes, africa())) for clip in (shapely.intersection, shapely.difference)
    )
    enough = (inside >= LEAST_KM2) & (outside >= LEAST_KM2)
    names = [name for name, good in zip(whole, enough, strict=True) if good][:N_SPECIES]
    if not names:
        raise ConfigError(
            f"{config.path} has no species with {LEAST_KM2:g} km² in Africa and as much outside; "
            "leave select: out"
        )
    return {name: whole[name] for name in names}


def _area_km2(shapes: NDArray[np.object_]) -> Double:
    area = gpd.GeoSeries(shapes, crs=4326).to_crs(_EQUAL_AREA).area
    return np.asarray(area.to_numpy(), dtype=np.float64) / 1e6


def _generator(seed: int, name: str, side: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{name} {side}".encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8])])


def _draw(
    part: shapely.Geometry, count: int, generator: np.random.Generator, name: str, grid: Grid
) -> Double:
    """Return places in one part of a range whose tiles do not overlap, (lon lat, n)."""
    found = np.empty((2, 0))
    if part.is_empty or not count:
        return found
    shapely.prepare(part)
    outline = shapely.STRtree(_segments(part))
    west, south, east, north = part.bounds
    south, north = max(south, UTM_SOUTH), min(north, UTM_NORTH)
    for _ in range(_MOST_BATCHES if south < north else 0):
        tried = generator.uniform((west, south), (east, north), (_BATCH, 2)).T
        touching = _touching(part, outline, tried[0], tried[1], grid)
        found = np.concatenate([found, tried[:, touching]], axis=1)[:, :count]
        if found.shape[1] == count:
            break
    if found.shape[1] < count:
        _log.warning("%s gives %d of %d places: its range is small", name, found.shape[1], count)
    return found[:, keep_apart(tiles_at(found[0], found[1], grid))] if found.size else found


def _segments(part: shapely.Geometry) -> NDArray[np.object_]:
    """Return the outline of a polygon as segments, (n,)."""
    rings = shapely.get_parts(shapely.boundary(shapely.get_parts(part)))
    vertices, ring = shapely.get_coordinates(rings, return_index=True)
    pairs = np.stack([vertices[:-1], vertices[1:]], axis=1)
    return np.asarray(shapely.linestrings(pairs[ring[:-1] == ring[1:]]))


def _touching(
    part: shapely.Geometry, outline: shapely.STRtree, lon: Double, lat: Double, grid: Grid
) -> NDArray[np.bool_]:
    """Return which places' 1.3 km boxes touch a prepared polygon, (n,)."""
    touching = np.asarray(shapely.intersects_xy(part, lon, lat))
    # A box whose middle is outside touches the polygon where it touches its outline.
    outside = np.flatnonzero(~touching)
    boxes = outer_boxes(lon[outside], lat[outside], grid)
    touching[outside[outline.query(boxes, predicate="intersects")[0]]] = True
    return touching
