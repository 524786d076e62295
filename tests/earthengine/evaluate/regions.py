"""Reducing the pixels of a region to values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmearth.tests.earthengine.evaluate.coverage import centres_inside, coverage
from mmearth.tests.earthengine.evaluate.elements import with_properties
from mmearth.tests.earthengine.evaluate.geometry import in_crs, region_of
from mmearth.tests.earthengine.evaluate.lattice import (
    apply,
    inverse,
    nominal_scale,
    scaled,
    window,
)
from mmearth.tests.earthengine.evaluate.nouns import (
    Elements,
    Lambda,
    Picture,
    Projection,
    Region,
    Row,
    Stream,
    refuse,
)
from mmearth.tests.earthengine.evaluate.reducers import Column, Reducer
from mmearth.tests.earthengine.evaluate.surfaces import on_projection
from mmearth.tests.earthengine.model import Grid, ServiceError

_NOISE = 1e-6
"""In pixels: an edge this near a pixel's edge lies on it."""


def _around(region: Region, projection: Projection) -> Grid:
    """Return the pixels of a projection that a region touches."""
    shape = in_crs(region, projection.crs)
    if shape.is_empty:
        return window(projection, 0, 0, 0, 0)
    west, south, east, north = shape.bounds
    corners = np.array([[west, south], [west, north], [east, south], [east, north]])
    col, row = apply(inverse(projection.transform), corners[:, 0], corners[:, 1])
    left, top = (int(np.floor(axis.min() + _NOISE)) for axis in (col, row))
    right, bottom = (int(np.ceil(axis.max() - _NOISE)) for axis in (col, row))
    return window(projection, left, top, max(right - left, 1), max(bottom - top, 1))


def _fitting(region: Region, projection: Projection, best: bool, most: int, name: str) -> Grid:
    """Return the pixels to be reduced; coarser ones where there would be too many.

    Raises:
        ServiceError: There are more than `most`, and coarser ones are not allowed.
    """
    grid = _around(region, projection)
    while grid.width * grid.height > most:
        if not best:
            raise refuse(
                f"{name}: Too many pixels in the region. Found {grid.width * grid.height}, but "
                f"maxPixels allows only {most}.\nEnsure that you are not aggregating at a higher "
                "resolution than you intended; that is the most frequent cause of this error. If "
                "not, then you may set the 'maxPixels' argument to a limit suitable for your "
                "computation; set 'bestEffort' to true to aggregate at whatever scale results in "
                "'maxPixels' total pixels; or both."
            )
        projection = scaled(projection, nominal_scale(projection) * 2.0)
        grid = _around(region, projection)
    return grid


def _columns(image: Picture, grid: Grid, region: Region, weighted: bool) -> list[Column]:
    """Return each band's pixels and their weights, row by row."""
    share = coverage(region, grid) if weighted else centres_inside(region, grid).astype(np.float64)
    columns = []
    for layer in image.layers:
        values, seen = layer.read(grid)
        columns.append((np.ravel(values), np.ravel(np.where(seen, share, 0.0))))
    return columns


def _named(image: Picture, reducer: Reducer, columns: Sequence[Column]) -> dict[str, Any]:
    """Return the outputs by name: of bands for one input, of the reducer for several."""
    if reducer.inputs == 1:
        found: dict[str, Any] = {}
        for layer, column in zip(image.layers, columns, strict=True):
            outputs = reducer.fold([column])
            single = len(outputs) == 1
            for name, output in zip(reducer.outputs, outputs, strict=True):
                found[layer.name if single else f"{layer.name}_{name}"] = output
        return found
    if reducer.inputs != len(columns):
        raise refuse(
            f"Image.reduceRegion: The reducer has {reducer.inputs} inputs, but the image has "
            f"{len(columns)} bands."
        )
    return dict(zip(reducer.outputs, reducer.fold(columns), strict=True))


def _no_bands(name: str, reducer: Reducer) -> ServiceError:
    """Return the refusal of an image that was made of nothing (r-spatial/rgee#153)."""
    inputs = reducer.inputs
    return refuse(f"Image.{name}: Need {inputs} bands for Reducer.{reducer.name}, image has 0.")


def _target(
    image: Picture, crs: Projection | None, transform: list[float] | None, scale: float | None
) -> Projection:
    """Return the projection to work in: the first band's unless another is given."""
    return on_projection(image.layers[0].projection if crs is None else crs, transform, scale)


def reduce_region(
    image: Picture,
    reducer: Reducer,
    geometry: Region | None,
    scale: float | None,
    crs: Projection | None,
    transform: list[float] | None,
    best: bool,
    most: int,
    _: float,
) -> dict[str, Any]:
    """Return what a reducer makes of a region's pixels.

    Weighted reducers count a pixel by the share of it that lies in the region, others by its
    centre; masked pixels never count.
    """
    if not image.layers:
        raise _no_bands("reduceRegion", reducer)
    region = image.footprint if geometry is None else geometry
    if region is None:
        raise refuse("Image.reduceRegion: Please specify a geometry; the image is unbounded.")
    projection = _target(image, crs, transform, scale)
    grid = _fitting(region, projection, best, most, "Image.reduceRegion")
    columns = _columns(image, grid, region, reducer.weighted)
    return dict(sorted(_named(image, reducer, columns).items()))


def _reduce_regions(
    image: Picture,
    collection: Elements,
    reducer: Reducer,
    scale: float | None,
    crs: Projection | None,
    transform: list[float] | None,
    _: float,
    most: int | None,
) -> Elements:
    """Return the features with the outputs as properties; a single band's by the output's name."""
    if not image.layers:
        raise _no_bands("reduceRegions", reducer)
    projection = _target(image, crs, transform, scale)

    def one(item: Any) -> Any:
        region = region_of(item)
        if not isinstance(item, Row) or region is None:
            raise refuse("Image.reduceRegions: Every feature needs a geometry.")
        grid = _fitting(region, projection, False, most or 10**7, "Image.reduceRegions")
        columns = _columns(image, grid, region, reducer.weighted)
        if len(image.layers) == 1 and reducer.inputs == 1:
            made = dict(zip(reducer.outputs, reducer.fold(columns), strict=True))
        else:
            made = _named(image, reducer, columns)
        return with_properties(item, made)

    return Elements(Stream(map(one, collection.items)), False)


FUNCTIONS: dict[str, Lambda] = {
    "Image.reduceRegion": reduce_region,
    "Image.reduceRegions": _reduce_regions,
}
