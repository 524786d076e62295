"""What one raster entry of the configuration would give: found, matched, and one window of it.

    files = make_source(config, base)          # of kind `files`
    for name, entries in config.source.rasters.items():
        for entry in entries:
            facts = inspect_raster(files, name, entry, tiles, date)

`tiles` are those of the plan, of which the first that the entry's files reach is looked at; without
any the middle of the first file is. Nothing is written; one window of pixels is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.errors import ConfigError, MMEarthError, NoDataError
from mmearth.catalog.grid import Grid
from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.bands import How, band_of
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.dates import acquired
from mmearth.curate.sources.files.header import Bounds, read_header
from mmearth.curate.sources.files.index import Index, Product
from mmearth.curate.sources.files.observation import observation
from mmearth.curate.sources.files.reading import fits

_ANY_DATE = "2020-07-01"
"""For the month of a climatology where nothing else tells a date."""
_TRIED = 4
_MANY_ZEROS = 0.05
_OFFSET_DN = 900
"""No dark pixel is left in a scene whose least number is above; its offset is 1000."""
_DRY_YEAR_M = 0.05


@dataclass(frozen=True, slots=True)
class BandFacts:
    """How one of our bands is read."""

    ours: str
    """Name of our band; `1` to `12` of a climatology's months."""
    file: str
    """Of the raster, relative to the source's root."""
    number: int
    """Of the band in that raster, from 1."""
    how: How
    """What told which band it is."""
    unit: str
    """As the entry or the file spells it; ours where neither tells one."""
    scale: float
    """The file's own: stored value × scale + offset."""
    offset: float
    """See `scale`."""
    nodata: tuple[float, ...]
    """Stored values that mean no data; NaN, masks and alpha bands always do."""


@dataclass(frozen=True, slots=True)
class BandValues:
    """What one of our bands would hold in the window, as stored."""

    name: str
    """Of our band."""
    unit: str
    """Of the stored value, or of it times the band's scale."""
    valid: tuple[float, float]
    """Lowest and highest valid stored value."""
    share: float
    """Of the window's pixels, how many have a value, 0 to 1."""
    low: float | None
    """Least stored value; None where there is none."""
    middle: float | None
    """Median."""
    high: float | None
    """Greatest."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One tile of the entry, as it would be stored."""

    tile: Tile
    """Where."""
    observation: Observation
    """With array, date and source ids."""
    bands: tuple[BandValues, ...]
    """In the order of the array's first axis."""


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """What one raster entry would give."""

    name: str
    """The modality, or the task with a pixel-level target."""
    path: str
    """As in the configuration."""
    product: str
    """As in the configuration."""
    files: tuple[str, ...]
    """The products matched that can be used, relative to the source's root."""
    problems: tuple[str, ...]
    """One sentence for each that cannot be used, and why there is no window."""
    footprint: Bounds | None
    """West, south, east, north in degrees around all of them; may reach beyond 180."""
    dates: tuple[str, ...]
    """When they were acquired, each once, in order; empty where the entry has no date."""
    bands: tuple[BandFacts, ...]
    """Of the first product."""
    window: Window | None
    """None where nothing can be read."""
    warnings: tuple[str, ...]
    """What is suspicious, each with the key to look at."""


def inspect_raster(
    source: Files,
    name: str,
    entry: Rasters,
    tiles: Sequence[Tile] = (),
    date: str | None = None,
) -> Inspection:
    """Return what one raster entry would give.

    Args:
        source: With the files found.
        name: A modality, or a task with a pixel-level target, that has the entry.
        entry: One of the configuration's.
        tiles: To look at the first of them that the files reach.
        date: Anchor date of the window, `YYYY-MM-DD` or intervals; the file's own without it.
    """
    index, layer = source.index(name), source.layer(name)
    products = [product for product in index.products if product.entry == entry]
    broken = tuple(found for found in index.broken if found.entry == entry)
    own = Index(tuple(products), broken)
    problems = [str(found.reason) for found in broken]
    dates, undated = _dates(products)
    problems += undated
    window: Window | None = None
    empty: list[str] = []
    for tile in _looked_at(own, tiles, source.grid) if products else ():
        try:
            when = date or (dates or [_ANY_DATE])[0]
            seen = observation(layer, own, tile, when, source.name)
            window = Window(tile, seen, _values(seen))
            break
        except NoDataError:
            empty = ["nodata: no value in the windows looked at; check nodata:, bands: and crs:"]
        except MMEarthError as exc:
            problems.append(str(exc))
            break
    facts = _bands(products[0]) if products else ()
    return Inspection(
        name=name,
        path=entry.path,
        product=entry.product,
        files=tuple(product.name for product in products),
        problems=tuple(dict.fromkeys(problems)),
        footprint=_around(products),
        dates=tuple(dates),
        bands=facts,
        window=window,
        warnings=(*(empty if window is None else ()), *_warnings(layer, entry, products, window)),
    )


def _dates(products: Sequence[Product]) -> tuple[list[str], list[str]]:
    """Return the dates of products, and one sentence where one cannot be found."""
    dates: set[str] = set()
    for product in products:
        try:
            dates |= {date for date in [acquired(product)] if date is not None}
        except ConfigError as exc:
            return sorted(dates), [str(exc)]
    return sorted(dates), []


def _looked_at(index: Index, tiles: Sequence[Tile], grid: Grid) -> Iterator[Tile]:
    """Yield tiles to look at until one has a value: bounds reach farther than pixels."""
    yield from islice((tile for tile in tiles if index.near(tile)), _TRIED)
    yield _middle(index.products[0], grid)


def _middle(product: Product, grid: Grid) -> Tile:
    west, south, east, north = product.bounds
    lon = ((west + east) / 2.0 + 180.0) % 360.0 - 180.0
    return Tile.at(lon, min(83.9, max(-79.9, (south + north) / 2.0)), grid)


def _around(products: Sequence[Product]) -> Bounds | None:
    if not products:
        return None
    sides = list(zip(*(product.bounds for product in products), strict=True))
    return min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])


def _bands(product: Product) -> tuple[BandFacts, ...]:
    return tuple(
        BandFacts(
            ours=found.ours,
            file=product.name if found.raster == "" else product.rasters[found.raster].name,
            number=found.number,
            how=found.how,
            unit=found.unit,
            scale=found.scale,
            offset=found.offset,
            nodata=found.nodata,
        )
        for found in product.readings
    )


def _values(seen: Observation) -> tuple[BandValues, ...]:
    bands, array = seen.layer.bands, seen.array.reshape(len(seen.array), -1)
    found = []
    for band, stored in zip(bands, array, strict=True):
        known = stored[seen.layer.valid(stored)].astype(np.float64)
        low, middle, high = (
            (float(known.min()), float(np.median(known)), float(known.max()))
            if known.size
            else (None, None, None)
        )
        share = known.size / stored.size
        found.append(BandValues(band.name, band.unit, band.valid, share, low, middle, high))
    return tuple(found)


def _warnings(
    layer: Layer, entry: Rasters, products: Sequence[Product], window: Window | None
) -> list[str]:
    """Return what is suspicious of an entry, each with the key to look at."""
    found: list[str] = []
    if not products:
        return found
    first = products[0]
    if any(product.crs_told for product in products):
        found.append(f"crs: {entry.crs} is used in place of what the files declare")
    found += _bands_in_doubt(layer, first)
    shapes = {tuple((r.ours, r.number, r.unit, r.scale) for r in p.readings) for p in products}
    if len(shapes) > 1:
        found.append(
            f"bands: the files are of {len(shapes)} kinds, by their bands, units or scales"
        )
    if window is not None:
        found += _values_in_doubt(layer, entry, window)
    return found


def _bands_in_doubt(layer: Layer, product: Product) -> list[str]:
    """Return where the file's descriptions or no-data values do not tell what was taken."""
    found = []
    for raster, path in product.rasters.items():
        readings = {r.number: r for r in product.readings if r.raster == raster}
        bands = read_header(path, product.entry).bands
        said = {b.number: b.description for b in bands if b.description and b.number in readings}
        for band in bands:
            lost = [n for n in band.nodata if band.number in readings and not fits(n, band.dtype)]
            if lost:
                found.append(
                    f"nodata: {path.name} declares {lost[0]:g}, which its {band.dtype} cannot hold"
                )
                break
        for number, text in said.items():
            other = band_of(layer, text)
            taken = readings[number]
            if taken.how == "bands:" and other is not None and other != taken.ours:
                found.append(
                    f"bands: {taken.ours} is band {number}, which is described as {text!r}"
                )
        if said and all(readings[n].how == "number" for n in said) and len(set(said.values())) > 1:
            told = ", ".join(str(text) for text in said.values())
            found.append(f"bands: taken in order, described as {told}")
    return found


def _values_in_doubt(layer: Layer, entry: Rasters, window: Window) -> list[str]:
    known = [band for band in window.bands if band.low is not None]
    array: NDArray[np.generic] = window.observation.array
    lows = [band.low for band in known if band.low is not None]
    highs = [band.high for band in known if band.high is not None]
    if not known:
        return []
    found = []
    zeros = float(np.mean(array == 0))
    name, continuous = layer.name, not layer.classes
    if continuous and array.ndim > 1 and zeros > _MANY_ZEROS and name != "aster_gdem":
        found.append(f"nodata: {zeros:.0%} of the values are 0; if that means no data, nodata: 0")
    if name == "sentinel2" and min(lows) >= _OFFSET_DN and entry.offset is None:
        found.append(
            f"offset: no value is below {min(lows):g}, as where processing baseline 04.00 has "
            "added 1000; offset: auto, or offset: -1000"
        )
    if name == "precipitation" and 0 < highs[-1] < _DRY_YEAR_M:
        found.append(
            f"unit: the year has {highs[-1]:g} m; monthly means of ERA5-Land are metres a day "
            "although they say m: unit: m/day"
        )
    return found
