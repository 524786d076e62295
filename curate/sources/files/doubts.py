"""Values that are in range and yet cannot be what a modality holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import DataError
from mmearth.catalog.layer import Layer
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.reading import Reading
from mmearth.curate.sources.files.units import Conversion

GREATEST_REFLECTANCE = 2.0
"""No digital numbers of a scene stay below this, no reflectance is above."""
_GREATEST_PERCENT = 100.0
_SEVERAL_BANDS = 3
_MOSTLY = 0.95
"""Share of pixels from which on backscatter that is not negative is power: in dB it nearly never is
above 0, and power with its noise taken off may be negative here and there."""
_FAINTEST_DB = -80.0
"""Far below the noise of Sentinel-1, -22 dB (ESA, Sentinel-1 product specification)."""
_BRIGHTEST = 20_000.0
"""Reflectance 2, above any tile's of cloud or snow."""
_WETTEST_M = 20.0
"""Above the wettest year of ERA5-Land; in mm that is the driest of deserts."""
_FEW_ZEROS = 0.01
"""Share of pixels that may be 0 by chance."""


def refuse_doubtful(
    layer: Layer, values: NDArray[np.float64], entry: Rasters, readings: Sequence[Reading]
) -> None:
    """Refuse values that are in range and yet cannot be what the modality holds.

    Args:
        layer: The modality or target.
        values: (band, …) in the modality's unit; NaN where there is nothing.
        entry: What they came from.
        readings: How they were read.

    Raises:
        DataError: Sentinel-2 is 2 at most, fractions up to 100 or mostly above 20000, a band of
            Sentinel-1 hardly negative anywhere or far below its noise, one of them 0 in many
            pixels, a mean temperature not between its minimum and maximum, a month wetter than its
            year, or a year wetter than any.
    """
    if layer.name in _DOUBTS and not np.isnan(values).all():
        why = _DOUBTS[layer.name](values, entry, readings)
        if why is not None:
            raise DataError(f"{entry.path}: {why}")


def _of_sentinel2(
    values: NDArray[np.float64], entry: Rasters, readings: Sequence[Reading]
) -> str | None:
    if entry.nodata is None:
        known = ~np.isnan(values)
        zeros = known.any(axis=0) & ((values == 0.0) | ~known).all(axis=0)
        if np.mean(zeros) > _FEW_ZEROS:
            return _many_zeros("sentinel2", float(np.mean(zeros)))
    greatest = float(np.fmax.reduce(values, axis=None))
    found = f"the greatest value of sentinel2 is {greatest:g}"
    if greatest <= GREATEST_REFLECTANCE:
        return (
            f"{found}, which is reflectance, expected reflectance × 10000; write scale: 10000, or "
            "scale: auto"
        )
    if not _silent(entry):
        return None
    if (share := _share(values, readings)) is not None:
        return (
            f"the greatest value of {share} is {GREATEST_REFLECTANCE:g} or less, which is "
            "reflectance, and of other bands it is not; say what each is with unit:, by band"
        )
    few, of_percent = len(readings) < _SEVERAL_BANDS, greatest <= _GREATEST_PERCENT
    if not few and of_percent and np.any(np.abs(values - np.floor(values)) > 0.0):
        return (
            f"{found}, as of reflectance in percent, expected reflectance × 10000; write unit: "
            "percent, or unit: DN"
        )
    if greatest > _BRIGHTEST and (middle := np.nanmedian(values)) > _BRIGHTEST:
        return (
            f"half of sentinel2 is above {middle:g}, expected reflectance × 10000, which nothing "
            "on the ground reaches; say what it is with unit: or scale:"
        )
    return None


def _share(values: NDArray[np.float64], readings: Sequence[Reading]) -> str | None:
    """Return a band of Sentinel-2 that is reflectance, None where there is none."""
    names = [band.name for band in MMEARTH_BENCH.layers["sentinel2"].bands]
    for reading in readings:
        band = values[names.index(reading.ours)]
        known = band[~np.isnan(band)]
        if np.dtype(reading.dtype).kind != "f" or reading.conversion != Conversion():
            continue
        if known.size and known.max() <= GREATEST_REFLECTANCE and np.any(known % 1.0 > 0.0):
            return reading.ours
    return None


def _of_sentinel1(
    values: NDArray[np.float64], entry: Rasters, readings: Sequence[Reading]
) -> str | None:
    zeros = float(np.mean((values == 0.0).any(axis=0)))
    if entry.nodata is None and zeros > _FEW_ZEROS:
        return _many_zeros("sentinel1", zeros)
    if not _silent(entry) or any(reading.unit != "dB" for reading in readings):
        return None
    for known in (band[~np.isnan(band)] for band in values if not np.isnan(band).all()):
        if np.mean(known >= 0.0) > _MOSTLY:
            return (
                f"the least value of sentinel1 is {known.min():g}, which is power, expected dB; "
                "write unit: linear, or unit: dB if it is dB all the same"
            )
        if np.median(known) < _FAINTEST_DB:
            return (
                f"half of sentinel1 is below {np.median(known):g}, expected dB, which no sensor "
                "sees; write scale:, or unit: dB if it is dB all the same"
            )
    return None


def _of_temperature(
    values: NDArray[np.float64], entry: Rasters, readings: Sequence[Reading]
) -> str | None:
    for first, name in ((0, "last_month"), (3, "month"), (6, "year")):
        high, mean, low = values[first : first + 3]
        slack = 1e-6
        if high < mean - slack or mean < low - slack or high < low - slack:
            return (
                f"the {name} temperatures are maximum {high:g}, mean {mean:g}, minimum {low:g} K; "
                "its bands are in another order: say which is which with bands:"
            )
    return None


def _of_precipitation(
    values: NDArray[np.float64], entry: Rasters, readings: Sequence[Reading]
) -> str | None:
    wettest = np.nanmax(values)
    metres = _silent(entry) and all(reading.unit == "m" for reading in readings)
    if metres and wettest > _WETTEST_M:
        return (
            f"the greatest precipitation is {wettest:g}, expected metres; write unit: mm, or "
            "unit: m if it is metres all the same"
        )
    if values[1] > values[2] * (1 + 1e-9):
        return (
            "the precipitation of the month is above the year's; its bands are not last_month, "
            "month, year: say which is which with bands:"
        )
    return None


def _silent(entry: Rasters) -> bool:
    """Return whether the entry says nothing of what the numbers are."""
    return entry.unit is None and entry.scale is None and entry.offset is None


def _many_zeros(name: str, share: float) -> str:
    return (
        f"{name} is 0 in {share:.0%} of the pixels; if that means no data, write nodata: 0, "
        "otherwise nodata: []"
    )


_Doubt = Callable[[NDArray[np.float64], Rasters, Sequence[Reading]], str | None]
_DOUBTS: dict[str, _Doubt] = {
    "sentinel2": _of_sentinel2,
    "sentinel1": _of_sentinel1,
    "temperature": _of_temperature,
    "precipitation": _of_precipitation,
}
