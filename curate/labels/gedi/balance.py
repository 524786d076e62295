"""Places among footprints: as many from each biome, and within it by its ecoregions' areas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.tile import tiles_at
from mmearth.curate.labels.gedi.footprints import Footprints
from mmearth.curate.labels.gedi.thin import first_apart
from mmearth.curate.vector import read_polygons

LAST_LAT = 51.6
"""Degrees: the space station that carries GEDI goes no further north or south."""
_EQUAL_AREA = 6933  # EPSG: NSIDC EASE-Grid 2.0 Global
_NO_REGION = frozenset({"N/A", "Rock and Ice"})  # RESOLVE's 847th record, in either field
_CHUNK = 500_000  # footprints looked up at once: a tree of them takes 150 bytes each


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Ecoregions between 51.6° S and N, by name."""

    share: NDArray[np.int64]
    """How many places each shall give, (region,)."""
    parts: NDArray[np.object_]
    """Polygons, in longitude and latitude, (part,)."""
    owner: NDArray[np.int64]
    """Which region each part belongs to, (part,)."""


def choose(
    footprints: Footprints,
    count: int,
    ecoregions: Path | None,
    seed: int,
    grid: Grid,
    layer: str | None = None,
    crs: str | None = None,
) -> NDArray[np.int64]:
    """Return the indices of footprints that are the centres of tiles which do not overlap.

    Args:
        footprints: All there are; at least one.
        count: How many places in all, about: shares are rounded up.
        ecoregions: Vector file with ECO_NAME and BIOME_NAME; None draws from all footprints alike.
        seed: The same seed draws the same places.
        grid: Of the tiles.
        layer: Of the vector file; None where only one has polygons.
        crs: Of the vector file, in place of its own.

    Returns:
        By region in the order of their names, then as drawn. Tiles of two regions may overlap at
        their border; the plan removes those.

    Raises:
        ConfigError: The file cannot be used, or no footprint lies in an ecoregion.

    Source:
        MMEarth-Bench, biomass points: ceil(count / 14) tiles a biome, dealt to its ecoregions by
        their area between 51.6° S and N, rounded up, drawn at random and de-overlapped.
    """
    if ecoregions is None:
        everything = np.arange(len(footprints))
        return _draw(footprints, everything, count, np.random.default_rng([seed]), grid)
    regions = read_regions(ecoregions, count, layer, crs)
    region = locate(footprints, regions)
    order = np.argsort(region, kind="stable")
    begins = np.searchsorted(region[order], np.arange(regions.share.size + 1))
    drawn = [
        _draw(
            footprints, order[begins[i] : begins[i + 1]], n, np.random.default_rng([seed, i]), grid
        )
        for i, n in enumerate(regions.share.tolist())
        if begins[i] < begins[i + 1]
    ]
    if not drawn:
        raise ConfigError(
            f"none of {len(footprints)} footprints lies in an ecoregion of {ecoregions}; leave "
            "ecoregions: out, or name other granules"
        )
    return np.concatenate(drawn)


def read_regions(
    path: Path, count: int, layer: str | None = None, crs: str | None = None
) -> Regions:
    """Return the ecoregions of a file that GEDI can see, each with its share of `count`.

    Raises:
        ConfigError: The file cannot be read, lacks a field, or has no ecoregion that GEDI can see.
    """
    frame = read_polygons(path, "ECO_NAME", "BIOME_NAME", layer=layer, crs=crs)
    frame = frame[~frame[["ECO_NAME", "BIOME_NAME"]].isin(_NO_REGION).any(axis=1)]
    frame = frame.dropna(subset=["ECO_NAME", "BIOME_NAME"])
    shapes = _cropped(frame.geometry.to_numpy())
    area = gpd.GeoSeries(shapes, crs=4326).to_crs(_EQUAL_AREA).area.to_numpy()
    seen = area > 0
    if not seen.any():
        raise ConfigError(
            f"{path} has no ecoregion between {LAST_LAT}° S and {LAST_LAT}° N, where GEDI measures"
        )
    frame, shapes, area = frame[seen], shapes[seen], area[seen]
    names, owner = np.unique(frame["ECO_NAME"].to_numpy(dtype=str), return_inverse=True)
    biomes, biome = np.unique(frame["BIOME_NAME"].to_numpy(dtype=str), return_inverse=True)
    of_biome = np.bincount(biome, area)
    share_of_record = area / of_biome[biome]
    # A region that the file has in several records counts as one.
    fraction = np.bincount(owner, share_of_record, minlength=names.size).astype(np.float64)
    n_biome = math.ceil(count / biomes.size)
    parts, record = shapely.get_parts(shapes, return_index=True)
    shapely.prepare(parts)
    return Regions(_up(n_biome * fraction), parts, owner[record].astype(np.int64))


def locate(footprints: Footprints, regions: Regions) -> NDArray[np.int64]:
    """Return the region that each footprint lies in, (footprint,); the number of regions if none.

    Where regions overlap, the first by name.
    """
    region = np.full(len(footprints), regions.share.size, dtype=np.int64)
    for begin in range(0, len(footprints), _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        tree = shapely.STRtree(shapely.points(footprints.lon[rows], footprints.lat[rows]))
        part, point = tree.query(regions.parts, predicate="intersects")
        np.minimum.at(region[rows], point, regions.owner[part])
    return region


def _draw(
    footprints: Footprints,
    pool: NDArray[np.int64],
    count: int,
    generator: np.random.Generator,
    grid: Grid,
) -> NDArray[np.int64]:
    """Return up to `count` footprints of a pool, at random, whose tiles do not overlap."""
    order = generator.permutation(pool)
    tiles = tiles_at(footprints.lon[order], footprints.lat[order], grid)
    return order[first_apart(tiles, count)]


def _cropped(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    _, south, _, north = shapely.bounds(shapes).T
    beyond = (south < -LAST_LAT) | (north > LAST_LAT)
    shapes = shapes.copy()
    band = shapely.box(-180.0, -LAST_LAT, 180.0, LAST_LAT)
    shapes[beyond] = shapely.intersection(shapely.make_valid(shapes[beyond]), band)
    return shapes


def _up(share: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round up, but not what the last bit has lifted above a whole number."""
    return np.ceil(np.round(share, 9)).astype(np.int64)
