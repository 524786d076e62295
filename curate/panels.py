"""What an observation looks like: pictures and lines of text, by what its layer says of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmearth.catalog.layer import Layer
from mmearth.catalog.sample import Observation
from mmearth.curate.sheet import EMPTY, Panel, Rgb, colour, missing, wrap

# Anchor colours of matplotlib's viridis, CC0: dark is low, light is high.
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_OPTICAL = (("", ("red", "green", "blue")), ("infrared", ("nir", "red", "green")))
"""Word of the title, and the common names of what is red, green and blue in the picture."""
_VV, _VH, _RATIO = (-22, 0), (-28, -6), (2, 14)
"""dB of two polarisations and of their difference: what is dark, and what is light."""
_ORBITS = {"asc": "ascending", "desc": "descending"}
_MOST = 4
"""Bands of a layer that have a picture each."""
_SHORT_M, _LONG_M = 0.1, 10
"""A layer that has a length below and none above, such as rain, is told in millimetres."""

Grey = NDArray[np.float64]
"""Values of one band, (row, col); NaN where absent."""


def pictures(seen: Observation, name: str) -> list[Panel]:
    """Return the pictures of an observation with pixels.

    Classes have their colours. Bands that the catalogue calls red, green, blue and nir are what
    they are called, and VV and VH in dB are backscatter. Else three bands or more of one unit are
    one picture of the first three, and other bands have one each.

    Args:
        seen: Of a pixel-level layer.
        name: What the titles begin with.
    """
    day = f"  {seen.acquired}" if seen.acquired else ""
    return [
        replace(panel, title=f"{name} {panel.title}".rstrip() + day) for panel in _pictures(seen)
    ]


def _pictures(seen: Observation) -> Iterator[Panel]:
    """Yield the pictures, the titles still without name and day."""
    layer = seen.layer
    n, units = len(layer.bands), {band.unit for band in layer.bands}
    if not layer.classes and (trios := list(_optical(layer))):
        for word, bands in trios:
            yield _composite(seen, bands, word)
    elif pairs := list(_radar(layer)):
        for word, vv, vh in pairs:
            yield _backscatter(seen, vv, vh, word)
    elif not layer.classes and n > 2 and len(units) == 1:
        yield _composite(seen, (0, 1, 2), "", f" of {n} bands" if n > 3 else "")
    else:
        for i, band in enumerate(layer.bands[:_MOST]):
            panel = _classes(seen, i) if layer.classes else _ramp(seen, i)
            more = (f"and {n - _MOST} bands more",) if i + 1 == _MOST < n else ()
            yield replace(panel, title=band.name if n > 1 else "", notes=(*panel.notes, *more))


def _optical(layer: Layer) -> Iterator[tuple[str, list[int]]]:
    named = {band.common_name: i for i, band in enumerate(layer.bands)}
    for word, colours in _OPTICAL:
        if set(colours) <= named.keys():
            yield word, [named[each] for each in colours]


def _radar(layer: Layer) -> Iterator[tuple[str, int, int]]:
    names = layer.band_names
    for i, band in enumerate(layer.bands):
        before, mate = band.name.removesuffix("VV"), f"{band.name.removesuffix('VV')}VH"
        if band.unit == "dB" and band.name.endswith("VV") and mate in names:
            word = before.strip("_")
            yield _ORBITS.get(word, word), i, names.index(mate)


def _composite(seen: Observation, bands: Sequence[int], word: str, of: str = "") -> Panel:
    """Return a panel of three bands; one that is constant says so, and is grey."""
    values = [_stored(seen, i) for i in bands]
    if any(np.isnan(band).all() for band in values):
        return missing(word, "no pixel has a value")
    names = [seen.layer.bands[i].name for i in bands]
    flat = [
        f"{name} {known[0]:g}"
        for name, band in zip(names, values, strict=True)
        if (known := np.unique(band[~np.isnan(band)])).size == 1
    ]
    notes = [f"{' '.join(names)}{of}, 2 to 98 % stretch"]
    notes += [f"constant: {', '.join(flat)}"] * bool(flat)
    return Panel(word, _rgb(np.stack([_stretch(band) for band in values])), tuple(notes))


def _backscatter(seen: Observation, i_vv: int, i_vh: int, word: str) -> Panel:
    vv, vh = _stored(seen, i_vv), _stored(seen, i_vh)
    if np.isnan(vv).all():
        return missing(word, "this orbit has no scene")
    parts = (_range(vv, *_VV), _range(vh, *_VH), _range(vv - vh, *_RATIO))
    return Panel(word, _rgb(np.stack(parts)), ("VV -22 to 0 dB, VH -28 to -6 dB, VV-VH",))


def _ramp(seen: Observation, i: int) -> Panel:
    """Return a panel of one band, its lowest and highest value written below."""
    band = seen.layer.bands[i]
    values = _stored(seen, i) * band.scale + band.offset
    if np.isnan(values).all():
        return missing("", "no pixel has a value")
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    digits = ".1f" if high - low > 0.5 else ".3g"
    said = f"{low:{digits}} to {high:{digits}}" if low < high else f"constant: {low:g}"
    return Panel("", _viridis(_range(values, low, high)), (f"{said} {_unit(band.unit)}".rstrip(),))


def _classes(seen: Observation, i: int) -> Panel:
    """Return a panel of class colours, the classes that are there explained below."""
    layer, codes = seen.layer, seen.array[i]
    valid = layer.valid(codes)
    colours = np.array([EMPTY, *map(colour, layer.classes)], dtype=np.uint8)
    places = np.zeros(codes.shape, dtype=np.int64)
    places[valid] = 1 + layer.class_indices(codes[valid])
    counts = np.bincount(places.ravel(), minlength=len(colours))[1:].tolist()
    present = sorted(
        (each for each in zip(layer.classes, counts, strict=True) if each[1]),
        key=lambda each: -each[1],
    )
    return Panel("", colours[places], (), tuple(entry for entry, _ in present))


def value_lines(seen: Observation) -> list[str]:
    """Return an observation without pixels as lines of text: values with units, or classes."""
    layer, valid = seen.layer, seen.layer.valid(seen.array)
    one = len(layer.bands) == 1
    if layer.classes:
        names = [layer.name if one else f"{layer.name} {band.name}" for band in layer.bands]
        said = [
            _class_lines(layer, name, code if there else None)
            for name, code, there in zip(names, seen.array.tolist(), valid, strict=True)
        ]
        return [line for lines in said for line in lines]
    stored = np.where(valid, seen.array.astype(np.float64), np.nan)
    scale, offset = (np.array([getattr(b, n) for b in layer.bands]) for n in ("scale", "offset"))
    values = stored * scale + offset
    units = [band.unit for band in layer.bands]
    lengths = np.abs(values[[unit == "m" for unit in units] & valid])
    if lengths.size and lengths.min() < _SHORT_M and lengths.max() < _LONG_M:
        values *= [1000.0 if unit == "m" else 1.0 for unit in units]
        units = ["mm" if unit == "m" else unit for unit in units]
    told = [
        "-" if np.isnan(value) else _told(value, unit)
        for value, unit in zip(values.tolist(), units, strict=True)
    ]
    if one:
        return [f"{layer.name}\t{told[0]}"]
    names = [band.name.replace("_", " ") for band in layer.bands]
    return [layer.name, *(f"  {n}\t{value}" for n, value in zip(names, told, strict=True))]


def _class_lines(layer: Layer, name: str, code: int | None) -> list[str]:
    if code is None:
        return [f"{name}\tno data"]
    return [f"{name} {code}", *wrap(layer.classes[layer.codes.index(code)].name)]


def _stored(seen: Observation, i: int) -> Grey:
    """Return a band as it is stored, NaN where it is absent."""
    return np.where(seen.layer.valid(seen.array[i]), seen.array[i].astype(np.float64), np.nan)


def _told(value: float, unit: str) -> str:
    number = f"{value:.1f}" if abs(value) >= 1 else f"{value:.3g}"
    return f"{number} {_unit(unit)}".rstrip()


def _unit(unit: str) -> str:
    return {"1": "", "deg": "°"}.get(unit, unit)


def _stretch(values: Grey) -> Grey:
    """Map the 2nd to the 98th percentile to 0 to 1."""
    low, high = np.percentile(values[~np.isnan(values)], (2, 98))
    return _range(values, float(low), float(high))


def _range(values: Grey, low: float, high: float) -> Grey:
    """Map low to high to 0 to 1; the middle, where they are the same."""
    if low == high:
        return np.asarray(np.clip(values - low + 0.5, 0.0, 1.0))
    return np.asarray(np.clip((values - low) / (high - low), 0.0, 1.0))


def _rgb(parts: NDArray[np.float64]) -> Rgb:
    """Return colours of three bands in 0 to 1; no data in pale grey."""
    empty = np.isnan(parts).any(axis=0)
    colours = (np.nan_to_num(parts) * 255.0).astype(np.uint8).transpose(1, 2, 0).copy()
    colours[empty] = EMPTY
    return colours


def _viridis(part: Grey) -> Rgb:
    stops = np.linspace(0.0, 1.0, len(_VIRIDIS))
    filled = np.nan_to_num(part)
    parts = [np.interp(filled, stops, [c[i] for c in _VIRIDIS]) / 255.0 for i in range(3)]
    colours = np.stack(parts)
    colours[:, np.isnan(part)] = np.nan
    return _rgb(colours)
