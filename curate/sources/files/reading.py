"""How each band of a product is read: its no-data, scale, unit and offset, decided once."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.layer import Layer
from mmearth.curate.sources.files.bands import How, Match, match
from mmearth.curate.sources.files.baseline import offset_told
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.header import BandHeader, Header
from mmearth.curate.sources.files.times import Month
from mmearth.curate.sources.files.units import Conversion, conversion, expected

_REFLECTANCE_SCALE = 0.01
"""Scale tags up to this make reflectance of digital numbers; theirs is 0.0001."""
_MEAN_YEAR = 365.2425


@dataclass(frozen=True, slots=True)
class Reading:
    """How one of our bands is read from a product."""

    ours: str
    """Name of our band; of a climatology, the month's number."""
    raster: str
    """Key among the product's rasters."""
    number: int
    """Of the band in that raster, from 1."""
    how: How
    """What told which band it is."""
    month: Month | None
    """Of what month it is, where the file says so."""
    unit: str
    """As the entry or the file spells it, or ours where neither does."""
    dtype: str
    """NumPy's name of the stored type."""
    nodata: tuple[float, ...]
    """Stored values that mean no data."""
    scale: float
    """The file's own: stored value × scale + offset."""
    offset: float
    """See `scale`."""
    conversion: Conversion
    """From the entry's unit to ours."""
    baseline: float | None
    """Added to Sentinel-2's digital numbers; None where the date decides."""


def readings_of(
    layer: Layer, entry: Rasters, headers: Mapping[str, Header], product: str
) -> tuple[Reading, ...]:
    """Return how each band of a product is read.

    Args:
        layer: The modality or target.
        entry: What the configuration says.
        headers: By our band, of products of one file a band; `""` → the header of the one file.
        product: Its path from the root on.

    Raises:
        ConfigError: What the entry says and what the files say of themselves do not go together.
    """
    name, names = layer.name, layer.band_names
    matches = match(layer, names[:1] if entry.derive_slope else names, entry, headers)
    _check_told(name, entry, matches, names)
    units = {band.name: "DN" if name == "sentinel2" else band.unit for band in layer.bands}
    ways = {found.ours: _way(layer, entry, found, headers, units) for found in matches}
    if isinstance(entry.unit, str) and not layer.classes:
        _check_unit(name, entry, [units.get(m.ours, layer.bands[0].unit) for m in matches])
    return tuple(
        Reading(
            ours=found.ours,
            raster=found.raster,
            number=found.theirs.number,
            how=found.how,
            month=found.theirs.month,
            unit=ways[found.ours][0],
            dtype=found.theirs.dtype,
            nodata=_nodata(name, entry, found.theirs),
            scale=found.theirs.scale,
            offset=found.theirs.offset,
            conversion=ways[found.ours][1],
            baseline=_baseline(name, entry, found, headers, product),
        )
        for found in matches
    )


def period(reading: Reading, when: str) -> tuple[float, int]:
    """Return the days and months that a band's value is of.

    Args:
        reading: Of a climatology, the month itself counts: February's mean length where it is of
            no year.
        when: `YYYY-MM`, the anchor's month.
    """
    year, month = int(when[:4]), int(when[5:7])
    if reading.how == "months:":
        month = int(reading.ours)
        if reading.month is None or reading.month.year is None:
            return calendar.monthrange(2001, month)[1] + (_MEAN_YEAR - 365.0) * (month == 2), 1
        return float(calendar.monthrange(reading.month.year, month)[1]), 1
    if reading.ours.startswith("year"):
        return 365.0 + calendar.isleap(year), 12
    if reading.ours.startswith("last_month"):
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return float(calendar.monthrange(year, month)[1]), 1


def _way(
    layer: Layer,
    entry: Rasters,
    found: Match,
    headers: Mapping[str, Header],
    units: Mapping[str, str],
) -> tuple[str, Conversion]:
    """Return the unit that a band is in and the way from it to ours."""
    of_period = layer.name == "precipitation"
    ours = units.get(found.ours, next(iter(units.values())))
    told = entry.unit.get(found.ours) if isinstance(entry.unit, dict) else entry.unit
    if layer.classes:
        return ours, Conversion()
    way = conversion(told, ours, of_period) if told is not None else None
    if told is not None and way is not None:
        return told, way
    if isinstance(entry.unit, dict) and told is not None:
        raise ConfigError(_wrong(entry, told, ours, of_period))
    if isinstance(entry.scale, float) and entry.scale != 1.0:
        return ours, Conversion()  # scale: and offset: bring it to our unit
    declared = _declared(layer.name, found.theirs, headers[found.raster], ours)
    if declared is None:
        return ours, Conversion()
    way = conversion(declared, ours, of_period)
    path = headers[found.raster].path
    if way is None:
        raise ConfigError(
            f"{path} says that its {found.ours} is in {declared!r}, expected "
            f"{expected(ours, of_period)}; say what it is with unit:"
        )
    if isinstance(entry.offset, float) and entry.offset and way != Conversion():
        raise ConfigError(
            f"{path} says that its {found.ours} is in {declared!r}, and offset: moves it; say in "
            "which unit with unit:"
        )
    return declared, way


def _declared(name: str, band: BandHeader, header: Header, ours: str) -> str | None:
    """Return the unit that a file declares of a band, None where it declares none."""
    if name == "sentinel2":
        if band.unit is None and 0.0 < band.scale <= _REFLECTANCE_SCALE:
            return "reflectance"
        return band.unit
    if name == "sentinel1" and band.unit is None:
        texts = [band.description or "", *header.tags.values()]
        for text in texts:
            found = re.findall(
                r"(?<![a-z])(db|decibels?|linear|power|amplitude|intensity)(?![a-z])", text.lower()
            )
            if found:
                return str(found[-1])
    tag = next((t for k, t in header.tags.items() if k.lower() in ("unit", "units") and t), None)
    if band.unit is None and tag is not None:
        # One tag for all bands: it is not of those that cannot be in it.
        fit = conversion(tag, ours, name == "precipitation") is not None
        return tag if fit or len(header.bands) == 1 else None
    return band.unit


def _of_eight_bits(name: str, entry: Rasters, found: Match) -> bool:
    """Return whether a band is a picture for the eye rather than digital numbers."""
    silent = entry.unit is None and not isinstance(entry.scale, float)
    narrow = np.dtype(found.theirs.dtype).itemsize == 1 and found.theirs.scale == 1.0
    return name == "sentinel2" and silent and narrow


def _check_told(name: str, entry: Rasters, matches: Sequence[Match], names: Sequence[str]) -> None:
    """Refuse no-data values and units that can have no effect, and pictures."""
    for value in entry.told_nodata:
        if not any(fits(value, found.theirs.dtype) for found in matches):
            raise ConfigError(
                f"{entry.path}: nodata: {value:g} cannot occur in a band of "
                f"{matches[0].theirs.dtype}; correct nodata:"
            )
    if any(_of_eight_bits(name, entry, found) for found in matches):
        raise ConfigError(
            f"{entry.path} holds sentinel2 in {matches[0].theirs.dtype}, which has no room for "
            "reflectance × 10000; say what it is with scale: or unit:"
        )
    if isinstance(entry.unit, dict):
        unknown = [band for band in entry.unit if band not in names]
        if unknown:
            raise ConfigError(
                f"{entry.path}: unit: names {unknown[0]!r}; expected of {', '.join(names)}"
            )


def _check_unit(name: str, entry: Rasters, units: Sequence[str]) -> None:
    """Refuse a unit that none of the bands can be in."""
    assert isinstance(entry.unit, str)
    of_period = name == "precipitation"
    if all(conversion(entry.unit, ours, of_period) is None for ours in units):
        raise ConfigError(_wrong(entry, entry.unit, units[0], of_period))


def _wrong(entry: Rasters, told: str, ours: str, of_period: bool) -> str:
    return (
        f"{entry.path} is in {told!r}, expected {expected(ours, of_period)}; correct unit:, or "
        "convert it with scale: and offset:"
    )


def _nodata(name: str, entry: Rasters, band: BandHeader) -> tuple[float, ...]:
    """Return the stored values that mean no data.

    Digital numbers of Sentinel-2 that an offset is taken from are the product's own, in which 0
    means no data (ESA, products specification document 14.9, special values).
    """
    lowered = entry.offset == "auto" or (isinstance(entry.offset, float) and entry.offset < 0)
    raw = name == "sentinel2" and (lowered or band.offset < 0)
    own = (0.0,) if raw and np.dtype(band.dtype).kind in "iu" else ()
    return tuple(n for n in (*band.nodata, *entry.told_nodata, *own) if fits(n, band.dtype))


def _baseline(
    name: str, entry: Rasters, found: Match, headers: Mapping[str, Header], product: str
) -> float | None:
    """Return what the processing baseline adds to digital numbers, None where the date decides.

    Where a band's own file tells none, that of another band of the scene does.
    """
    if name != "sentinel2" or isinstance(entry.offset, float) or found.theirs.offset != 0.0:
        return 0.0
    header = headers[found.raster]
    told = offset_told(header.tags, product)
    for other in headers.values():
        told = offset_told(other.tags, product) if told is None else told
    if entry.offset == "auto":
        return told
    if told:
        raise ConfigError(
            f"{header.path} says that it is of processing baseline 04.00 or later, whose numbers "
            "are 1000 too high; write offset: auto, or offset: 0 if that is taken off already"
        )
    return 0.0


def fits(value: float, dtype: str) -> bool:
    """Return whether a stored type can hold a value."""
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        return True
    limits = np.iinfo(kind)
    return limits.min <= value <= limits.max and value == int(value)
