"""The labels of the synthetic planet, from the same latent fields as what satellites see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.grid import Grid
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile, centres, tiles_at
from mmearth.curate.source import Label
from mmearth.curate.sources.synthetic.lattice import patch
from mmearth.curate.sources.synthetic.noise import (
    Double,
    bell,
    cos_deg,
    grain,
    mix,
    sin_deg,
    uniform,
)
from mmearth.curate.sources.synthetic.planet import ANTARCTICA, Places, visit
from mmearth.curate.sources.synthetic.surface import CROP, GRASS, MANGROVE, SHRUB, TREE, Surface

GEDI_LATITUDE = 51.6
"""GEDI flew on the Space Station: no footprint north or south of this."""
_BATCH = 4096
_MAX_LATITUDE = 72.0


def biomass(surface: Surface, place: Places, tile: Tile, seed: int) -> NDArray[np.float32]:
    """Return biomass in Mg/ha at GEDI-like footprints, (row, column); -9999 elsewhere."""
    origin, size = patch(tile)
    result = np.full((size, size), -9999.0, dtype=np.float32)
    if abs(float(place.lat[0])) > GEDI_LATITUDE or int(place.biome[0]) < 0:
        return result
    columns = np.arange(origin[0], origin[0] + size, dtype=np.int64)[None, :]
    rows = np.arange(origin[1], origin[1] + size, dtype=np.int64)[:, None]
    # A footprint every 60 m along tracks that lean, 600 m apart; four tracks in five were flown.
    across = columns * 3 + rows
    on_track = (across % 180 < 3) & (uniform(seed, 31, across // 180) < 0.8) & (rows % 6 == 0)
    height = surface.canopy_m
    # Wood grows with the 1.5th power of height; regions differ in wood density.
    density = np.float32(1.9 * (1.0 + 0.7 * float(place.shift[0])))
    wood = density * height * np.sqrt(height) * (0.7 + 0.5 * surface.vigour)
    noise = bell(grain(origin, size, seed * 64 + 40))
    measured = wood * (1.0 + 0.18 * noise) + 1.5 + 0.8 * noise
    result[on_track] = np.clip(measured, 0.0, 2000.0).astype(np.float32)[on_track]
    return result


def soil(task: str, places: Places, seed: int) -> Double:
    """Return a soil property at n places, (n,): g/kg, or pH.

    Climate says most of it, and what no image shows the rest: fertility, and that under one climate
    a region's soils hold less carbon and are less acid than another's.
    """
    cold = np.clip((18.0 - places.warmth_c) / 30.0, 0.0, 1.0)
    wet = np.clip(places.rain_year_m / 1.6, 0.0, 1.4)
    east, north = (places.lon * 1e5).astype(np.int64), (places.lat * 1e5).astype(np.int64)
    noise = bell(mix(seed, 41, east, north))
    carbon = 4.0 + 26.0 * wet + 60.0 * cold * wet + 8.0 * places.fertility
    carbon = carbon * (1.0 - 0.45 * places.shift) * (1.0 + 0.15 * noise)
    if task == "soil_organic_carbon":
        return np.clip(carbon, 0.5, 500.0)
    if task == "soil_nitrogen":
        ratio = 11.0 + 5.0 * cold  # carbon to nitrogen
        return np.clip(carbon / ratio * (1.0 + 0.05 * noise), 0.05, 30.0)
    acid = 8.3 - 2.3 * wet + 0.6 * (places.fertility - 0.5) - 0.8 * cold + places.shift
    return np.clip(acid + 0.25 * noise, 3.2, 10.2)


def species(places: Places, seed: int) -> NDArray[np.bool_]:
    """Return which of the 100 species have each place in their range, (100, n)."""
    number = np.arange(len(MMEARTH_BENCH.tasks["species"].outputs), dtype=np.int64)[:, None]
    home_lat = uniform(seed, 51, number) * 110.0 - 45.0
    home_lon = uniform(seed, 52, number) * 360.0 - 180.0
    # Every second species has its home in or around Africa, as the published selection does.
    around = number % 2 == 0
    home_lat = np.where(around, uniform(seed, 53, number) * 75.0 - 30.0, home_lat)
    home_lon = np.where(around, uniform(seed, 54, number) * 75.0 - 20.0, home_lon)
    closeness = sin_deg(home_lat) * sin_deg(places.lat) + cos_deg(home_lat) * cos_deg(
        places.lat
    ) * cos_deg(home_lon - places.lon)
    spread = 0.70 + 0.27 * uniform(seed, 55, number)  # cosine of the range's angular radius
    warm = 4.0 + 22.0 * uniform(seed, 56, number)
    warm_width = 6.0 + 9.0 * uniform(seed, 57, number)
    rain = 0.15 + 1.6 * uniform(seed, 58, number) * uniform(seed, 59, number)
    rain_width = 0.3 + 0.7 * uniform(seed, 60, number)
    misfit = ((places.warmth_c - warm) / warm_width) * ((places.warmth_c - warm) / warm_width)
    dry = (places.rain_year_m - rain) / rain_width
    return np.asarray((closeness > spread - 0.25 * (1 - misfit)) & (misfit + dry * dry < 1.0))


@dataclass(frozen=True, slots=True)
class Targets:
    """What a task's tile-level targets are at n places."""

    numbers: Double | None
    """Of a regression, (output, n); None for other tasks."""
    present: NDArray[np.bool_] | None
    """Which labels, or which one class, each place has, (name, n); None for other tasks."""
    outputs: tuple[str, ...]
    """Names of the labels or classes."""
    lacks: NDArray[np.bool_]
    """Places that are no label, (n,): none of the species is there."""

    def value(self, i: int) -> float | None:
        """Return the one number of a place."""
        is_one = self.numbers is not None and len(self.numbers) == 1
        return round(float(self.numbers[0, i]), 4) if is_one and self.numbers is not None else None

    def values(self, i: int) -> tuple[float, ...] | None:
        """Return the several numbers of a place."""
        if self.numbers is None or len(self.numbers) == 1:
            return None
        return tuple(round(float(number), 4) for number in self.numbers[:, i])

    def names(self, i: int) -> tuple[str, ...] | None:
        """Return the labels, or the class, of a place."""
        if self.present is None:
            return None
        return tuple(self.outputs[k] for k in np.flatnonzero(self.present[:, i]))


def targets(task: Task, places: Places, seed: int) -> Targets:
    """Return a task's tile-level targets; none of either kind where it has pixels."""
    n = places.lon.size
    numbers = present = None
    if task.name.startswith("soil"):
        numbers = soil(task.name, places, seed)[np.newaxis]
    elif task.name == "texture":
        numbers = texture(places, seed)
    elif task.name == "species":
        present = species(places, seed)
    elif task.name == "crop":
        present = crop(places, seed)[np.newaxis] == np.arange(len(task.outputs))[:, np.newaxis]
    lacks = np.zeros(n, dtype=np.bool_)
    if present is not None:
        lacks = np.asarray(~present.any(axis=0))
    return Targets(numbers, present, task.outputs, lacks)


def texture(places: Places, seed: int) -> Double:
    """Return sand, silt and clay in per cent, (3, n), which add up to 100.

    Weathering makes clay where it is wet and warm; dry ground is sandy.
    """
    wet = np.clip(places.rain_year_m / 1.6, 0.0, 1.2)
    warm = np.clip((places.warmth_c + 5.0) / 30.0, 0.0, 1.0)
    east, north = (places.lon * 1e5).astype(np.int64), (places.lat * 1e5).astype(np.int64)
    weathered = 8.0 + 28.0 * wet * warm + 10.0 * places.fertility
    clay = weathered + 3.0 * bell(mix(seed, 42, east, north))
    sand = 62.0 - 30.0 * wet + 4.0 * bell(mix(seed, 43, east, north))
    clay = clay.clip(2.0, 60.0).round(1)
    sand = sand.clip(5.0, 98.0 - clay).round(1)
    return np.stack([sand, np.round(100.0 - sand - clay, 1), clay])


def crop(places: Places, seed: int) -> NDArray[np.int64]:
    """Return which of wheat, maize and rice does best, 0 to 2, (n,): by warmth and rain."""
    east, north = (places.lon * 1e5).astype(np.int64), (places.lat * 1e5).astype(np.int64)
    noise = bell(mix(seed, 44, east, north))
    wheat = 1.0 - np.abs(places.warmth_c - 8.0) / 12.0
    maize = 1.0 - np.abs(places.warmth_c - 17.0) / 12.0 + 0.3 * places.fertility
    rice = 0.2 + 0.7 * places.rain_year_m - np.abs(places.warmth_c - 25.0) / 14.0 + 0.1 * noise
    return np.asarray(np.argmax(np.stack([wheat, maize, rice]), axis=0))


def fields(surface: Surface) -> NDArray[np.uint8]:
    """Return what an annotator saw on the ground, (row, column): codes of the task `fields`.

    Two fields in five were not visited, nor was what is neither crops, grass nor wood: 255.
    """
    codes = np.full(11, 255, dtype=np.uint8)
    codes[[CROP, GRASS, SHRUB, TREE, MANGROVE]] = 1, 2, 2, 4, 4
    return np.where(surface.parcels < 0.6, codes[surface.cover], np.uint8(255)).astype(np.uint8)


def labels(
    task: Task, count: int, seed: int, planet_seed: int, label_shift: float, grid: Grid
) -> Iterator[Label]:
    """Yield labelled places on every continent but Antarctica, no biome far beyond its share.

    The first n of more are the same as n asked for.

    Args:
        task: One of those of the planet.
        count: How many.
        seed: Of the choice of places.
        planet_seed: Of the planet.
        label_shift: See `visit`.
        grid: Of the tiles.
    """
    taken = np.zeros(14, dtype=np.int64)
    found = 0
    for start in range(0, 400 * _BATCH, _BATCH):
        places = _candidates(task.name, start, seed, planet_seed, label_shift, grid)
        known = targets(task, places, planet_seed)
        for i in range(places.lon.size):
            if found == count:
                return
            # At most two even shares of 14: rare biomes cannot fill theirs.
            if known.lacks[i] or taken[places.biome[i]] * 7 > found + 7:
                continue
            taken[places.biome[i]] += 1
            found += 1
            lon, lat = float(places.lon[i]), float(places.lat[i])
            yield Label(
                lon,
                lat,
                value=known.value(i),
                labels=known.names(i),
                label_id=f"{task.name}-{found}",
                values=known.values(i),
            )


def _candidates(
    task: str, start: int, seed: int, planet_seed: int, label_shift: float, grid: Grid
) -> Places:
    """Return habitable places of one batch, evenly spread over the land, at tile centres."""
    stream = sum(task.encode())
    number = np.arange(start, start + _BATCH, dtype=np.int64)
    lon = uniform(seed, stream, 1, number) * 360.0 - 180.0
    lat = (uniform(seed, stream, 2, number) * 2.0 - 1.0) * _MAX_LATITUDE
    # Equal chances for equal areas: meridians converge with the cosine of latitude.
    kept = uniform(seed, stream, 3, number) < cos_deg(lat)
    places = visit(lon[kept], lat[kept], planet_seed)
    good = (places.biome >= 0) & (places.continent != ANTARCTICA) & (places.coast_km > 3.0)
    if task == "biomass":
        good &= np.abs(places.lat) < GEDI_LATITUDE - 0.1
    lons, lats = centres(tiles_at(places.lon[good], places.lat[good], grid))
    inside = visit(lons, lats, planet_seed, label_shift)
    if not (inside.biome < 0).any():
        return inside
    keep = inside.biome >= 0
    return visit(lons[keep], lats[keep], planet_seed, label_shift)
