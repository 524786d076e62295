"""Which layers and tasks are possible: the rules of declarations and catalogue files alike."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from mmearth.catalog.layer import Band, Layer
from mmearth.catalog.task import METRICS, Task

DTYPES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32"),
    *("float32", "float64"),
)
"""What an array may be of; class codes only of whole numbers up to 32 bits."""
MOST_BANDS = 1024
"""Bands of a layer."""
MOST_CLASSES = 65_536
"""Classes of a layer."""
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def impossible(layer: Layer) -> str | None:
    """Return why no array could be of such a layer, as a clause; None where one could."""
    if layer.dtype not in DTYPES:
        return f"dtype is {layer.dtype!r}, expected one of {', '.join(DTYPES)}"
    if not 1 <= len(layer.bands) <= MOST_BANDS:
        return f"it has {len(layer.bands)} bands, expected 1 to {MOST_BANDS}"
    names = layer.band_names
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        return "two bands have one name, or one has none; expected a name of its own for each"
    if layer.nodata is not None and not _is_exact(layer.nodata, layer.dtype):
        return f"nodata {layer.nodata:g} is no {layer.dtype}"
    for band in layer.bands:
        if reason := _impossible_band(band, layer):
            return f"band {band.name}: {reason}"
    if layer.kind == "categorical" or layer.classes:
        return _impossible_classes(layer)
    return None


def impossible_task(task: Task) -> str | None:
    """Return why no target could be of such a task, as a clause; None where one could."""
    target, kind = task.target, task.kind
    if target.name != task.name:
        return f"its target is named {target.name!r}, expected the task's name"
    if target.level not in METRICS[kind]:
        return f"it is {kind}, and its target has the level {target.level}"
    if bool(target.classes) != (kind != "regression"):
        return f"it is {kind}, and its target has {len(target.classes)} classes"
    if kind == "multilabel" and target.codes != (0, 1):
        return "it is multilabel, and the classes of its target are not 0 and 1"
    if len(target.bands) > 1 and (target.is_pixel or kind == "classification"):
        return f"its target has {len(target.bands)} bands, expected 1"
    known = METRICS[kind][target.level]
    if not task.metrics or not set(task.metrics) <= set(known):
        return (
            f"metrics is {', '.join(task.metrics) or 'empty'}, expected some of {', '.join(known)}"
        )
    return impossible(target)


def _impossible_band(band: Band, layer: Layer) -> str | None:
    low, high = band.valid
    if not low < high and not (layer.classes and low == high):
        return f"valid is {low:g} to {high:g}, expected a lowest and a higher highest value"
    if not all(_holds(layer.dtype, limit) for limit in band.valid):
        return f"valid is {low:g} to {high:g}, which {layer.dtype} cannot hold"
    if band.scale == 0.0:
        return "scale is 0, expected another number"
    if any(size is not None and size <= 0 for size in (band.native_m, band.wavelength_nm)):
        return "native_m or wavelength_nm is not above 0"
    return None


def _impossible_classes(layer: Layer) -> str | None:
    codes = layer.codes
    if layer.kind != "categorical":
        return f"it has classes, and is {layer.kind}; expected kind categorical"
    if np.dtype(layer.dtype).kind == "f":
        return f"it has classes, and dtype {layer.dtype}; expected whole numbers"
    if not 1 <= len(codes) <= MOST_CLASSES:
        return f"it has {len(codes)} classes, expected 1 to {MOST_CLASSES}"
    if sorted(set(codes)) != list(codes):
        return "its class codes do not rise; expected each code once, in order"
    if {band.valid for band in layer.bands} != {(codes[0], codes[-1])}:
        return f"valid is not {codes[0]} to {codes[-1]}, from the first class code to the last"
    if layer.nodata in codes:
        return f"nodata {layer.nodata:g} is a class code; choose another"
    names = [entry.name for entry in layer.classes]
    if len(set(names)) < len(names):
        return "two classes have one name; expected a name of its own for each"
    if not all(_COLOR.fullmatch(entry.color) for entry in layer.classes):
        return "a class colour is not like #1f77b4"
    return None


def _is_exact(value: float, dtype: str) -> bool:
    """Return whether a type holds a value itself: float32 holds another than 0.1 for it."""
    return _holds(dtype, value) and float(np.dtype(dtype).type(value)) == value


@lru_cache  # of bands by the hundred, most of which are alike
def _holds(dtype: str, value: float) -> bool:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return abs(value) <= float(np.finfo(kind).max)
    bounds = np.iinfo(kind)
    return float(value).is_integer() and bounds.min <= value <= bounds.max
