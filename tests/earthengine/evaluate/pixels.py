"""Images on a grid, as bytes: NPY with a field a band, GeoTIFF."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.io import MemoryFile

from mmearth.tests.earthengine.evaluate.nouns import Picture, refuse
from mmearth.tests.earthengine.model import Grid

MOST_BYTES = 48 * 1024 * 1024
"""Of a reply. Source: developers.google.com/earth-engine/apidocs/ee-data-computepixels."""


def grid_of(wire: Mapping[str, Any]) -> Grid:
    """Return a grid as the client sends it.

    Raises:
        ServiceError: A part of it is missing.
    """
    size, affine = wire.get("dimensions", {}), wire.get("affineTransform", {})
    missing = [name for name in ("width", "height") if not size.get(name)]
    missing += [name for name in ("scaleX", "scaleY") if not affine.get(name)]
    if missing or not wire.get("crsCode"):
        raise refuse(f"Invalid pixel grid: {', '.join([*missing, 'crsCode'][:1])} must be given.")
    order = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    a, b, c, d, e, f = (float(affine.get(name, 0.0)) for name in order)
    width, height = int(size["width"]), int(size["height"])
    return Grid(str(wire["crsCode"]), (a, b, c, d, e, f), width, height)


def drawn(image: Picture, grid: Grid) -> NDArray[Any]:
    """Return (row, col) of a structure with a field a band; what is masked is 0.

    Raises:
        ServiceError: There is no band, or the reply would be too large.
    """
    if not image.layers:
        raise refuse("Image has no bands.")
    dtype = np.dtype([(layer.name, layer.kind.dtype) for layer in image.layers])
    size = dtype.itemsize * grid.width * grid.height
    if size > MOST_BYTES:
        raise refuse(
            f"Total request size ({size} bytes) must be less than or equal to {MOST_BYTES} bytes."
        )
    result = np.zeros((grid.height, grid.width), dtype)
    for layer in image.layers:
        values, seen = layer.read(grid)
        np.copyto(result[layer.name], values, casting="unsafe", where=seen)
    return result


def _npy(pixels: NDArray[Any], _: Grid) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    return buffer.getvalue()


def _geotiff(pixels: NDArray[Any], grid: Grid) -> bytes:
    """Return a GeoTIFF; all bands get the smallest type that holds them all."""
    names = list(pixels.dtype.names or ())
    dtype = np.result_type(*(pixels.dtype[name] for name in names))
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=grid.width,
            height=grid.height,
            count=len(names),
            dtype=dtype.name,
            crs=grid.crs,
            transform=Affine(*grid.transform),
        ) as file:
            for number, name in enumerate(names, start=1):
                file.write(pixels[name].astype(dtype), number)
                file.set_band_description(number, name)
        return bytes(memory.read())


FORMATS: dict[str, Callable[[NDArray[Any], Grid], bytes]] = {"GEO_TIFF": _geotiff, "NPY": _npy}
"""Encoders by the service's name of the format."""
