"""Declared shifts: how what is seen in Africa differs from what is seen elsewhere.

The geographic split tests in Africa and nothing else does, so a model is trained without these
shifts and tested under them. Each is of a known kind and strength, and those of radiometry can be
undone exactly. They imitate what happens to real images, one cause at a time, and measure nothing
on the Earth.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.catalog.africa import africa
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.synthetic.noise import Double, planet_noise

_S2, _S1 = (MMEARTH_BENCH.layers[name] for name in ("sentinel2", "sentinel1"))
_INSIDE_DEG = 5.0
"""How far inside the ring around Africa a shift has grown to its strength."""
_HAZE = 0.4
"""Optical depth at 550 nm of the mean haze at strength 1."""
_FORWARD = 0.6
"""Asymmetry of scattering by smoke: mean cosine of the angle that it turns light by."""
_BASELINE = 1000.0
"""What Sentinel-2's processing baseline 04.00 adds to every digital number."""
_RADAR_DB = 1.0
"""How wrong Sentinel-1's radiometry may be by its specification."""


@dataclass(frozen=True, slots=True)
class Shifts:
    """How strong each shift is; 1 is as strong as described, 0 is none."""

    atmosphere: float = 0.0
    """Haze over Sentinel-2, and an error of Sentinel-1's calibration; see `haze` and `radar`."""
    sensor: float = 0.0
    """Sentinel-2's change of baseline, not corrected: +1000 in all bands; see `optical`."""
    season: float = 0.0
    """Plants out of step with the calendar, by six months at most; up to 1. See `months_late`."""
    label_shift: float = 1.0
    """How far Africa's labels relate to the scene otherwise than elsewhere; see `planet.visit`."""

    @property
    def tag(self) -> str:
        """Those that are not as by default, for names: ` atmosphere 1.0`; else empty."""
        found = ((each.name, getattr(self, each.name), each.default) for each in fields(self))
        return "".join(f" {name} {value}" for name, value, usual in found if value != usual)


@dataclass(frozen=True, slots=True)
class Radiometry:
    """What a shift makes of the stored values of a modality, band by band: × gain + offset."""

    modality: str
    """A key of MODALITIES."""
    gain: Double
    """(band,), above 0."""
    offset: Double
    """(band,), in stored units: digital numbers, dB."""

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return shifted values, (band, row, col); no-data stays."""
        return self._moved(array, lambda values, gain, offset: values * gain + offset)

    def undo(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return values without the shift, (band, row, col), exact to half a step / gain."""
        return self._moved(array, lambda values, gain, offset: (values - offset) / gain)

    def _moved(
        self, array: NDArray[np.generic], move: Callable[[Double, Double, Double], Double]
    ) -> NDArray[np.generic]:
        spec = MMEARTH_BENCH.layers[self.modality]
        result = move(
            array.astype(np.float64), self.gain[:, None, None], self.offset[:, None, None]
        )
        if array.dtype.kind == "u":
            low, high = spec.bands[0].valid
            result = np.clip(np.floor(result + 0.5), low, high)
        return np.where(spec.valid(array), result.astype(array.dtype), array)


def optical(tile: Tile, date: str, seed: int, shifts: Shifts) -> Radiometry:
    """Return what the shifts make of Sentinel-2 over one tile: `haze`, then the baseline's offset.

    Source of the offset:
        Copernicus, Sentinel-2 processing baseline 04.00 of 25 January 2022: BOA_ADD_OFFSET -1000.

    Args:
        tile: Where.
        date: When, `YYYY-MM-DD`: each day has its own haze.
        seed: Of the planet.
        shifts: How strong.
    """
    day = datetime.date.fromisoformat(date).toordinal()
    depth = _HAZE * shifts.atmosphere * _nearness(tile) * _weather(tile, seed, day)
    gain, path = haze(depth)
    return Radiometry(
        "sentinel2", gain, path * 10000.0 + _BASELINE * shifts.sensor * _nearness(tile)
    )


def haze(depth: float) -> tuple[Double, Double]:
    """Return gain and offset of reflectance under haze in Sentinel-2's bands, (12,) each.

    The optical depth τ falls with wavelength by Ångström's law, here with the exponent 1.5 of
    smoke. Of light that meets a layer which absorbs nothing, two streams say, R = t / (2 + t) is
    scattered back, with t = (1 - g) τ, and 1 - R goes through: down to the ground, and up again.
    So the ground's reflectance is seen as R + (1 - R)² × reflectance; light that goes between
    ground and haze more than once is left out, so that the change is linear.

    Source:
        Ångström 1929, On the atmospheric transmission of sun radiation and on dust in the air;
        Bohren 1987, Multiple scattering of light and some of its observable consequences,
        doi:10.1119/1.15109; Dubovik et al. 2002, Variability of absorption and optical properties
        of key aerosol types (smoke of African savannas: exponent 1.4 to 2.2, g 0.5 to 0.64).

    Args:
        depth: Optical depth at 550 nm, 0 or more.
    """
    ratio = np.array([(band.wavelength_nm or 550.0) / 550.0 for band in _S2.bands])
    thickness = (1.0 - _FORWARD) * depth / (ratio * np.sqrt(ratio))
    back = thickness / (2.0 + thickness)
    return (1.0 - back) * (1.0 - back), back


def radar(tile: Tile, date: str, seed: int, shifts: Shifts) -> Radiometry:
    """Return what the shifts make of Sentinel-1 over one tile: up to about 1.5 dB too bright.

    Air and smoke do nothing to C band: this is an error of calibration that goes with the place.

    Source:
        ESA, Sentinel-1 SAR technical guide, performance: radiometric accuracy within 1 dB (3 σ).

    Args:
        tile: Where.
        date: Any: the error stays.
        seed: Of the planet.
        shifts: How strong.
    """
    error = _RADAR_DB * shifts.atmosphere * _nearness(tile) * _weather(tile, seed, 0)
    n_bands = len(_S1.bands)
    return Radiometry("sentinel1", np.ones(n_bands), np.full(n_bands, error))


RADIOMETRY: dict[str, Callable[[Tile, str, int, Shifts], Radiometry]] = {
    "sentinel2": optical,
    "sentinel1": radar,
}
"""By modality, what its values undergo. Its `undo` is the oracle of a study of adaptation."""


def months_late(tile: Tile, shifts: Shifts) -> float:
    """Return by how many months plants are behind the calendar at a tile, 0 to 6.

    Where rain and not warmth wakes plants, as in most of Africa, a month says something else.

    Source:
        Zhang et al. 2005, Monitoring the response of vegetation phenology to precipitation in
        Africa by coupling MODIS and TRMM instruments, doi:10.1029/2004JD005263.
    """
    return 6.0 * shifts.season * _nearness(tile)


def _nearness(tile: Tile) -> float:
    """Return how far a tile is in the shifted region: 0 outside of the ring, smooth, up to 1."""
    x, y = _place(tile)
    if not shapely.contains_xy(africa(), x, y)[0]:
        return 0.0
    # Not by shapely: what is compiled may fuse multiply and add, and round otherwise elsewhere.
    ring = shapely.get_coordinates(africa())
    x, y = ring[:-1, 0] - x, ring[:-1, 1] - y
    along_x, along_y = ring[1:, 0] - ring[:-1, 0], ring[1:, 1] - ring[:-1, 1]
    part = -(x * along_x + y * along_y) / (along_x * along_x + along_y * along_y)
    part = np.clip(part, 0.0, 1.0)
    x, y = x + part * along_x, y + part * along_y
    rise = min(float(np.sqrt(x * x + y * y).min()) / _INSIDE_DEG, 1.0)
    return rise * rise * (3.0 - 2.0 * rise)


def _weather(tile: Tile, seed: int, day: int) -> float:
    """Return a smooth field over the planet, mean about 1, 0.5 to 1.5; another one each day."""
    # Beyond all seeds of planet.py, which are below 2³⁴.
    stream = (2**31 + seed) * 1_000_000 + day
    return 0.5 + float(planet_noise(*_place(tile), stream, 2, 4.0)[0])


def _place(tile: Tile) -> tuple[Double, Double]:
    return np.array([tile.lon]), np.array([tile.lat])
