"""A small archive in memory: rasters of arrays, collections and tables of lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import ArrayLike
from shapely.geometry.base import BaseGeometry

from mmearth.tests.earthengine.evaluate.lattice import offset, through
from mmearth.tests.earthengine.evaluate.nouns import Affine, Projection
from mmearth.tests.earthengine.model import Band, Feature, Grid, Image, Pixels


def raster(
    name: str,
    values: ArrayLike,
    *,
    crs: str = "EPSG:32633",
    transform: Affine = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0),
    valid: ArrayLike | None = None,
) -> Band:
    """Return a band of an array (row, col); it is masked outside."""
    pixels = np.asarray(values)
    seen = np.ones(pixels.shape, np.bool_) if valid is None else np.asarray(valid, np.bool_)
    projection = Projection(crs, transform)

    def native(grid: Grid) -> Pixels:
        place = offset(projection, grid)
        assert place is not None
        rows = np.arange(grid.height)[:, None] + place[1]
        columns = np.arange(grid.width)[None, :] + place[0]
        height, width = pixels.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
        return pixels[rows, columns], inside & seen[rows, columns]

    read = through(projection, native, "nearest")
    smooth = through(projection, native, "bilinear")
    return Band(name, pixels.dtype.name, crs, transform, read, smooth)


@dataclass
class Listed:
    """A collection of a list, which remembers what it was asked for."""

    members: Sequence[Image]
    """Its images in order."""
    asked: list[tuple[BaseGeometry | None, Sequence[tuple[int, int]] | None]] = field(
        default_factory=list
    )
    """Bounds and times of each query so far."""

    def query(
        self, bounds: BaseGeometry | None, times: Sequence[tuple[int, int]] | None
    ) -> Iterator[Image]:
        """Yield the images that touch the bounds and begin in one of the times."""
        self.asked.append((bounds, times))
        for image in self.members:
            touches = bounds is None or image.footprint is None
            start = image.properties.get("system:time_start")
            timely = times is None or (start is not None and any(a <= start < b for a, b in times))
            if timely and (touches or shapely.intersects(image.footprint, bounds)):
                yield image


@dataclass
class Rows:
    """A table of a list, which remembers what it was asked for."""

    members: Sequence[Feature]
    """Its features in order."""
    asked: list[BaseGeometry | None] = field(default_factory=list)
    """Bounds of each query so far."""

    def query(self, bounds: BaseGeometry | None) -> Iterator[Feature]:
        """Yield the features that touch the bounds."""
        self.asked.append(bounds)
        for feature in self.members:
            if bounds is None or shapely.intersects(feature.geometry, bounds):
                yield feature


@dataclass
class Memory:
    """An archive of dictionaries."""

    images: Mapping[str, Image] = field(default_factory=dict)
    """By id."""
    collections: Mapping[str, Listed] = field(default_factory=dict)
    """By id."""
    tables: Mapping[str, Rows] = field(default_factory=dict)
    """By id."""

    def image(self, asset: str) -> Image:
        """Return an image; KeyError where there is none."""
        return self.images[asset]

    def collection(self, asset: str) -> Listed:
        """Return a collection; KeyError where there is none."""
        return self.collections[asset]

    def table(self, asset: str) -> Rows:
        """Return a table; KeyError where there is none."""
        return self.tables[asset]

    def assets(self, folder: str) -> Sequence[str]:
        """Return the ids below a folder; KeyError where there are none."""
        everything = (*self.images, *self.collections, *self.tables)
        found = sorted(asset for asset in everything if asset.startswith(f"{folder}/"))
        if not found:
            raise KeyError(folder)
        return found
