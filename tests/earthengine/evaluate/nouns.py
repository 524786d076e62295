"""What an expression can be worth: dates, projections, regions, lazy images, rows, collections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from mmearth.tests.earthengine.model import Grid, Pixels, ServiceError

Affine = tuple[float, float, float, float, float, float]
"""x = a·col + b·row + c, y = d·col + e·row + f: (a, b, c, d, e, f)."""


def refuse(message: str) -> ServiceError:
    """Return the service's answer to an expression that cannot be evaluated."""
    return ServiceError(400, "INVALID_ARGUMENT", message)


@dataclass(frozen=True, slots=True)
class Date:
    """An instant."""

    millis: int
    """Milliseconds since 1970 in UTC."""


@dataclass(frozen=True, slots=True)
class DateRange:
    """A half-open interval."""

    start: int
    """Milliseconds since 1970, in it."""
    end: int
    """Milliseconds since 1970, no longer in it."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A reference system and a lattice of pixels in it."""

    crs: str
    """`EPSG:32633`."""
    transform: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """From pixels to coordinates."""


WHOLE_DEGREES = Projection("EPSG:4326")
"""The default projection of constants and composites."""


@dataclass(frozen=True)
class Region:
    """A geometry in its reference system."""

    shape: BaseGeometry
    """Coordinates as they were given."""
    crs: str = "EPSG:4326"
    """Of the coordinates."""
    geodesic: bool = True
    """Whether edges follow the Earth; else they are straight in `crs`."""

    @cached_property
    def memory(self) -> dict[Any, Any]:
        """What was derived of it already: projected shapes, coverage of a grid."""
        return {}


@dataclass(frozen=True, slots=True)
class PixelType:
    """What the pixels of a band may be."""

    precision: str
    """`int`, `float` or `double`."""
    low: float = -np.inf
    """Smallest value of an int."""
    high: float = np.inf
    """Largest value of an int."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type of NumPy that holds it."""
        if self.precision != "int":
            return np.dtype(np.float32 if self.precision == "float" else np.float64)
        for name in ("uint8", "int8", "uint16", "int16", "int32", "uint32"):
            limits = np.iinfo(name)
            if limits.min <= self.low and self.high <= limits.max:
                return np.dtype(name)
        return np.dtype(np.int64)


@dataclass(frozen=True, slots=True)
class Layer:
    """One band: a function from a grid to pixels."""

    name: str
    """Of the band."""
    kind: PixelType
    """Of its values."""
    projection: Projection
    """Its own, in which neighbours are neighbours."""
    read: Callable[[Grid], Pixels]
    """Values and where they are valid, (row, col)."""
    smooth: Callable[[Grid], Pixels] | None = None
    """The same by bilinear interpolation, where the archive does that itself."""
    derived: Mapping[str, Layer] = field(default_factory=dict)
    """What the archive computes of neighbouring pixels, by name."""


def computed(
    name: str,
    kind: PixelType,
    projection: Projection,
    read: Callable[[Grid], Pixels],
    *inputs: Layer,
) -> Layer:
    """Return a band that is a function of others, pixel by pixel.

    Where the archive says of every input that interpolation changes nothing, the same holds of
    what is computed of them.
    """
    exact = bool(inputs) and all(layer.smooth is layer.read for layer in inputs)
    return Layer(name, kind, projection, read, read if exact else None)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image nobody has computed yet."""

    layers: tuple[Layer, ...]
    """Its bands in order."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Its metadata by name."""
    footprint: Region | None = None
    """Where it may be valid; None is everywhere."""


@dataclass(frozen=True, slots=True)
class Row:
    """A feature."""

    geometry: Region | None
    """Where."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """What, by name."""


class Stream:
    """Elements computed when they are first asked for, and once."""

    def __init__(self, elements: Iterable[Any]) -> None:
        self._rest = iter(elements)
        self._seen: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        place = 0
        while True:
            while place >= len(self._seen):
                try:
                    self._seen.append(next(self._rest))
                except StopIteration:
                    return
            yield self._seen[place]
            place += 1


Times = tuple[tuple[int, int], ...]
"""Half-open intervals in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A collection of the archive that can still be narrowed before it is listed."""

    query: Callable[[BaseGeometry | None, Times | None], Iterator[Picture | Row]]
    """Lists elements by place (EPSG:4326) and time."""
    bounds: BaseGeometry | None = None
    """Elements must touch it."""
    times: Times | None = None
    """Elements must begin in one of them."""
    tests: tuple[Callable[[Any], bool], ...] = ()
    """Elements must pass them all."""

    def __iter__(self) -> Iterator[Picture | Row]:
        if self.times == ():
            return
        for element in self.query(self.bounds, self.times):
            if all(test(element) for test in self.tests):
                yield element


@dataclass(frozen=True, slots=True)
class Elements:
    """A collection of images or features."""

    items: Stream
    """Its elements, lazily."""
    images: bool
    """Whether it was made as a collection of images."""
    stored: Stored | None = None
    """Where its elements come from, while nothing but filters has been applied."""


Lambda = Callable[..., Any]
"""A function of the expression's own; arguments by position."""

Array = NDArray[Any]
"""Of pixels (row, col), or of a column of values."""
