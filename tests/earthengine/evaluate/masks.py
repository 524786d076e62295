"""Masks, and what puts values where others were: unmask, where, clip, paint, remap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from mmearth.tests.earthengine.evaluate.arithmetic import lasting, pairs
from mmearth.tests.earthengine.evaluate.coverage import centres_inside
from mmearth.tests.earthengine.evaluate.geometry import lonlat, region_of
from mmearth.tests.earthengine.evaluate.images import constant
from mmearth.tests.earthengine.evaluate.nouns import (
    Array,
    Elements,
    Lambda,
    Layer,
    Picture,
    PixelType,
    Region,
    Row,
    computed,
    refuse,
)
from mmearth.tests.earthengine.evaluate.pixel_types import BOOLEAN, NAMED, cast_to, union
from mmearth.tests.earthengine.model import Grid, Pixels

Mask = NDArray[np.bool_]


def _masked(layer: Layer, mask: Layer, grow: bool) -> Layer:
    """Return a band valid where a mask is not 0; `grow` also where the band was not."""

    def read(grid: Grid) -> Pixels:
        values, seen = layer.read(grid)
        numbers, known = mask.read(grid)
        through = known & (numbers != 0)
        if not grow:
            return values, seen & through
        return np.where(seen, values, np.zeros((), values.dtype)), through

    made = computed(layer.name, layer.kind, layer.projection, read, layer, mask)
    derived = {name: _masked(other, mask, grow) for name, other in layer.derived.items()}
    return replace(made, derived=derived)


def _with_mask(name: str, image: Picture, mask: Picture, grow: bool) -> Picture:
    if len(mask.layers) not in (1, len(image.layers)):
        raise refuse(f"Image.{name}: The mask must have one band, or as many as the image.")
    masks = mask.layers * (len(image.layers) if len(mask.layers) == 1 else 1)
    paired = zip(image.layers, masks, strict=True)
    return replace(image, layers=tuple(_masked(layer, one, grow) for layer, one in paired))


def _mask(image: Picture, mask: Picture | None) -> Picture:
    """Return the mask as an image of 0 and 1, or the image with another mask."""
    if mask is not None:
        return _with_mask("mask", image, mask, grow=True)

    def seen_of(layer: Layer) -> Layer:
        def read(grid: Grid) -> Pixels:
            seen = layer.read(grid)[1]
            return seen.astype(np.uint8), np.ones(seen.shape, np.bool_)

        return computed(layer.name, BOOLEAN, layer.projection, read, layer)

    return replace(image, layers=tuple(seen_of(layer) for layer in image.layers))


def _self_mask(image: Picture) -> Picture:
    layers = tuple(_masked(layer, layer, grow=False) for layer in image.layers)
    return replace(image, layers=layers)


def _unmask(image: Picture, value: Picture | None, same_footprint: bool) -> Picture:
    """Fill what is masked; with `same_footprint` only inside the image's outline."""
    filling = constant(0) if value is None else value
    outline = image.footprint if same_footprint else None

    def filled(layer: Layer, other: Layer) -> Layer:
        kind = union(layer.kind, other.kind)

        def read(grid: Grid) -> Pixels:
            (values, seen), (new, known) = layer.read(grid), other.read(grid)
            if outline is not None:
                known = known & centres_inside(outline, grid)
            both = np.where(seen, values.astype(kind.dtype), new.astype(kind.dtype))
            return both, seen | known

        return computed(layer.name, kind, layer.projection, read, layer, other)

    layers = tuple(filled(layer, other) for _, layer, other in pairs("unmask", image, filling))
    if same_footprint or image.footprint is None or filling.footprint is None:
        return Picture(layers, image.properties, image.footprint if same_footprint else None)
    both = lonlat(image.footprint).union(lonlat(filling.footprint))
    return Picture(layers, image.properties, Region(both))


def _where(image: Picture, test: Picture, value: Picture) -> Picture:
    """Put other values where a test is neither 0 nor masked, and the value is not either."""
    count = len(image.layers)
    tests = test.layers * (count if len(test.layers) == 1 else 1)
    values = value.layers * (count if len(value.layers) == 1 else 1)
    if len(tests) != count or len(values) != count:
        raise refuse("Image.where: 'test' and 'value' need one band, or as many as 'input'.")

    def changed(layer: Layer, when: Layer, what: Layer) -> Layer:
        kind = union(layer.kind, what.kind)

        def read(grid: Grid) -> Pixels:
            (old, seen), (flag, sure), (new, known) = (
                one.read(grid) for one in (layer, when, what)
            )
            hit = sure & (flag != 0) & known
            return np.where(hit, new.astype(kind.dtype), old.astype(kind.dtype)), seen

        return computed(layer.name, kind, layer.projection, read, layer, when, what)

    threes = zip(image.layers, tests, values, strict=True)
    return replace(image, layers=tuple(changed(*three) for three in threes))


def clip(image: Picture, geometry: Any) -> Picture:
    """Mask the pixels whose centres lie outside a region."""
    region = region_of(geometry)
    if region is None:
        raise refuse("Image.clip: The geometry has no extent.")
    outside = region

    def clipped(layer: Layer) -> Layer:
        def read(grid: Grid) -> Pixels:
            values, seen = layer.read(grid)
            return values, seen & centres_inside(outside, grid)

        derived = {name: clipped(other) for name, other in layer.derived.items()}
        made = computed(layer.name, layer.kind, layer.projection, read, layer)
        return replace(made, derived=derived)

    outline = lonlat(region)
    if image.footprint is not None:
        outline = shapely.intersection(lonlat(image.footprint), outline)
    layers = tuple(clipped(layer) for layer in image.layers)
    return Picture(layers, image.properties, Region(outline))


def _limits(image: Picture, low: float, high: float) -> Picture:
    def clamped(layer: Layer) -> Layer:
        whole = layer.kind.precision == "int"
        kind = PixelType("int", max(layer.kind.low, low), min(layer.kind.high, high))
        made = kind if whole and low == int(low) and high == int(high) else NAMED["double"]
        made = made if whole else layer.kind

        def read(grid: Grid) -> Pixels:
            values, seen = layer.read(grid)
            wide = values.astype(np.float64)
            return np.clip(wide, low, high).astype(made.dtype), seen

        return computed(layer.name, made, layer.projection, read, layer)

    layers = tuple(clamped(layer) for layer in image.layers)
    return Picture(layers, lasting(image), image.footprint)


def _numbers(values: list[Any]) -> PixelType:
    """Return the type of an image of some constants."""
    if all(isinstance(value, int) for value in values):
        return PixelType("int", min(values), max(values))
    return NAMED["double"]


def _remap(
    image: Picture, old: list[Any], new: list[Any], default: Any, band: str | None
) -> Picture:
    """Exchange values; those that are not listed get the default, else are masked."""
    if len(old) != len(new):
        raise refuse("Image.remap: 'from' and 'to' must have the same number of values.")
    chosen = [one for one in image.layers if band is None or one.name == band]
    if not chosen:
        raise refuse(f"Image.remap: Band '{band}' is not in the image.")
    layer = chosen[0]
    extra = [] if default is None else [default]
    if extra and not isinstance(default, int | float):
        raise refuse("Image.remap: only a number is known here as 'defaultValue'.")
    kind = _numbers([*new, *extra])
    order = np.argsort(np.asarray(old, dtype=np.float64), kind="stable")
    keys = np.asarray(old, dtype=np.float64)[order]
    results = np.asarray(new, dtype=np.float64)[order]

    def read(grid: Grid) -> Pixels:
        values, seen = layer.read(grid)
        place = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
        hit = keys[place] == values
        mapped = np.where(hit, results[place], 0.0 if default is None else default)
        return mapped.astype(kind.dtype), seen & hit if default is None else seen

    made = computed("remapped", kind, layer.projection, read, layer)
    return Picture((made,), lasting(image), image.footprint)


def _colours(collection: Elements, color: Any) -> list[tuple[Region, float]]:
    """Return what is painted, in order."""
    painted = []
    for item in collection.items:
        region = region_of(item)
        value = color
        if isinstance(color, str):
            value = item.properties.get(color) if isinstance(item, Row) else None
        if region is not None and isinstance(value, int | float):
            painted.append((region, value))
    return painted


def paint(image: Picture, collection: Elements, color: Any, width: Any) -> Picture:
    """Put a number where features lie: polygons at pixels' centres, points in their pixel.

    Later features cover earlier ones; pixels that are masked stay so. Bands keep their type, except
    that integers become as wide as the integers that are painted.
    """
    if width is not None:
        raise refuse("Image.paint: outlines ('width') are not known here.")
    painted = _colours(collection, color)
    kinds = _numbers([value for _, value in painted]) if painted else None

    def covered(layer: Layer) -> Layer:
        whole = layer.kind.precision == "int" and kinds is not None and kinds.precision == "int"
        kind = union(layer.kind, kinds) if whole and kinds is not None else layer.kind

        def read(grid: Grid) -> Pixels:
            values, seen = layer.read(grid)
            result: Array = values.astype(kind.dtype)
            for region, value in painted:
                result[centres_inside(region, grid)] = cast_to(value, kind)
            return result, seen

        return computed(layer.name, kind, layer.projection, read, layer)

    return replace(image, layers=tuple(covered(layer) for layer in image.layers))


FUNCTIONS: dict[str, Lambda] = {
    "Image.clamp": _limits,
    "Image.clip": clip,
    "Image.clipToCollection": clip,
    "Image.mask": _mask,
    "Image.paint": paint,
    "Image.remap": _remap,
    "Image.selfMask": _self_mask,
    "Image.unmask": _unmask,
    "Image.updateMask": lambda image, mask: _with_mask("updateMask", image, mask, grow=False),
    "Image.where": _where,
}
