"""Images: from the archive, of constants; their bands."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mmearth.tests.earthengine.evaluate import charges
from mmearth.tests.earthengine.evaluate.nouns import (
    WHOLE_DEGREES,
    Lambda,
    Layer,
    Picture,
    PixelType,
    Projection,
    Region,
    computed,
    refuse,
)
from mmearth.tests.earthengine.evaluate.pixel_types import NAMED, cast_to
from mmearth.tests.earthengine.model import Band, Grid, Image, Pixels


def _remembered(read: Callable[[Grid], Pixels]) -> Callable[[Grid], Pixels]:
    """Return a reader that asks the archive once for each grid."""
    known: dict[Grid, Pixels] = {}

    def recall(grid: Grid) -> Pixels:
        if grid not in known:
            charges.count(grid.width * grid.height)
            known[grid] = read(grid)
        return known[grid]

    return recall


def layer_of(band: Band) -> Layer:
    """Return a band of the archive as a layer."""
    read = _remembered(band.read)
    return Layer(
        band.name,
        NAMED[band.pixel_type],
        Projection(band.crs, band.transform),
        read,
        read if band.smooth is None else _remembered(band.smooth),
        {name: layer_of(other) for name, other in band.derived.items()},
    )


def picture_of(image: Image) -> Picture:
    """Return an image of the archive."""
    footprint = None if image.footprint is None else Region(image.footprint)
    return Picture(tuple(layer_of(band) for band in image.bands), image.properties, footprint)


def _constant_layer(name: str, value: Any) -> Layer:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(f"Image.constant: Cannot make an image of {value!r:.60}.")
    whole = isinstance(value, int)
    kind = PixelType("int", value, value) if whole else PixelType("double")
    number = kind.dtype.type(value)

    def read(grid: Grid) -> Pixels:
        shape = (grid.height, grid.width)
        return np.broadcast_to(number, shape), np.broadcast_to(np.True_, shape)

    return Layer(name, kind, WHOLE_DEGREES, read, read)


def constant(value: Any) -> Picture:
    """Return an image of the same value everywhere; of several bands for a list."""
    if isinstance(value, list):
        names = [f"constant_{i}" for i in range(len(value))]
        pairs = zip(names, value, strict=True)
        return Picture(tuple(_constant_layer(name, item) for name, item in pairs))
    return Picture((_constant_layer("constant", value),))


def _to_image(dictionary: dict[str, Any], names: list[str] | None) -> Picture:
    chosen = sorted(dictionary) if names is None else names
    return Picture(tuple(_constant_layer(name, dictionary[name]) for name in chosen))


def _metadata(image: Picture, key: str, name: str | None) -> Picture:
    value = image.properties.get(key)
    if not isinstance(value, int | float):
        raise refuse(f"Image.metadata: The property '{key}' is not a number.")
    return Picture((_constant_layer(key if name is None else name, float(value)),))


def _matching(image: Picture, selector: Any) -> list[Layer]:
    """Return the bands that an index, a name or a pattern selects."""
    if isinstance(selector, int):
        if not 0 <= selector < len(image.layers):
            raise refuse(f"Image.select: Band index {selector} is out of bounds.")
        return [image.layers[selector]]
    found = [layer for layer in image.layers if layer.name == selector]
    if not found:
        found = [layer for layer in image.layers if re.fullmatch(selector, layer.name)]
    if not found:
        names = ", ".join(layer.name for layer in image.layers)
        raise refuse(
            f"Image.select: Band pattern '{selector}' did not match any bands. "
            f"Available bands: [{names}]"
        )
    return found


def _distinct(layers: list[Layer]) -> tuple[Layer, ...]:
    """Return the bands; a name that is there already gets a numerical suffix."""
    taken: set[str] = set()
    kept = []
    for layer in layers:
        name, number = layer.name, 0
        while name in taken:
            number += 1
            name = f"{layer.name}_{number}"
        taken.add(name)
        kept.append(layer if name == layer.name else replace(layer, name=name))
    return tuple(kept)


def _select(image: Picture, selectors: list[Any], names: list[str] | None) -> Picture:
    chosen = [layer for selector in selectors for layer in _matching(image, selector)]
    kept = Picture(_distinct(chosen), image.properties, image.footprint)
    return kept if names is None else _rename(kept, names)


def _rename(image: Picture, names: list[str]) -> Picture:
    if len(names) != len(image.layers):
        raise refuse(
            f"Image.rename: The number of names ({len(names)}) must match the number of bands "
            f"({len(image.layers)})."
        )
    if len(set(names)) != len(names):
        raise refuse("Image.rename: Band names must be unique.")
    pairs = zip(image.layers, names, strict=True)
    return replace(image, layers=tuple(replace(layer, name=name) for layer, name in pairs))


def _add_bands(image: Picture, other: Picture, names: list[str] | None, overwrite: bool) -> Picture:
    added = other.layers if names is None else _select(other, names, None).layers
    if overwrite:
        new = {layer.name: layer for layer in added}
        kept = [new.pop(layer.name, layer) for layer in image.layers]
        return replace(image, layers=(*kept, *new.values()))
    return replace(image, layers=_distinct([*image.layers, *added]))


def _cat(images: list[Any]) -> Picture:
    pictures = [item if isinstance(item, Picture) else constant(item) for item in images]
    if not pictures:
        return Picture(())
    return replace(pictures[0], layers=_distinct([one for p in pictures for one in p.layers]))


def type_of(name: Any) -> PixelType:
    """Return the pixel type that a name or a type stands for."""
    if isinstance(name, PixelType):
        return name
    if name not in NAMED:
        raise refuse(f"Image.cast: Unrecognized pixel type '{name}'.")
    return NAMED[name]


def _cast(image: Picture, types: dict[str, Any], order: list[str] | None) -> Picture:
    """Cast bands by name; a band that is not there appears, transparent."""

    def changed(layer: Layer, kind: PixelType) -> Layer:
        def read(grid: Grid) -> Pixels:
            values, seen = layer.read(grid)
            return cast_to(values, kind), seen

        return computed(layer.name, kind, layer.projection, read, layer)

    def empty(name: str) -> Layer:
        kind = type_of(types[name])

        def read(grid: Grid) -> Pixels:
            shape = (grid.height, grid.width)
            return np.zeros(shape, kind.dtype), np.zeros(shape, np.bool_)

        return Layer(name, kind, WHOLE_DEGREES, read)

    cast = {
        layer.name: changed(layer, type_of(types[layer.name])) if layer.name in types else layer
        for layer in image.layers
    }
    cast.update({name: empty(name) for name in sorted(types) if name not in cast})
    if order is not None and sorted(order) != sorted(cast):
        raise refuse("Image.cast: 'bandOrder' must match the full list of bands in the result.")
    return replace(image, layers=tuple(cast[name] for name in (order or cast)))


def _names(image: Picture) -> list[str]:
    return [layer.name for layer in image.layers]


def _types(image: Picture) -> dict[str, PixelType]:
    return {layer.name: layer.kind for layer in image.layers}


def _pixel_type(precision: Any, low: float | None, high: float | None, _: int) -> PixelType:
    if precision != "int" or low is None or high is None:
        return type_of(precision)
    return PixelType("int", math.floor(low), math.ceil(high))


_KINDS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float", "double")


FUNCTIONS: dict[str, Lambda] = {
    "Dictionary.toImage": _to_image,
    "Image.addBands": _add_bands,
    "Image.bandNames": _names,
    "Image.bandTypes": _types,
    "Image.cast": _cast,
    "Image.cat": _cat,
    "Image.constant": constant,
    "Image.metadata": _metadata,
    "Image.rename": _rename,
    "Image.select": _select,
    "PixelType": _pixel_type,
    **{f"PixelType.{name}": lambda name=name: NAMED[name] for name in _KINDS},
}
