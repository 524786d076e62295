"""What a loopback Earth Engine holds: images as functions of a grid, collections, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry


class ServiceError(Exception):
    """An answer other than 200, as the service words it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        """Of HTTP."""
        self.reason = reason
        """`INVALID_ARGUMENT`, `NOT_FOUND` …"""
        self.message = message
        """For the reader."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels to be computed."""

    crs: str
    """`EPSG:32633`."""
    transform: tuple[float, float, float, float, float, float]
    """Affine, x = a·col + b·row + c, y = d·col + e·row + f: (a, b, c, d, e, f)."""
    width: int
    """Columns."""
    height: int
    """Rows."""


Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values and where they are valid, (row, col) each."""


@dataclass(frozen=True, slots=True)
class Band:
    """One band of an image."""

    name: str
    """As the collection calls it."""
    pixel_type: str
    """NumPy's name of its type: `uint16`, `float32`, `float64`, `uint8` …"""
    crs: str
    """Of its own projection."""
    transform: tuple[float, float, float, float, float, float]
    """Of its own projection."""
    read: Callable[[Grid], Pixels]
    """Renders it on a grid, by nearest neighbour where the grid is not its own."""
    smooth: Callable[[Grid], Pixels] | None = None
    """Renders it by bilinear interpolation; None where that is the same as `read`."""
    derived: Mapping[str, Band] = field(default_factory=dict)
    """What the service would compute of its neighbouring pixels, by name (`slope`), where the
    archive knows better than finite differences of the band's own pixels."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image: bands, properties and where it lies."""

    bands: tuple[Band, ...]
    """In order."""
    properties: dict[str, Any] = field(default_factory=dict)
    """With `system:index`, `system:id`, `system:time_start` (ms), `system:version` …"""
    footprint: BaseGeometry | None = None
    """Outline in EPSG:4326; None is everywhere."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A row of a table."""

    geometry: BaseGeometry | None
    """In EPSG:4326."""
    properties: dict[str, Any]
    """By name."""


class Collection(Protocol):
    """Images, found by place and time; too many to be listed without both."""

    def query(
        self, bounds: BaseGeometry | None, times: Sequence[tuple[int, int]] | None
    ) -> Iterator[Image]:
        """Yield the images that touch `bounds` (EPSG:4326) and begin in one of `times`.

        Args:
            bounds: None for anywhere: refused where there would be too many.
            times: Half-open intervals in milliseconds since 1970; None for any time.
        """


class Table(Protocol):
    """Features, found by place."""

    def query(self, bounds: BaseGeometry | None) -> Iterator[Feature]:
        """Yield the features that touch `bounds` (EPSG:4326); None for all."""


class Archive(Protocol):
    """All assets by id; the KeyError of an unknown one becomes the service's own message."""

    def image(self, asset: str) -> Image:
        """Return one image, of a collection or alone."""

    def collection(self, asset: str) -> Collection:
        """Return a collection of images."""

    def table(self, asset: str) -> Table:
        """Return a table."""

    def assets(self, folder: str) -> Sequence[str]:
        """Return the ids of what a folder holds; KeyError where it is none."""
