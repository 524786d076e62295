"""From a file's values to a modality's: units, classes, valid range, stored type."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, DataError
from mmearth.catalog.modality import Band
from mmearth.curate.sources.files.config import Rasters

# (from, to) → factor and summand.
_CONVERSIONS = {
    ("degC", "K"): (1.0, 273.15),
    ("mm", "m"): (1e-3, 0.0),
    ("cm", "m"): (1e-2, 0.0),
    ("km", "m"): (1e3, 0.0),
    ("ft", "m"): (0.3048, 0.0),
    ("percent", "1"): (1e-2, 0.0),
    ("rad", "deg"): (180.0 / np.pi, 0.0),
    ("kg/ha", "Mg/ha"): (1e-3, 0.0),
}


# How files spell units that may be mistaken for each other.
_SPELLINGS = {
    "K": {"k", "kelvin"},
    "degC": {"c", "degc", "°c", "celsius", "degree_celsius", "degrees_celsius"},
    "m": {"m", "metre", "metres", "meter", "meters"},
    "mm": {"mm", "millimetre", "millimetres", "millimeter", "millimeters", "kg m-2"},
    "cm": {"cm", "centimetre", "centimetres", "centimeter", "centimeters"},
    "ft": {"ft", "foot", "feet"},
}


def to_unit(
    values: NDArray[np.float64], entry: Rasters, unit: str, declared: str | None = None
) -> NDArray[np.float64]:
    """Return values × scale + offset, converted from the entry's unit to the modality's.

    Args:
        values: The file's.
        entry: With scale, offset and unit.
        unit: The modality's.
        declared: What the file says of its own unit.

    Raises:
        ConfigError: There is no way from one unit to the other, or the file declares another unit
            than the modality's and the entry says nothing of it.
    """
    found = _spelled(declared)
    if entry.unit is None and entry.scale == 1.0 and found not in (None, unit):
        raise ConfigError(
            f"{entry.path} says that it is in {declared!r}, expected {unit!r}; "
            f"say so with unit: {found}"
        )
    values = values * entry.scale + entry.offset
    if entry.unit is None or entry.unit == unit:
        return values
    if (entry.unit, unit) not in _CONVERSIONS:
        known = [found for found, wanted in _CONVERSIONS if wanted == unit]
        expected = ", ".join([repr(unit), *map(repr, known)])
        raise ConfigError(
            f"{entry.path} is in {entry.unit!r}, expected {expected}; correct unit:, or convert it "
            "with scale: and offset:"
        )
    factor, summand = _CONVERSIONS[entry.unit, unit]
    return values * factor + summand


def _spelled(declared: str | None) -> str | None:
    """Return our name of a unit as a file spells it, None where we do not know it."""
    # Climate files say mm month-1, mm/day: what matters here is the length.
    text = (declared or "").lower().replace(" month-1", "").replace("/month", "").strip()
    return next((unit for unit, spellings in _SPELLINGS.items() if text in spellings), None)


def to_classes(values: NDArray[np.float64], classes: dict[int, int]) -> NDArray[np.float64]:
    """Return class codes of ours for a product's own; NaN for those that have none."""
    result = np.full_like(values, np.nan)
    for theirs, ours in classes.items():
        result[values == theirs] = ours
    return result


def to_stored(
    values: NDArray[np.float64], dtype: str, nodata: float, bands: list[Band], clamp: bool
) -> NDArray[np.generic]:
    """Return values in the stored type, no-data for NaN.

    Args:
        values: (band, …); NaN where there is nothing.
        dtype: Of the result.
        nodata: Stored value that means absent.
        bands: With their valid ranges, in stored units.
        clamp: Bring values outside the valid range to its nearer end instead of refusing them.

    Raises:
        DataError: A value is outside its band's valid range.
    """
    for values_of_band, band in zip(values, bands, strict=True):
        low, high = band.valid
        if clamp:
            np.clip(values_of_band, low, high, out=values_of_band)
            continue
        found = values_of_band[~np.isnan(values_of_band)]
        # Half a step of an integer type rounds back into the range.
        slack = 0.5 if np.dtype(dtype).kind in "iu" else 0.0
        if found.size and (found.min() < low - slack or found.max() > high + slack):
            raise DataError(
                f"{band.name}: found values {found.min():g} to {found.max():g} {band.unit}, "
                f"expected {low:g} to {high:g}; check unit:, scale:, offset: and nodata:"
            )
    empty = np.isnan(values)
    if np.dtype(dtype).kind in "iu":
        values = np.floor(np.where(empty, 0.0, values) + 0.5)
    stored = np.where(empty, 0.0, values).astype(dtype)
    stored[empty] = nodata
    return stored
