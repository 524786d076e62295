"""A deterministic small Earth: the source that needs no network, no account and no files.

The same seed gives the same bytes on any machine (see noise.py). Coasts are real; climate follows
from place, biome from climate, land cover and canopy from biome, spectra and backscatter from land
cover, and all labels from the same fields plus noise. So modalities inform labels, a model can
learn, and regions differ: Africa's relations are shifted, and so is, if asked for, what is seen
there (shifts.py). What is absent on the real Earth is absent here: clouds, one orbit, HH and HV,
canopy maps, the sea.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, NoDataError
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.curate import encode
from mmearth.curate.seasons import days_of
from mmearth.curate.source import Label, Outcome, Visit
from mmearth.curate.sources.synthetic import labels as labelling
from mmearth.curate.sources.synthetic import spectra
from mmearth.curate.sources.synthetic.lattice import on_tile
from mmearth.curate.sources.synthetic.noise import Double, cos_deg, uniform
from mmearth.curate.sources.synthetic.offers import check_declared, task_names
from mmearth.curate.sources.synthetic.planet import Places, visit
from mmearth.curate.sources.synthetic.shifts import RADIOMETRY, Shifts, months_late
from mmearth.curate.sources.synthetic.surface import WATER, Surface, dynamic_world, survey

VERSION = 2
"""Goes up when the same seed would give other bytes."""

# Shares of tiles in which something real is missing.
_CLOUDED, _HH, _NO_CANOPY = 0.03, 0.04, 0.03
# Upper ends of the shares, one above the other: neither orbit, only ascending, only descending.
_NO_ORBIT, _NO_DESCENDING, _NO_ASCENDING = 0.03, 0.14, 0.22
# On a tile this near to the coast, in kilometres, water is the sea, where no relief was measured.
_SEA_KM = 6.0

# The published seasons (MMEarth-Bench §3): 1 May to 29 September in the north; 1 November to
# 30 December and 1 January to 30 March in the south, all of 2020; their first days in the year.
_NORTH = tuple(range(122, 274))
_SOUTH = (*range(1, 91), *range(306, 366))
_MONTH_STARTS = (1, 32, 61, 92, 122, 153, 183, 214, 245, 275, 306, 336)  # of the leap year 2020


@dataclass(frozen=True, slots=True)
class Synthetic:
    """The synthetic Earth of one seed, as a Source."""

    seed: int = 0
    """Another seed, another Earth under the same coasts."""
    shifts: Shifts = field(default_factory=Shifts)
    """How what is seen in Africa differs from what is seen elsewhere."""
    catalogue: Catalogue = MMEARTH_BENCH
    """Of the dataset."""

    @property
    def name(self) -> str:
        """As it stands in provenance, with the shifts that are not as by default."""
        return f"synthetic {VERSION}{self.shifts.tag}"

    def __post_init__(self) -> None:
        check_declared(self.catalogue)

    def fingerprint(self, name: str) -> str:
        """Return the SHA-256 of the version, the shifts and the seed, for every layer alike."""
        del name
        return sha256_bytes(f"{self.name} seed {self.seed}".encode())

    def observe(self, visit: Visit) -> dict[str, Outcome]:
        """Observe modalities, and biomass, over one tile; see `Source.observe`."""
        scene = Scene.at(visit.tile, visit.anchor or visit.date, self.seed, self.shifts)
        return {name: self._one(scene, name) for name in visit.wanted}

    def labels(self, task: Task, count: int, seed: int) -> Iterator[Label]:
        """Yield labelled places of a task; see `Source.labels`."""
        if task.name not in task_names():
            raise ConfigError(
                f"{self.name} has no labels for {task.name}; expected one of "
                f"{', '.join(task_names())}"
            )
        how = self.seed, self.shifts.label_shift, self.catalogue.grid
        return labelling.labels(task, count, seed, *how)

    def _one(self, scene: Scene, name: str) -> Outcome:
        if name not in _OBSERVERS:
            return NoDataError(f"{self.name} has no {name}")
        try:
            array, acquired = _OBSERVERS[name](scene)
        except NoDataError as missing:
            return missing
        if isinstance(array, Observation):
            return array
        if array.ndim == 3:
            array = on_tile(array, scene.tile)
        planet = f"synthetic/{self.seed}{self.shifts.tag}"
        source_id = f"{planet}/{name}/{scene.tile.id}/{acquired or 'static'}"
        layer = self.catalogue.observed(name)
        observation = Observation(layer, array, acquired, self.name, (source_id,))
        if observation.valid_fraction == 0.0:
            return NoDataError(f"no pixel of {name} is valid here")
        return observation


@dataclass(frozen=True, slots=True)
class Scene:
    """One tile on one date: all that its modalities are made from."""

    tile: Tile
    """Where."""
    date: str
    """The anchor date, `YYYY-MM-DD`."""
    place: Places
    """The planet at the tile's centre."""
    surface: Surface
    """What covers the tile."""
    seed: int
    """Of the planet."""
    luck: Double
    """Numbers in [0, 1) that decide what is missing, (8,)."""
    shifts: Shifts
    """How what is seen is shifted."""

    @classmethod
    def at(cls, tile: Tile, date: str | None, seed: int, shifts: Shifts) -> Scene:
        """Look at a tile; without a date one of the published season is chosen.

        Where every Sentinel-2 scene is cloudy none of them chooses the date; see `anchor_date`.
        """
        place = visit(np.array([tile.lon]), np.array([tile.lat]), seed, shifts.label_shift)
        numbers = np.arange(8, dtype=np.int64)
        luck = uniform(seed, 91, tile.epsg, tile.left, tile.top, numbers)
        chosen = date or _date(float(place.lat[0]), float(luck[0]))
        if luck[1] < _CLOUDED:
            chosen = anchor_date(date, tile.lat)
        elif "/" in chosen:
            days = days_of(chosen)
            chosen = days[int(luck[0] * len(days))]
        return cls(tile, chosen, place, survey(tile, place, seed), seed, luck, shifts)

    @property
    def month(self) -> int:
        """Month of the anchor date, 1 to 12."""
        return int(self.date[5:7])

    def shifted(self, modality: str, array: NDArray[Any]) -> NDArray[Any]:
        """Return a modality's values as the shifts make them, (band, row, col)."""
        if not (self.shifts.atmosphere or self.shifts.sensor):
            return array
        radiometry = RADIOMETRY[modality](self.tile, self.date, self.seed, self.shifts)
        return radiometry.apply(array)


Observed = tuple[NDArray[np.generic] | Observation, str | None]
"""An array and when it was acquired."""


def _date(lat: float, luck: float) -> str:
    days = _NORTH if lat >= 0 else _SOUTH
    day = days[int(luck * len(days))]
    month = sum(day >= start for start in _MONTH_STARTS)
    return f"2020-{month:02d}-{day - _MONTH_STARTS[month - 1] + 1:02d}"


def _sentinel2(scene: Scene) -> Observed:
    if scene.luck[1] < _CLOUDED:
        raise NoDataError("every Sentinel-2 scene of the season is cloudy here")
    month = scene.month - months_late(scene.tile, scene.shifts)
    season = 0.5 + 0.5 * float(cos_deg(np.array([(month - 7.0) * 30.0]))[0])
    green = season if float(scene.place.lat[0]) >= 0 else 1.0 - season
    array = spectra.reflectance(scene.surface, scene.place, scene.tile, green, scene.seed)
    array = scene.shifted("sentinel2", array)
    beyond = spectra.scene_edge(scene.tile, float(scene.luck[2]))
    if beyond is not None:
        array[:, beyond] = 65535
    return array, scene.date


def _sentinel1(scene: Scene) -> Observed:
    luck = float(scene.luck[3])
    if luck < _NO_ORBIT:
        raise NoDataError("no Sentinel-1 scene of either orbit covers the place")
    shape = scene.surface.cover.shape
    array = np.full((8, *shape), -9999.0, dtype=np.float32)
    if not _NO_DESCENDING <= luck < _NO_ASCENDING:
        array[0], array[1] = spectra.backscatter(scene.surface, scene.tile, False, scene.seed)
    if not _NO_ORBIT <= luck < _NO_DESCENDING:
        array[4], array[5] = spectra.backscatter(scene.surface, scene.tile, True, scene.seed)
    if scene.luck[4] < _HH:
        # Polar and test acquisitions send and receive horizontally.
        array[2], array[3] = array[1] + np.float32(5.0), array[1]
        array[2:4][array[1:2].repeat(2, 0) < -9000.0] = -9999.0
    return scene.shifted("sentinel1", array), scene.date


def _aster_gdem(scene: Scene) -> Observed:
    surface = scene.surface
    array = np.stack([surface.elevation_m, surface.slope_deg])
    if float(scene.place.coast_km[0]) <= _SEA_KM:
        array[:, surface.cover == WATER] = -9999.0
    return array, None


def _eth_gch(scene: Scene) -> Observed:
    surface = scene.surface
    doubt = 1.5 + 0.16 * surface.canopy_m + 1.2 * surface.moisture
    array = np.stack([surface.canopy_m, doubt]).astype(np.float32)
    array[:, surface.cover == WATER] = 255.0
    if scene.luck[5] < _NO_CANOPY:
        array[:] = 255.0
    return array, "2020"


def _dynamic_world(scene: Scene) -> Observed:
    label = dynamic_world(scene.surface, scene.tile, scene.seed)
    return label[np.newaxis], scene.date[:4]


def _esa_worldcover(scene: Scene) -> Observed:
    return scene.surface.cover[np.newaxis].copy(), "2020"


def _precipitation(scene: Scene) -> Observed:
    rain = scene.place.rain_m[:, 0]
    values = (rain[scene.month - 2], rain[scene.month - 1], float(scene.place.rain_year_m[0]))
    return np.array([round(float(value), 6) for value in values]), scene.date[:7]


def _temperature(scene: Scene) -> Observed:
    means = scene.place.temperature_c[:, 0] + 273.15
    daily = 4.0 + 4.0 / (1.0 + float(scene.place.rain_year_m[0]))  # drier air, wider swing
    last, now = float(means[scene.month - 2]), float(means[scene.month - 1])
    year = float(scene.place.warmth_c[0]) + 273.15
    warmest, coldest = float(means.max()) + daily, float(means.min()) - daily
    months = (last + daily, last, last - daily, now + daily, now, now - daily)
    values = (*months, warmest, year, coldest)
    return np.array([round(value, 4) for value in values]), scene.date[:7]


def _class(name: str, code: int) -> Observed:
    if code < 0:
        raise NoDataError(f"no {name}: the tile's centre is at sea or on ice")
    return np.array([code], dtype=np.int16), None


def _biomass(scene: Scene) -> Observed:
    array = labelling.biomass(scene.surface, scene.place, scene.tile, scene.seed)
    return array[np.newaxis], "2020"


def _moisture(scene: Scene) -> Observed:
    return scene.surface.moisture[np.newaxis].astype(np.float32), scene.date[:7]


def _embedding(scene: Scene) -> Observed:
    surface, place = scene.surface, scene.place
    flat = np.ones(surface.cover.shape, dtype=np.float32)
    bands = (
        surface.canopy_m / np.float32(20.0) - 1.0,
        surface.vigour * 2.0 - 1.0,
        surface.moisture * 2.0 - 1.0,
        surface.parcels * 2.0 - 1.0,
        surface.slope_deg / np.float32(30.0) - 1.0,
        flat * np.float32(place.warmth_c[0] / 30.0),
        flat * np.float32(place.rain_year_m[0] - 1.0),
        flat * np.float32(place.elevation_m[0] / 2000.0 - 1.0),
    )
    return np.clip(np.stack(bands), -1.0, 1.0).astype(np.float32), scene.date[:4]


def _land_use(scene: Scene) -> Observed:
    codes = np.array([10, 50, 50, 20, 30, 50, 50, 80, 50, 10, 50], dtype=np.uint8)
    return codes[scene.surface.cover][np.newaxis], scene.date[:4]


def _fields(scene: Scene) -> Observed:
    return labelling.fields(scene.surface)[np.newaxis], scene.date[:4]


_OBSERVERS: dict[str, Callable[[Scene], Observed]] = {
    "sentinel2": _sentinel2,
    "sentinel1": _sentinel1,
    "aster_gdem": _aster_gdem,
    "eth_gch": _eth_gch,
    "dynamic_world": _dynamic_world,
    "esa_worldcover": _esa_worldcover,
    "precipitation": _precipitation,
    "temperature": _temperature,
    "geolocation": lambda scene: (encode.geolocation(scene.tile), None),
    "month": lambda scene: (encode.month(scene.date), None),
    "biome": lambda scene: _class("biome", int(scene.place.biome[0])),
    "ecoregion": lambda scene: _class("ecoregion", int(scene.place.ecoregion[0])),
    "biomass": _biomass,
    "moisture": _moisture,
    "embedding": _embedding,
    "land_use": _land_use,
    "fields": _fields,
}
