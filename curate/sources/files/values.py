"""From a file's values to a modality's: units, classes, valid range, stored type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, DataError
from mmearth.catalog.layer import Layer
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.doubts import GREATEST_REFLECTANCE
from mmearth.curate.sources.files.reading import Reading, period
from mmearth.curate.sources.files.units import Conversion

_CLAMPED = 0.05
"""Share of the valid range by which a value may lie outside it to be clamped."""
_TOLD = 20
"""Class codes that a sentence names."""


def converted(
    values: NDArray[np.float64], entry: Rasters, reading: Reading, when: str | None = None
) -> NDArray[np.float64]:
    """Return values × scale + offset in the modality's unit.

    Args:
        values: The file's, its own scale and offset applied; NaN where there is nothing.
        entry: With scale and offset.
        reading: With the way to our unit.
        when: `YYYY-MM`, for what is counted by time.

    Raises:
        DataError: Most of what is said to be power or amplitude is negative.
    """
    scale = entry.scale if isinstance(entry.scale, float) else 1.0
    offset = entry.offset if isinstance(entry.offset, float) else 0.0
    way = reading.conversion
    days, months = period(reading, when) if way.per is not None and when else (1.0, 1)
    values = values * scale + offset
    if way.decibel is not None and np.sum(values < 0.0) > np.sum(values >= 0.0):
        raise DataError(
            f"{entry.path}: {reading.ours} is said to be {reading.unit}, and most of it is "
            "negative: it is dB; write unit: dB"
        )
    return way.apply(values, days, months)


def as_digital_numbers(
    values: NDArray[np.float64], readings: Sequence[Reading]
) -> NDArray[np.float64]:
    """Return Sentinel-2 × 10000 where it is reflectance: whole numbers never are.

    Args:
        values: (band, row, column), of `readings`; NaN where there is nothing.
        readings: With types and conversions; what has a unit is left as it is.
    """
    fractions = all(
        reading.conversion == Conversion()
        and (np.dtype(reading.dtype).kind == "f" or reading.scale != 1.0)
        for reading in readings
    )
    known = values[~np.isnan(values)]
    if fractions and known.size and known.max() <= GREATEST_REFLECTANCE:
        return values * 1e4
    return values


def to_classes(
    layer: Layer, values: NDArray[np.float64], classes: Mapping[int, int | None], path: str
) -> NDArray[np.float64]:
    """Return class codes of ours for a product's own; NaN for those that are no data.

    Raises:
        ConfigError: A value is none of the product's codes.
    """
    known = ~np.isnan(values)
    found, position = np.unique(values[known], return_inverse=True)
    unknown = [code for code in found.tolist() if code not in classes]
    if unknown:
        first, codes = unknown[0], sorted(classes)
        what = "which is no whole number" if first != int(first) else "which is none of them"
        more = f" and {len(codes) - _TOLD} more" if len(codes) > _TOLD else ""
        raise ConfigError(
            f"{path}: {layer.name} has the class codes {', '.join(map(str, codes[:_TOLD]))}{more}; "
            f"found {first:g}, {what}; give classes: with one of ours, or null for no data, for "
            "each code"
        )
    ours = [classes[int(code)] for code in found.tolist()]
    result = np.full_like(values, np.nan)
    result[known] = np.array([np.nan if c is None else c for c in ours])[position]
    return result


def to_stored(
    values: NDArray[np.float64], layer: Layer, clamp: bool = False
) -> NDArray[np.generic]:
    """Return values in the stored type, no-data for NaN.

    Args:
        values: (band, …), in stored units; NaN where there is nothing.
        layer: With type, no-data value and the bands' valid ranges.
        clamp: Bring values up to a twentieth of the valid range outside it to its nearer end
            instead of refusing them; what is further out is no measurement.

    Raises:
        DataError: A value is outside its band's valid range.
    """
    dtype, nodata = layer.dtype, layer.nodata
    assert nodata is not None  # a layer that files can lack has one
    if clamp:
        values = np.where(values == nodata, np.nan, values)
    flat = values.reshape(len(layer.bands), -1)
    ends = zip(np.fmin.reduce(flat, axis=1), np.fmax.reduce(flat, axis=1), strict=True)
    for i, ((least, greatest), band) in enumerate(zip(ends, layer.bands, strict=True)):
        low, high = band.valid
        # Half a step of an integer type rounds back into the range.
        slack = 0.5 if np.dtype(dtype).kind in "iu" else 0.0
        if clamp:
            slack = (high - low) * _CLAMPED
        if least < low - slack or greatest > high + slack:  # neither is where there is nothing
            raise DataError(
                f"{band.name}: found values {least:g} to {greatest:g} {band.unit}, "
                f"expected {low:g} to {high:g}; check unit:, scale:, offset: and nodata:"
            )
        if clamp and (least < low or greatest > high):
            values[i] = np.clip(values[i], low, high)
    empty = np.isnan(values)
    if np.dtype(dtype).kind in "iu":
        values = np.floor(np.where(empty, 0.0, values) + 0.5)
    stored = np.where(empty, 0.0, values).astype(dtype)
    stored[empty] = nodata
    return stored
