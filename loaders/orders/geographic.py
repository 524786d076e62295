"""Geographic batches that are right on a sphere: bisection of unit vectors.

Degrees would tear the antimeridian apart, and near a pole call neighbours far. In three dimensions
there is neither: the chord between two points grows with their great-circle distance. All sums are
of whole numbers, so every machine composes the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmearth.loaders.orders.batches import Batches, Degrees, check_places

Places = NDArray[np.int32]
"""x, y, z on the sphere in units of 6 mm, (n, 3)."""

# The axes of a cube, its face and its space diagonals. Fixed directions and not the principal axis:
# where places spread evenly that one is anyone's, and would differ between machines.
_DIRECTIONS = np.array(
    [
        *((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        *((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)),
        *((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)),
    ],
    dtype=np.int32,
)
_WEIGHT = 6 // (_DIRECTIONS**2).sum(axis=1)  # 6, 3, 2: undoes their lengths, and stays whole
_RADIUS = 1 << 30  # a sum of three coordinates is below √3 of it and fits 32 bits
_BITS = 14  # of a coordinate in a sum of squares: 2**28 of them, weighted, fit 64 bits
_BLOCK = 1 << 20  # rows whose squares a float64 sums without rounding, and that take little memory


def bisect(lon: Degrees, lat: Degrees, batch_size: int) -> Batches:
    """Compose batches of neighbours by bisection across their greatest spread.

    There are round(n / batch_size) batches, at least one, and their sizes differ by one at most.

    Args:
        lon: Of the samples' centres, degrees, (n,).
        lat: The same.
        batch_size: Samples in a batch, about.

    Raises:
        ConfigError: A place is not on the Earth.
    """
    check_places(lon, lat)
    n = len(lon)
    n_batches = max(1, round(n / batch_size)) if n else 0
    bounds = (np.arange(n_batches + 1) * n // max(n_batches, 1)).astype(np.int64)
    rows = np.arange(n, dtype=np.uint32 if n < 1 << 32 else np.int64)
    places = _on_sphere(lon, lat)
    waiting = [(0, n_batches)] if n else []
    while waiting:
        first, last = waiting.pop()
        if last - first == 1:
            continue
        middle = (first + last) // 2
        begin, end = bounds[first], bounds[last]
        left = _nearer(places[begin:end], bounds[middle] - begin)
        _part(rows[begin:end], left)
        _part(places[begin:end], left)
        waiting += [(first, middle), (middle, last)]
    return Batches(rows.astype(np.int64), bounds)


def _on_sphere(lon: Degrees, lat: Degrees) -> Places:
    places = np.empty((len(lon), 3), np.int32)
    for block in _blocks(len(lon)):
        across, up = np.radians(lon[block]), np.radians(lat[block])
        level = np.cos(up)
        vectors = np.stack([level * np.cos(across), level * np.sin(across), np.sin(up)], axis=1)
        places[block] = np.rint(vectors * _RADIUS)
    return places


def _nearer(places: Places, n_left: int) -> NDArray[np.bool_]:
    """Return which n_left places come first along the direction of greatest spread.

    Of equal ones the earlier rows do.
    """
    along = places @ _DIRECTIONS[_widest(places)]
    last = np.partition(along, n_left - 1)[n_left - 1]
    left: NDArray[np.bool_] = along < last
    ties = np.flatnonzero(along == last)
    left[ties[: n_left - np.count_nonzero(left)]] = True
    return left


def _widest(places: Places) -> int:
    """Return which direction the places spread along the most; the first of equal ones."""
    mean = (places.sum(axis=0, dtype=np.int64) // len(places)).astype(np.int32)
    reach = max(int((places.max(axis=0) - mean).max()), int((mean - places.min(axis=0)).max()), 1)
    shift = max(0, reach.bit_length() - _BITS)
    squares = np.zeros((3, 3), np.int64)
    for block in _blocks(len(places)):
        off = ((places[block] - mean) >> shift).astype(np.float64)
        squares += (off.T @ off).astype(np.int64)
    return int(np.argmax(_WEIGHT * np.einsum("di,ij,dj->d", _DIRECTIONS, squares, _DIRECTIONS)))


def _part(values: NDArray[np.generic], left: NDArray[np.bool_]) -> None:
    """Move what is left before what is not, in place; both keep their order."""
    others = values[~left]
    n_left = len(values) - len(others)
    values[:n_left] = values[left]
    values[n_left:] = others


def _blocks(n: int) -> Iterator[slice]:
    return (slice(begin, begin + _BLOCK) for begin in range(0, n, _BLOCK))
