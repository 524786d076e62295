"""From one lattice of pixels to another: nearest neighbour, bilinear, bicubic."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from mmearth.tests.earthengine.evaluate.nouns import Affine, Array, Projection, refuse
from mmearth.tests.earthengine.model import Grid, Pixels

Float = NDArray[np.float64]

METRES_PER_DEGREE = 6378137.0 * np.pi / 180.0
"""On the equator. Source: the semi-major axis of WGS 84."""

MOST_PIXELS = 2**26
"""Of one band on the way; the service has coarser copies of its images, this one has not."""

_ALIGNED = 1e-6
"""In pixels: two lattices nearer than this are one."""


@lru_cache(maxsize=512)
def transformer(source: str, target: str) -> Transformer:
    """Return the transformation between two reference systems, x before y.

    Raises:
        ServiceError: One of them does not exist.
    """
    try:
        return Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        raise refuse(f"The CRS of a map projection could not be parsed: {error}") from error


@lru_cache(maxsize=512)
def is_geographic(crs: str) -> bool:
    """Return whether coordinates are degrees.

    Raises:
        ServiceError: There is no such reference system.
    """
    try:
        return bool(CRS.from_user_input(crs).is_geographic)
    except ProjError as error:
        raise refuse(f"The CRS of a map projection could not be parsed: {error}") from error


def inverse(transform: Affine) -> Affine:
    """Return the affine from coordinates to pixels."""
    a, b, c, d, e, f = transform
    det = a * e - b * d
    ia, ib, id_, ie = e / det, -b / det, -d / det, a / det
    return (ia, ib, -(ia * c + ib * f), id_, ie, -(id_ * c + ie * f))


def apply(transform: Affine, x: Float, y: Float) -> tuple[Float, Float]:
    """Apply an affine to points."""
    a, b, c, d, e, f = transform
    return a * x + b * y + c, d * x + e * y + f


def scaled(projection: Projection, metres: float) -> Projection:
    """Return the projection with square pixels of a size in metres; origin and signs stay."""
    size = metres / METRES_PER_DEGREE if is_geographic(projection.crs) else metres
    a, _, c, _, e, f = projection.transform
    if projection.transform == Projection("").transform:
        e = -1.0  # a bare reference system counts rows southwards once it has a scale
    signed = (float(np.copysign(size, a)), float(np.copysign(size, e)))
    return Projection(projection.crs, (signed[0], 0.0, c, 0.0, signed[1], f))


def nominal_scale(projection: Projection) -> float:
    """Return the size of a pixel in metres."""
    a, b = projection.transform[:2]
    size = float(np.hypot(a, b))
    return size * METRES_PER_DEGREE if is_geographic(projection.crs) else size


@lru_cache(maxsize=256)
def positions(projection: Projection, grid: Grid) -> tuple[Float, Float]:
    """Return the centres of a grid's pixels as (col, row) of a projection; n + 0.5 is a centre."""
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    x, y = apply(grid.transform, columns, rows)
    if grid.crs != projection.crs:
        x, y = transformer(grid.crs, projection.crs).transform(x, y)
    with np.errstate(invalid="ignore"):  # where a projection does not reach, x and y are infinite
        return apply(inverse(projection.transform), x, y)


def offset(projection: Projection, grid: Grid) -> tuple[int, int] | None:
    """Return the grid's first (col, row) in a projection's pixels; None where they do not agree."""
    if grid.crs != projection.crs:
        return None
    to_pixels = inverse(projection.transform)
    corners = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    col, row = apply(to_pixels, *apply(grid.transform, corners[0], corners[1]))
    steps = np.array([col[1] - col[0], row[1] - row[0], col[2] - col[0], row[2] - row[0]])
    first = np.array([col[0], row[0]])
    whole = np.round(first)
    unit = np.abs(steps - [1.0, 0.0, 0.0, 1.0]).max() * max(grid.width, grid.height)
    if unit > _ALIGNED or np.abs(first - whole).max() > _ALIGNED:
        return None
    return int(whole[0]), int(whole[1])


def window(projection: Projection, left: int, top: int, width: int, height: int) -> Grid:
    """Return the grid of some pixels of a projection."""
    a, b, c, d, e, f = projection.transform
    corner = (a * left + b * top + c, d * left + e * top + f)
    return Grid(projection.crs, (a, b, corner[0], d, e, corner[1]), width, height)


Read = Callable[[Grid], Pixels]
Taps = Callable[[Float], tuple[NDArray[np.int64], Float]]
"""From positions to the first pixel that counts and the weights, (…, taps)."""


def _nearest(position: Float) -> tuple[NDArray[np.int64], Float]:
    """Return the pixel around each position."""
    return np.floor(position).astype(np.int64), np.ones((*position.shape, 1))


def _linear(position: Float) -> tuple[NDArray[np.int64], Float]:
    """Return two pixels and their weights."""
    base = np.floor(position - 0.5)
    share = position - 0.5 - base
    return base.astype(np.int64), np.stack([1.0 - share, share], axis=-1)


def _cubic(position: Float) -> tuple[NDArray[np.int64], Float]:
    """Return four pixels and their weights.

    Source:
        Keys 1981, Cubic convolution interpolation for digital image processing, a = -1/2.
    """
    base = np.floor(position - 0.5)
    t = position - 0.5 - base
    far, near = 1.0 + t, t
    weights = [
        -0.5 * far**3 + 2.5 * far**2 - 4.0 * far + 2.0,
        1.5 * near**3 - 2.5 * near**2 + 1.0,
        1.5 * (1.0 - near) ** 3 - 2.5 * (1.0 - near) ** 2 + 1.0,
        -0.5 * (2.0 - near) ** 3 + 2.5 * (2.0 - near) ** 2 - 4.0 * (2.0 - near) + 2.0,
    ]
    return base.astype(np.int64) - 1, np.stack(weights, axis=-1)


METHODS: dict[str, Taps] = {"nearest": _nearest, "bilinear": _linear, "bicubic": _cubic}
"""Ways to read between pixels."""


def through(projection: Projection, read: Read, method: str) -> Read:
    """Return a reader that computes on a projection's own pixels and samples those.

    Args:
        projection: Whose lattice is computed.
        read: Computes on any grid; only asked for grids of that lattice.
        method: `nearest`, `bilinear` or `bicubic`; a pixel is masked where a neighbour that
            counts is, or where the projections do not reach each other.

    Raises:
        ServiceError: (the reader) More pixels would have to be computed than fit.
    """

    def sample(grid: Grid) -> Pixels:
        if offset(projection, grid) is not None:
            return read(grid)
        col, row = positions(projection, grid)
        sane = np.isfinite(col) & np.isfinite(row)
        if not sane.any():
            return np.zeros(col.shape), sane
        col, row = np.where(sane, col, col[sane][0]), np.where(sane, row, row[sane][0])
        (left, across), (top, down) = METHODS[method](col), METHODS[method](row)
        origin = (int(left.min()), int(top.min()))
        size = (int(left.max()) - origin[0] + across.shape[-1], int(top.max()) - origin[1])
        source = window(projection, *origin, size[0], size[1] + down.shape[-1])
        if source.width * source.height > MOST_PIXELS:
            raise refuse("User memory limit exceeded.")
        values, valid = read(source)
        made = _weigh(values, valid, (left - origin[0], across), (top - origin[1], down))
        return made[0], made[1] & sane

    return sample


def _weigh(
    values: Array,
    valid: NDArray[np.bool_],
    columns: tuple[NDArray[np.int64], Float],
    rows: tuple[NDArray[np.int64], Float],
) -> Pixels:
    """Return weighted sums of neighbouring pixels; single taps keep the type."""
    (left, across), (top, down) = columns, rows
    if across.shape[-1] == 1:
        return values[top, left], valid[top, left]
    values = np.where(valid, values, 0)  # what lies under a mask may be no number
    total = np.zeros(left.shape)
    whole = np.ones(left.shape, dtype=np.bool_)
    for j in range(down.shape[-1]):
        for i in range(across.shape[-1]):
            weight = across[..., i] * down[..., j]
            total += weight * values[top + j, left + i]
            whole &= valid[top + j, left + i] | (weight == 0.0)
    return total, whole
