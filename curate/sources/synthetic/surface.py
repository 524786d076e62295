"""The synthetic planet at the scale of pixels: relief, land cover and canopy of one tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.grid import RESOLUTION_M
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.synthetic.lattice import patch
from mmearth.curate.sources.synthetic.noise import Float, bell, field, fractal, grain, uniform
from mmearth.curate.sources.synthetic.planet import Places

# Share of trees and of crops a biome carries, and the height of its tallest canopy in metres.
_TREES = (0.72, 0.03, 0.22, 0.75, 0.32, 0.14, 0.62, 0.70, 0.12, 0.62, 0.50, 0.24, 0.88, 0.04)
_CROPS = (0.04, 0.02, 0.15, 0.03, 0.38, 0.08, 0.36, 0.10, 0.45, 0.12, 0.28, 0.18, 0.10, 0.00)
_CANOPY_M = (19, 7, 18, 20, 14, 9, 27, 34, 12, 28, 24, 15, 40, 5)
_GRASS = (0.5, 0.25, 0.85, 0.5, 0.35, 0.8, 0.6, 0.5, 0.95, 0.5, 0.45, 0.75, 0.6, 0.55)

TREE, SHRUB, GRASS, CROP, BUILT, BARE, SNOW, WATER, WETLAND, MANGROVE, MOSS = range(11)
"""Class codes of ESA WorldCover as stored."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What covers one tile; every array is (row, col)."""

    elevation_m: Float
    """Metres above the sea."""
    slope_deg: Float
    """Steepest slope, degrees."""
    shade: Float
    """Brightness by the sun's direction, about 0.7 to 1.3."""
    cover: NDArray[np.uint8]
    """ESA WorldCover class."""
    canopy_m: Float
    """Height of the canopy; 0 where there are no woody plants."""
    vigour: Float
    """Greenness of the vegetation, 0 to 1."""
    moisture: Float
    """Wetness of the soil, 0 to 1."""
    parcels: Float
    """A number in [0, 1) for each field of farmland: its crop's state."""


def survey(tile: Tile, place: Places, seed: int) -> Surface:
    """Return the surface of a tile.

    Args:
        tile: Where; the pattern goes on into the neighbouring tiles of its zone.
        place: The planet at the tile's centre, n = 1.
        seed: Another seed, another pattern.
    """
    origin, size = patch(tile)
    zone = seed * 1000 + tile.epsg
    elevation, slope, shade = _relief(origin, size, place, zone)
    moisture = fractal(origin, size, (96, 48, 24, 12), zone * 16 + 1)
    parcels = _parcels(origin, size, zone)
    rain, warm = float(place.rain_year_m[0]), float(place.warmth_c[0])
    wet = float(np.clip((rain - 0.2) / 1.4, 0.0, 1.0))
    trees = fractal(origin, size, (128, 48, 16, 6, 3), zone * 16 + 2, fall=0.6)
    cover = _cover(origin, place, zone, slope, moisture, trees, parcels)
    biome = max(int(place.biome[0]), 0)
    vigour = np.clip(0.15 + 0.55 * wet + 0.5 * (moisture - 0.4) + 0.3 * (trees - 0.5), 0.02, 1.0)
    vigour = np.where(cover == CROP, 0.15 + 0.75 * parcels, vigour).astype(np.float32)
    tallest = _CANOPY_M[biome] * (0.55 + 0.25 * wet + 0.01 * np.clip(warm, 0.0, 25.0))
    crowns = field(origin, size, 2, zone * 16 + 3)
    height = np.float32(tallest) * (0.25 + 0.75 * trees) * (0.7 + 0.6 * crowns)
    height = height * (1.0 - np.clip(slope, 0.0, 45.0) / 90.0)
    share = np.select([cover == TREE, cover == MANGROVE, cover == SHRUB], [1.0, 0.6, 0.15], 0.0)
    canopy = (height * share).astype(np.float32)
    return Surface(elevation, slope, shade, cover, canopy, vigour, moisture, parcels)


def _relief(
    origin: tuple[int, int], size: int, place: Places, zone: int
) -> tuple[Float, Float, Float]:
    """Return elevation, slope and shade; one pixel more on each side makes the slope whole."""
    corner = (origin[0] - 1, origin[1] - 1)
    rough = fractal(corner, size + 2, (160, 80, 40, 20, 10), zone * 16 + 4, fall=0.45)
    swing = 15.0 + 700.0 * float(place.rugged[0])
    whole = np.float32(place.elevation_m[0]) + np.float32(swing) * (rough - np.float32(0.5))
    whole = np.maximum(whole, np.float32(0.5))
    east = (whole[1:-1, 2:] - whole[1:-1, :-2]) / np.float32(2 * RESOLUTION_M)
    south = (whole[2:, 1:-1] - whole[:-2, 1:-1]) / np.float32(2 * RESOLUTION_M)
    steep = np.sqrt(east * east + south * south)
    shade = 1.0 + np.clip(east * 0.9 - south * 0.6, -0.45, 0.45)
    return whole[1:-1, 1:-1], _atan_deg(steep), shade.astype(np.float32)


def _atan_deg(x: Float) -> Float:
    """Return the angle of a slope in degrees, to 0.1°.

    Source:
        Rajan et al. 2006, Efficient approximations for the arctangent function, eq. 9.
    """
    steep = x > 1.0
    ratio = np.where(steep, 1.0 / np.maximum(x, np.float32(1e-6)), x)
    angle = ratio * (45.0 + 15.64 * (1.0 - ratio))
    return np.where(steep, 90.0 - angle, angle).astype(np.float32)


def _parcels(origin: tuple[int, int], size: int, zone: int) -> Float:
    """Return a number for each rectangular field of farmland, (row, col)."""
    columns = np.arange(origin[0], origin[0] + size, dtype=np.int64)[None, :]
    rows = np.arange(origin[1], origin[1] + size, dtype=np.int64)[:, None]
    strip = (rows + columns // 9) // 14
    shift = (uniform(zone, 5, strip) * 23.0).astype(np.int64)
    width = 11 + (uniform(zone, 6, strip) * 14.0).astype(np.int64)
    block = (columns + shift) // width
    return uniform(zone, 7, strip, block).astype(np.float32)


def _cover(
    origin: tuple[int, int],
    place: Places,
    zone: int,
    slope: Float,
    moisture: Float,
    trees: Float,
    parcels: Float,
) -> NDArray[np.uint8]:
    """Return the WorldCover class of each pixel; the first rule that holds wins."""
    size = len(slope)
    if int(place.biome[0]) < 0:
        nothing = SNOW if float(place.coast_km[0]) > 0 else WATER
        return np.full((size, size), nothing, dtype=np.uint8)
    biome = int(place.biome[0])
    local = float(place.fertility[0])
    wooded = _quantile_like(trees, _TREES[biome])
    farmed = _CROPS[biome] * (0.4 + 1.2 * local) * (float(place.elevation_m[0]) < 2000.0)
    country = field(origin, size, 70, zone * 16 + 6)
    settled = field(origin, size, 40, zone * 16 + 7) * fractal(origin, size, (12, 5), zone * 16 + 8)
    crowded = settled - 0.62 + 0.25 * min(farmed, 0.5)  # towns grow where fields are
    # Two valleys in three are dry: there the distance to the river is put out of reach.
    river = np.abs(fractal(origin, size, (110, 40), zone * 16 + 9) - 0.5)
    river = river + 0.5 * np.maximum(0.0, 0.62 - field(origin, size, 160, zone * 16 + 14))
    rain = float(place.rain_year_m[0])
    sea = _shore(origin, size, place, zone)
    cold = float(place.warmth_c[0]) < -12.0
    dry = 0.75 - 0.9 * _GRASS[biome]
    rules = (
        (sea, WATER),
        (river < 0.006 + 0.010 * min(rain, 1.5), WATER),
        (cold & (moisture > 0.62), SNOW),
        ((crowded > 0.0) & (slope < 12.0), BUILT),
        (((biome == 3) & (trees > 0.35)), MANGROVE),
        (((biome == 2) & (moisture > 0.52)) | (river < 0.02 * rain * (biome in (0, 2))), WETLAND),
        ((country > 1.0 - farmed) & (slope < 10.0) & (parcels > 0.04), CROP),
        (wooded, TREE),
        ((biome == 13) & (moisture > 0.5), MOSS),
        ((moisture < dry) | (slope > 42.0), BARE),
        (trees > 0.56, SHRUB),
    )
    conditions = [np.broadcast_to(rule, slope.shape) for rule, _ in rules]
    return np.select(conditions, [code for _, code in rules], GRASS).astype(np.uint8)


def _quantile_like(values: Float, share: float) -> NDArray[np.bool_]:
    """Return where fractal noise is in its upper `share`, taking it as a bell around a half."""
    return np.asarray(values > 0.5 + (0.5 - share) * 0.55)


def _shore(origin: tuple[int, int], size: int, place: Places, zone: int) -> NDArray[np.bool_]:
    """Return which pixels of a tile on the coast are sea."""
    coast_km = float(place.coast_km[0])
    if coast_km > 6.0:
        return np.zeros((size, size), dtype=np.bool_)
    bend = fractal(origin, size, (120, 60, 25, 10), zone * 16 + 10)
    return np.asarray(bend > 0.42 + 0.04 * max(coast_km, 0.0))


def dynamic_world(surface: Surface, tile: Tile, seed: int) -> NDArray[np.uint8]:
    """Return the Dynamic World class of each pixel: the same land, seen by another classifier."""
    origin, size = patch(tile)
    translation = np.array([1, 5, 2, 4, 6, 7, 8, 0, 3, 3, 5], dtype=np.uint8)
    label = translation[surface.cover]
    doubt = field(origin, size, 5, seed * 16 + 11) + np.float32(0.08) * bell(
        grain(origin, size, seed * 16 + 12)
    )
    label = np.where((surface.cover == GRASS) & (doubt > 0.70), 5, label)
    label = np.where((surface.cover == SHRUB) & (doubt > 0.66), 2, label)
    label = np.where((surface.cover == CROP) & (doubt > 0.80), 2, label)
    return np.where((surface.cover == TREE) & (surface.canopy_m < 4.0), 5, label).astype(np.uint8)
