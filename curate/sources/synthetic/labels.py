"""The five labels of the synthetic planet, from the same latent fields as what satellites see."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.modality import TILE_PX
from mmearth.catalog.tasks import TASKS
from mmearth.catalog.tile import PIXEL_M, Tile, centres, tiles_at
from mmearth.curate.source import Label
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
from mmearth.curate.sources.synthetic.surface import Surface

GEDI_LATITUDE = 51.6
"""GEDI flew on the Space Station: no footprint north or south of this."""
_BATCH = 4096
_MAX_LATITUDE = 72.0


def biomass(surface: Surface, place: Places, tile: Tile, seed: int) -> NDArray[np.float32]:
    """Return above-ground biomass in Mg/ha at GEDI-like footprints, (128, 128); -9999 elsewhere."""
    origin = (tile.left // PIXEL_M, -tile.top // PIXEL_M)
    result = np.full((TILE_PX, TILE_PX), -9999.0, dtype=np.float32)
    if abs(float(place.lat[0])) > GEDI_LATITUDE or int(place.biome[0]) < 0:
        return result
    columns = np.arange(origin[0], origin[0] + TILE_PX, dtype=np.int64)[None, :]
    rows = np.arange(origin[1], origin[1] + TILE_PX, dtype=np.int64)[:, None]
    # A footprint every 60 m along tracks that lean, 600 m apart; four tracks in five were flown.
    across = columns * 3 + rows
    on_track = (across % 180 < 3) & (uniform(seed, 31, across // 180) < 0.8) & (rows % 6 == 0)
    height = surface.canopy_m
    # Wood grows with the 1.5th power of height; regions differ in wood density.
    density = np.float32(1.9 * (1.0 + 0.7 * float(place.shift[0])))
    wood = density * height * np.sqrt(height) * (0.7 + 0.5 * surface.vigour)
    noise = bell(grain(origin, TILE_PX, seed * 64 + 40))
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
    number = np.arange(len(TASKS["species"].outputs), dtype=np.int64)[:, None]
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


def labels(
    task: str, count: int, seed: int, planet_seed: int, label_shift: float = 1.0
) -> Iterator[Label]:
    """Yield labelled places on every continent but Antarctica, no biome far beyond its share.

    The first n of more are the same as n asked for.

    Args:
        task: A key of TASKS.
        count: How many.
        seed: Of the choice of places.
        planet_seed: Of the planet.
        label_shift: See `visit`.
    """
    names = TASKS["species"].outputs
    taken = np.zeros(14, dtype=np.int64)
    found = 0
    for start in range(0, 400 * _BATCH, _BATCH):
        places = _candidates(task, start, seed, planet_seed, label_shift)
        values = soil(task, places, planet_seed) if task.startswith("soil") else None
        present = species(places, planet_seed) if task == "species" else None
        for i in range(places.lon.size):
            if found == count:
                return
            here = None
            if present is not None:
                here = tuple(names[k] for k in np.flatnonzero(present[:, i]))
                if not here:
                    continue
            # At most two even shares of 14: rare biomes cannot fill theirs.
            if taken[places.biome[i]] * 7 > found + 7:
                continue
            taken[places.biome[i]] += 1
            found += 1
            value = None if values is None else round(float(values[i]), 4)
            lon, lat = float(places.lon[i]), float(places.lat[i])
            yield Label(lon, lat, value, here, None, f"{task}-{found}")


def _candidates(task: str, start: int, seed: int, planet_seed: int, label_shift: float) -> Places:
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
    lons, lats = centres(tiles_at(places.lon[good], places.lat[good]))
    inside = visit(lons, lats, planet_seed, label_shift)
    if not (inside.biome < 0).any():
        return inside
    keep = inside.biome >= 0
    return visit(lons[keep], lats[keep], planet_seed, label_shift)
