"""What satellites see of a synthetic surface: reflectance and backscatter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.tile import Tile
from mmearth.curate.sources.synthetic.lattice import patch
from mmearth.curate.sources.synthetic.noise import Float, bell, field, grain
from mmearth.curate.sources.synthetic.planet import Places
from mmearth.curate.sources.synthetic.surface import (
    BARE,
    BUILT,
    CROP,
    GRASS,
    SHRUB,
    SNOW,
    WATER,
    Surface,
)

# Reflectance × 10000 of green and of bare ground in the twelve bands, and of what is neither.
_LEAVES = (260, 300, 520, 330, 800, 2150, 2700, 2850, 3050, 3050, 1500, 700)
_NEEDLES = (180, 210, 370, 240, 560, 1500, 1900, 2000, 2150, 2150, 950, 420)
_SOIL = (900, 1050, 1400, 1850, 2100, 2300, 2450, 2600, 2700, 2750, 3300, 2900)
_STRAW = (700, 820, 1180, 1500, 1850, 2250, 2450, 2600, 2750, 2850, 3100, 2300)
_ROOFS = (1200, 1350, 1500, 1650, 1800, 1950, 2050, 2150, 2200, 2250, 2400, 2250)
_SNOW = (8800, 9000, 8900, 8800, 8700, 8500, 8300, 8200, 8000, 7600, 1200, 900)
_WATER = (520, 480, 420, 280, 220, 180, 160, 140, 120, 110, 60, 45)
_FIRST = np.array(
    (_LEAVES, _LEAVES, _LEAVES, _LEAVES, _ROOFS, _SOIL, _SNOW, _WATER, _LEAVES, _NEEDLES, _STRAW),
    dtype=np.float32,
)
_SECOND = np.array(
    (_NEEDLES, _SOIL, _STRAW, _SOIL, _SOIL, _STRAW, _SNOW, _WATER, _WATER, _WATER, _SOIL),
    dtype=np.float32,
)
# Backscatter in dB by class: VV, VH.
_VV = np.array((-9.0, -11.0, -12.5, -11.0, -3.5, -15.0, -13.0, -20.0, -11.0, -9.5, -14.0))
_VH = np.array((-14.5, -18.0, -20.0, -17.5, -11.0, -24.0, -20.0, -27.0, -18.0, -15.0, -22.0))
_SCENE_EDGE_SHARE = 0.06


def reflectance(
    surface: Surface, place: Places, tile: Tile, green: float, seed: int
) -> NDArray[np.uint16]:
    """Return Sentinel-2 digital numbers, reflectance × 10000, (12, row, column).

    Args:
        surface: What covers the tile.
        place: The planet there, for the colour of its soil.
        tile: Where.
        green: How far the season has the plants in leaf, 0 to 1.
        seed: Of the texture and the sensor's noise.
    """
    origin, size = patch(tile)
    cover = surface.cover
    leaf = np.clip(surface.vigour * np.float32(0.45 + 0.75 * green), 0.0, 1.0)
    leaf = np.where(np.isin(cover, (BARE, SNOW, WATER)), np.float32(0.35), leaf)
    texture = 0.86 + 0.28 * field(origin, size, 3, seed * 16 + 13)
    # Roofs and streets differ from one to the next.
    blocks = 0.6 + 0.8 * field(origin, size, 2, seed * 16 + 15)
    light = (surface.shade * np.where(cover == BUILT, blocks, texture)).astype(np.float32)
    # Tall canopies hide their own shadows: darker, most of all in the visible and short-wave bands.
    depth = np.clip(surface.canopy_m / np.float32(40.0), 0.0, 1.0)
    red = np.float32(1.0 + 0.25 * float(place.shift[0]))
    # Wet soil is dark, and so is soil that is rich in organic matter.
    dark = 1.0 - 0.30 * np.clip(surface.moisture, 0.0, 1.0)
    dark = (dark * (1.45 - 0.9 * float(place.fertility[0]))).astype(np.float32)
    soil = np.isin(cover, (BARE, CROP, GRASS, SHRUB))
    result = np.empty((12, size, size), dtype=np.uint16)
    for band in range(12):
        first, second = _FIRST[cover, band], _SECOND[cover, band]
        value = (second + (first - second) * leaf) * light
        shadow = 0.50 if band in (0, 1, 2, 3, 10, 11) else 0.22
        value = value * (1.0 - np.float32(shadow) * depth)
        if band in (1, 2, 3, 4, 10, 11):
            hue = red if band in (3, 4) else np.float32(1.0)
            value = np.where(soil, value * hue * dark, value)
        value = _blur(value.astype(np.float32), 2 if band in (0, 9) else 1)
        noise = bell(grain(origin, size, seed * 64 + band)) * np.float32(12.0)
        result[band] = np.clip(np.floor(value + noise + 0.5), 1.0, 12000.0).astype(np.uint16)
    return result


def _blur(values: Float, times: int) -> Float:
    """Spread each pixel into its neighbours, 1-2-1 along both axes, as a sensor's optics do."""
    size = len(values)
    for _ in range(times):
        for axis in (0, 1):
            first, last = values.take([0], axis), values.take([size - 1], axis)
            before = np.concatenate((first, values.take(range(size - 1), axis)), axis)
            after = np.concatenate((values.take(range(1, size), axis), last), axis)
            values = (before + values + values + after) * np.float32(0.25)
    return values


def backscatter(surface: Surface, tile: Tile, descending: bool, seed: int) -> tuple[Float, Float]:
    """Return VV and VH in dB, (row, column) each, as one orbit sees them."""
    origin, size = patch(tile)
    side = np.float32(-6.0 if descending else 6.0)
    tilt = (surface.shade - np.float32(1.0)) * side
    woody = np.clip(surface.canopy_m / np.float32(30.0), 0.0, 1.0)
    wet = surface.moisture - np.float32(0.5)
    results = []
    for band, (table, gain, damp) in enumerate(((_VV, 1.5, 4.0), (_VH, 4.0, 2.5))):
        base = table.astype(np.float32)[surface.cover]
        speckle = bell(grain(origin, size, seed * 64 + 20 + 2 * band + descending))
        value = base + np.float32(gain) * woody + np.float32(damp) * wet + tilt
        results.append((value + np.float32(1.1) * speckle).astype(np.float32))
    return results[0], results[1]


def scene_edge(tile: Tile, luck: float) -> NDArray[np.bool_] | None:
    """Return the pixels beyond the edge of the scene in a few tiles, (row, column), else None."""
    if luck > _SCENE_EDGE_SHARE:
        return None
    size = patch(tile)[1]
    columns, rows = np.arange(size)[None, :], np.arange(size)[:, None]
    # Sentinel-2's swath runs 98.6° to the equator: its edge crosses a tile about one in six.
    return np.asarray(columns * 6 + rows > 6 * size * (0.55 + 6.0 * luck) + tile.left % 7)
