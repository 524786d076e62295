"""One image of many: mosaics, and reducers over a collection or over bands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from mmearth.tests.earthengine.evaluate.arithmetic import lasting
from mmearth.tests.earthengine.evaluate.elements import identity
from mmearth.tests.earthengine.evaluate.nouns import (
    WHOLE_DEGREES,
    Elements,
    Lambda,
    Layer,
    Picture,
    PixelType,
    Projection,
    Stream,
    refuse,
)
from mmearth.tests.earthengine.evaluate.pixel_types import union
from mmearth.tests.earthengine.evaluate.reducers import SIMPLE, Reducer, Stack, stack_last
from mmearth.tests.earthengine.model import Grid, Pixels


def pictures(collection: Elements) -> list[Picture]:
    """Return the images of a collection.

    Raises:
        ServiceError: Something in it is no image.
    """
    found = list(collection.items)
    if not all(isinstance(item, Picture) for item in found):
        raise refuse("ImageCollection: Expected images, found features.")
    return found


def _by_name(images: Sequence[Picture]) -> dict[str, list[Layer]]:
    """Return bands by name.

    Raises:
        ServiceError: The images do not all have the same bands.
    """
    stacks: dict[str, list[Layer]] = {}
    for image in images:
        names = [layer.name for layer in image.layers]
        first = [layer.name for layer in images[0].layers]
        if sorted(names) != sorted(first):
            raise refuse(
                "Expected a homogeneous image collection, but an image with incompatible bands "
                f"was encountered:\nFirst image type: {len(first)} bands ({first}).\nCurrent "
                f"image type: {len(names)} bands ({names}).\nSome bands might require explicit "
                "casts."
            )
        for layer in image.layers:
            stacks.setdefault(layer.name, []).append(layer)
    return stacks


def _stacked(
    name: str, layers: Sequence[Layer], stack: Stack, kind: PixelType, where: Projection
) -> Layer:
    """Return the band that a stack of bands comes to."""

    def read(grid: Grid) -> Pixels:
        pixels = [layer.read(grid) for layer in layers]
        values = np.stack([values for values, _ in pixels])
        result, seen = stack(values, np.stack([seen for _, seen in pixels]))
        return result.astype(kind.dtype, copy=False), seen

    return Layer(name, kind, where, read)


def _common(layers: Sequence[Layer]) -> PixelType:
    return reduce(union, [layer.kind for layer in layers])


def _overlaid(name: str, layers: Sequence[Layer]) -> Layer:
    """Return the mosaic of bands, the last on top; so are the slopes that the archive knows."""
    made = _stacked(name, layers, stack_last, _common(layers), WHOLE_DEGREES)
    shared = set.intersection(*(set(layer.derived) for layer in layers))
    derived = {key: _overlaid(key, [layer.derived[key] for layer in layers]) for key in shared}
    return Layer(name, made.kind, made.projection, made.read, None, derived)


def _mosaic(collection: Elements) -> Picture:
    images = pictures(collection)
    return Picture(tuple(_overlaid(name, stack) for name, stack in _by_name(images).items()))


def _stack_of(reducer: Reducer) -> Stack:
    if reducer.stack is None or reducer.inputs != 1:
        raise refuse(f"Reducer.{reducer.name} over a stack of pixels is not known here.")
    return reducer.stack


def _reduced(collection: Elements, reducer: Reducer, suffix: bool) -> Picture:
    """Return an image of each band reduced on its own."""
    stack, made = _stack_of(reducer), []
    for name, layers in _by_name(pictures(collection)).items():
        label = f"{name}_{reducer.outputs[0]}" if suffix else name
        made.append(_stacked(label, layers, stack, reducer.kind(_common(layers)), WHOLE_DEGREES))
    return Picture(tuple(made))


def _reduce(collection: Elements, reducer: Reducer, _: float) -> Picture:
    return _reduced(collection, reducer, suffix=True)


def _named(name: str) -> Lambda:
    return lambda collection: _reduced(collection, SIMPLE[name], suffix=False)


def _reduce_bands(image: Picture, reducer: Reducer) -> Picture:
    """Return an image of one band: its bands reduced at each pixel."""
    if not image.layers:
        raise refuse("Image.reduce: The image has no bands.")
    kind = reducer.kind(_common(image.layers))
    where = image.layers[0].projection
    made = _stacked(reducer.outputs[0], image.layers, _stack_of(reducer), kind, where)
    return Picture((made,), lasting(image), image.footprint)


def _to_bands(collection: Elements) -> Picture:
    """Return all bands of all images, named by image and band."""
    layers = [
        Layer(f"{identity(image)}_{layer.name}", layer.kind, layer.projection, layer.read)
        for image in pictures(collection)
        for layer in image.layers
    ]
    return Picture(tuple(layers))


def _from_images(images: list[Any]) -> Elements:
    if not all(isinstance(image, Picture) for image in images):
        raise refuse("ImageCollection.fromImages: Expected images.")
    return Elements(Stream(images), True)


FUNCTIONS: dict[str, Lambda] = {
    "Image.reduce": _reduce_bands,
    "ImageCollection.fromImages": _from_images,
    "ImageCollection.mosaic": _mosaic,
    "ImageCollection.reduce": _reduce,
    "ImageCollection.toBands": _to_bands,
    **{
        f"reduce.{name}": _named(name) for name in ("count", "max", "mean", "median", "min", "mode")
    },
    **{f"reduce.{name}": _named(name) for name in ("product", "sum")},
}
