"""The synthetic planet at the scale of places: coast, relief, climate, biome and soil.

Everything is a function of longitude, latitude and the planet's seed. The coast is the real one
(Natural Earth); the rest follows from latitude, elevation and the distance to the sea, plus noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.ecoregions import ECOREGIONS
from mmearth.curate.sources.synthetic.noise import Double, cos_deg, planet_noise, uniform

_STEP_DEG = 0.25
_UNIT_KM = 8.0
AFRICA, ANTARCTICA = 1, 7
"""Continent codes of land.npz."""

# Annual precipitation in metres by latitude: the wet tropics, the desert belts, the westerlies.
_RAIN_LAT = (0.0, 8.0, 18.0, 28.0, 40.0, 52.0, 62.0, 75.0, 90.0)
_RAIN_M = (2.3, 1.9, 0.75, 0.28, 0.7, 0.95, 0.65, 0.3, 0.15)


@dataclass(frozen=True, slots=True)
class Places:
    """What the planet is like at n places; every array is (n,) but the monthly ones, (12, n)."""

    lon: Double
    """Degrees east."""
    lat: Double
    """Degrees north."""
    coast_km: Double
    """Distance to the coast, positive on land."""
    continent: NDArray[np.int64]
    """Code of the nearest continent, 1 to 7."""
    elevation_m: Double
    """Mean elevation of the surroundings, 0 at sea."""
    rugged: Double
    """How mountainous the surroundings are, 0 to 1."""
    temperature_c: Double
    """Mean of each month, (12, n), degrees Celsius."""
    rain_m: Double
    """Sum of each month, (12, n), metres of water."""
    biome: NDArray[np.int64]
    """Class id, 0 to 13; -1 at sea and on ice."""
    ecoregion: NDArray[np.int64]
    """Class id, 0 to 845; -1 at sea and on ice."""
    fertility: Double
    """Of the parent material, 0 to 1: what no image shows, and the soil labels follow."""
    shift: Double
    """How far this region's relations differ from the planet's mean, about -1 to 1."""

    @property
    def warmth_c(self) -> Double:
        """Annual mean temperature, (n,)."""
        return _ordered_mean(self.temperature_c)

    @property
    def rain_year_m(self) -> Double:
        """Annual precipitation, (n,)."""
        return _ordered_mean(self.rain_m) * 12.0


def visit(lon: Double, lat: Double, seed: int, label_shift: float = 1.0) -> Places:
    """Return what the planet of `seed` is like at places in degrees, (n,) each.

    With a `label_shift` of 0 Africa's relations vary as those of any region do; with 1 they are
    all beyond what is found elsewhere.
    """
    coast_km, continent = _coast(lon, lat)
    rugged = _rise(planet_noise(lon, lat, seed * 8 + 1, 5, 3.0), 0.46, 0.74)
    hills = planet_noise(lon, lat, seed * 8 + 2, 4, 9.0)
    inland = _rise(coast_km, 0.0, 250.0)
    elevation = np.where(
        coast_km > 0, (20.0 + 500.0 * hills * inland + 4200.0 * rugged * rugged * hills), 0.0
    )
    temperature = _temperature(lat, coast_km, elevation)
    rain = _rain(lon, lat, coast_km, rugged, temperature, seed)
    warmth, rain_year = _ordered_mean(temperature), _ordered_mean(rain) * 12.0
    local = planet_noise(lon, lat, seed * 8 + 4, 3, 24.0)
    biome = _biome(coast_km, elevation, warmth, temperature, rain_year, local)
    fertility = planet_noise(lon, lat, seed * 8 + 5, 4, 12.0)
    regional = 0.5 * (planet_noise(lon, lat, seed * 8 + 6, 2, 2.0) * 2.0 - 1.0)
    shifted = (1.0 - label_shift) * regional + label_shift * 0.8
    shift = np.where(continent == AFRICA, shifted, regional)
    return Places(
        lon,
        lat,
        coast_km,
        continent,
        elevation,
        rugged,
        temperature,
        rain,
        biome,
        _ecoregion(lon, lat, biome, seed),
        fertility,
        shift,
    )


@cache
def _land() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    path = resources.files("mmearth") / "curate" / "sources" / "synthetic" / "data" / "land.npz"
    with path.open("rb") as stream, np.load(stream) as arrays:
        steps = np.cumsum(arrays["distance_steps"].astype(np.int64), axis=1)
        distance = ((steps + 128) % 256 - 128).astype(np.float32) * np.float32(_UNIT_KM)
        return distance, arrays["continent"].astype(np.int64)


def coast_km(lon: Double, lat: Double) -> Double:
    """Return the distance to the real coast at places in degrees, (n,), km: positive on land."""
    return _coast(lon, lat)[0]


def _coast(lon: Double, lat: Double) -> tuple[Double, NDArray[np.int64]]:
    """Interpolate the distance to the coast, (n,), and look up the nearest continent, (n,)."""
    distance, continent = _land()
    height, width = distance.shape
    x, y = (lon + 180.0) / _STEP_DEG - 0.5, (90.0 - lat) / _STEP_DEG - 0.5
    column, row = np.floor(x), np.floor(np.clip(y, 0.0, height - 1.000001))
    part_x, part_y = x - column, np.clip(y, 0.0, height - 1.0) - row
    west, north = column.astype(np.int64) % width, row.astype(np.int64)
    east, south = (west + 1) % width, np.minimum(north + 1, height - 1)
    upper = distance[north, west] * (1 - part_x) + distance[north, east] * part_x
    lower = distance[south, west] * (1 - part_x) + distance[south, east] * part_x
    coast = upper * (1 - part_y) + lower * part_y
    row1 = np.clip(90.0 - lat, 0.0, 179.0).astype(np.int64)
    return coast.astype(np.float64), continent[row1, (lon + 180.0).astype(np.int64) % 360]


def _temperature(lat: Double, coast_km: Double, elevation: Double) -> Double:
    """Return monthly means, (12, n): cooler to the poles and with height, wider swings inland."""
    mean = 27.5 - 0.0085 * lat * lat - 0.0055 * elevation
    inland_km = np.maximum(coast_km, 0.0)
    continental = inland_km / (inland_km + 400.0)
    swing = np.abs(lat) / 60.0 * (5.0 + 15.0 * continental)
    months = np.arange(1, 13, dtype=np.float64)[:, None]
    season = cos_deg((months - 7.0) * 30.0)  # warmest in July in the north
    return np.asarray(mean + swing * season * np.where(lat < 0, -1.0, 1.0))


def _rain(
    lon: Double, lat: Double, coast_km: Double, rugged: Double, warm: Double, seed: int
) -> Double:
    """Return monthly sums in metres, (12, n): zonal belts, drier inland, wetter on mountains."""
    belt = _interpolate(np.abs(lat), _RAIN_LAT, _RAIN_M)
    inland = 1.0 / (1.0 + np.maximum(coast_km, 0.0) / 1600.0)
    luck = planet_noise(lon, lat, seed * 8 + 3, 4, 5.0)
    year = belt * inland * (0.35 + 1.3 * luck * luck * 2.0) * (1.0 + 0.4 * rugged)
    # Warm months are wet but for the mid-latitude west coasts, where luck decides.
    summer = (warm - _ordered_mean(warm)) / (np.max(warm, axis=0) - np.min(warm, axis=0) + 4.0)
    monthly = year / 12.0 * (1.0 + 1.4 * summer * (2.0 * luck - 0.45))
    return np.asarray(np.maximum(monthly, 0.0))


def _biome(
    coast_km: Double, elevation: Double, warmth: Double, months: Double, rain: Double, local: Double
) -> NDArray[np.int64]:
    """Return RESOLVE's biome that fits the climate; the first rule that holds wins."""
    tropical = warmth > 20.0
    warmest = np.max(months, axis=0)
    need = 0.02 * np.maximum(warmth, 0.0) + 0.14  # rain under which the land is a desert, metres
    rules = (
        (coast_km <= 0, -1),
        (warmest < -1.0, -1),
        (warmest < 9.0, 13),
        (tropical & (coast_km < 14.0) & (local > 0.5) & (rain > 0.8), 3),
        (rain < need * 0.75, 1),
        ((elevation > 2300.0) & (local > 0.3), 5),
        ((local > 0.66) & (rain > 0.5), 2),
        (tropical & (rain > 1.45), 12),
        (tropical & (rain > 1.0) & (local < 0.44), 10),
        (tropical & (elevation > 900.0) & (rain > 0.7), 9),
        (tropical, 11),
        (warmth < 2.5, 0),
        ((warmth > 12.0) & (coast_km < 350.0) & (rain < 0.75), 4),
        ((rain > 0.55) & (elevation > 700.0), 7),
        (rain > 0.5, 6),
    )
    return np.select([rule for rule, _ in rules], [code for _, code in rules], 8)


@cache
def _members() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return ecoregions sorted by biome, and where each biome's begin and how many there are."""
    order = sorted(ECOREGIONS, key=lambda region: (region.biome, region.id))
    biomes = np.array([region.biome for region in order])
    starts = np.searchsorted(biomes, np.arange(14))
    counts = np.bincount(biomes, minlength=14)
    return np.array([region.id for region in order]), starts, counts


def _ecoregion(lon: Double, lat: Double, biome: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return one of the biome's ecoregions, the same one within about ten degrees."""
    ids, starts, counts = _members()
    known = np.maximum(biome, 0)
    wobble = 6.0 * planet_noise(lon, lat, seed * 8 + 7, 2, 8.0)
    cell_x = np.floor((lon + wobble) / 12.0).astype(np.int64)
    cell_y = np.floor((lat + wobble) / 10.0).astype(np.int64)
    pick = (uniform(seed, 77, cell_x, cell_y, known) * counts[known]).astype(np.int64)
    return np.where(biome < 0, -1, ids[starts[known] + pick])


def _rise(values: Double, low: float, high: float) -> Double:
    """Return a smooth step from 0 at `low` to 1 at `high`."""
    part = np.clip((values - low) / (high - low), 0.0, 1.0)
    return part * part * (3.0 - 2.0 * part)


def _interpolate(x: Double, xs: tuple[float, ...], ys: tuple[float, ...]) -> Double:
    """Interpolate a table linearly; not np.interp, which may fuse its multiply and add."""
    result = np.full(x.shape, ys[-1])
    for x0, x1, y0, y1 in reversed(list(zip(xs, xs[1:], ys, ys[1:], strict=False))):
        result = np.where(x <= x1, y0 + (x - x0) / (x1 - x0) * (y1 - y0), result)
    return result


def _ordered_mean(months: Double) -> Double:
    """Return the mean over twelve months, added in calendar order, (n,)."""
    total = months[0]
    for month in months[1:]:
        total = total + month
    return np.asarray(total / 12.0)
