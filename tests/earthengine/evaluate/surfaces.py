"""Projections of images: default, forced, interpolated; and slopes, which need neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mmearth.tests.earthengine.evaluate.arithmetic import lasting
from mmearth.tests.earthengine.evaluate.lattice import nominal_scale, scaled, through
from mmearth.tests.earthengine.evaluate.nouns import (
    Affine,
    Array,
    Lambda,
    Layer,
    Picture,
    Projection,
    computed,
    refuse,
)
from mmearth.tests.earthengine.evaluate.pixel_types import NAMED, cast_to
from mmearth.tests.earthengine.model import Grid, Pixels


def _projection(image: Picture) -> Projection:
    found = {layer.projection for layer in image.layers}
    if len(found) != 1:
        raise refuse(
            "Image.projection: The bands of the specified image contains different projections. "
            "Use Image.select to pick a single band."
        )
    return found.pop()


def on_projection(
    projection: Projection, transform: list[float] | None, scale: float | None
) -> Projection:
    """Return a projection with another transform, or of another scale in metres."""
    if transform is not None and scale is not None:
        raise refuse("'crsTransform' and 'scale' are mutually exclusive.")
    if transform is not None:
        if len(transform) != 6:
            raise refuse(f"'crsTransform' must have 6 numbers, not {len(transform)}.")
        return Projection(projection.crs, affine(transform))
    return projection if scale is None else scaled(projection, scale)


def affine(numbers: list[float]) -> Affine:
    """Return six numbers as an affine."""
    a, b, c, d, e, f = (float(number) for number in numbers)
    return (a, b, c, d, e, f)


def _make_projection(crs: Any, transform: list[float] | None, wkt: str | None) -> Projection:
    if wkt is not None or not isinstance(crs, str | Projection):
        raise refuse("Projection: only a code and a list of six numbers are known here.")
    base = crs if isinstance(crs, Projection) else Projection(crs)
    return on_projection(base, transform, None)


def _set_projection(
    image: Picture, crs: Projection, transform: list[float] | None, scale: float | None
) -> Picture:
    target = on_projection(crs, transform, scale)
    layers = tuple(
        computed(layer.name, layer.kind, target, layer.read, layer) for layer in image.layers
    )
    return replace(image, layers=layers)


def _reproject(
    image: Picture, crs: Projection, transform: list[float] | None, scale: float | None
) -> Picture:
    """Compute an image on one lattice, whatever is asked for; others sample that."""
    target = on_projection(crs, transform, scale)
    layers = tuple(
        Layer(layer.name, layer.kind, target, through(target, layer.read, "nearest"))
        for layer in image.layers
    )
    return replace(image, layers=layers)


INTEGERS: dict[str, Callable[[Array], Array] | None] = {
    "fractions": None,
    "rounded": np.rint,
    "truncated": np.trunc,
}
"""What might become of integers between pixels: no public page says what the service does. With
None the band becomes one of fractions, else it keeps its type."""


def resampling(integers: str) -> Lambda:
    """Return Image.resample by one reading of INTEGERS."""
    whole = INTEGERS[integers]
    return lambda image, mode: _resample(image, mode, whole)


def _resample(image: Picture, mode: str, whole: Callable[[Array], Array] | None) -> Picture:
    """Interpolate where pixels are not those of the image's own projection.

    The archive's own interpolation is used for its bilinear bands.
    """
    if mode not in ("bilinear", "bicubic"):
        raise refuse(f"Image.resample: Unknown resampling mode: {mode}.")

    def one(layer: Layer) -> Layer:
        known = layer.smooth if mode == "bilinear" else None
        between = known or through(layer.projection, layer.read, mode)
        fractions = whole is None and layer.kind.precision == "int"
        kind = NAMED["double"] if fractions else layer.kind

        def read(grid: Grid) -> Pixels:
            values, seen = between(grid)
            if whole is not None and kind.precision == "int" and values.dtype.kind == "f":
                values = cast_to(whole(values), kind)
            return values.astype(kind.dtype, copy=False), seen

        return replace(layer, kind=kind, read=read, smooth=None)

    return replace(image, layers=tuple(one(layer) for layer in image.layers))


def slope(image: Picture) -> Picture:
    """Return the slope in degrees by central differences on the elevation's own lattice.

    The archive's own slope is used where it has one.
    """
    if not image.layers:
        raise refuse("Terrain.slope: The image has no bands.")
    elevation = image.layers[0]
    known = elevation.derived.get("slope")
    projection = elevation.projection
    if known is None:
        native = _gradient(elevation)
        known = Layer("slope", NAMED["float"], projection, through(projection, native, "nearest"))
    return Picture((replace(known, name="slope"),), lasting(image), image.footprint)


def _gradient(elevation: Layer) -> Callable[[Grid], Pixels]:
    """Return a reader of slopes on the elevation's own lattice; one pixel more is read around."""

    def read(grid: Grid) -> Pixels:
        a, b, c, d, e, f = grid.transform
        corner = (c - a - b, f - d - e)
        wider = Grid(grid.crs, (a, b, corner[0], d, e, corner[1]), grid.width + 2, grid.height + 2)
        heights, seen = elevation.read(wider)
        heights = heights.astype(np.float64)
        size = nominal_scale(elevation.projection)
        across = np.full((grid.height, 1), size)
        if size != abs(a):  # degrees: meridians meet at the poles
            rows = f + e * (np.arange(grid.height) + 0.5)
            across = size * np.maximum(np.cos(np.radians(rows)), 1e-9)[:, None]
        east = (heights[1:-1, 2:] - heights[1:-1, :-2]) / (2.0 * across)
        south = (heights[2:, 1:-1] - heights[:-2, 1:-1]) / (2.0 * size * abs(e / a))
        whole = seen[1:-1, 1:-1] & seen[1:-1, 2:] & seen[1:-1, :-2] & seen[2:, 1:-1]
        angle = np.degrees(np.arctan(np.hypot(east, south))).astype(np.float32)
        return np.where(whole & seen[:-2, 1:-1], angle, np.float32(0)), whole & seen[:-2, 1:-1]

    return read


FUNCTIONS: dict[str, Lambda] = {
    "Image.projection": _projection,
    "Image.reproject": _reproject,
    "Image.resample": resampling("rounded"),
    "Image.setDefaultProjection": _set_projection,
    "Projection": _make_projection,
    "Projection.atScale": scaled,
    "Projection.crs": lambda projection: projection.crs,
    "Projection.nominalScale": nominal_scale,
    "Terrain.slope": slope,
}
