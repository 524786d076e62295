"""Polygons of any CRS in longitude and latitude, cut where they cross 180°."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

_LONGEST_M, _LONGEST_DEG = 10_000.0, 10.0
"""Of an edge in another CRS: what is straight there is bent in longitude and latitude."""
_INWARDS = (1e-9, 1e-6)
"""Of a vertex's coordinates: what lies on a map's rim, as 180° of Mollweide's, is beyond it by an
error of rounding, and is taken 20 m inside at most."""
_TURN = 360.0 - 1e-6  # degrees: an edge all round the globe, of a box from 180° W to 180° E
_POLYGON = 3  # GEOS type id
_WGS84 = CRS(4326)

Shapes = NDArray[np.object_]
Double = NDArray[np.float64]


class CrossingError(ValueError):
    """A polygon that may cross the antimeridian or go round the other way."""


def single_polygons(shapes: Shapes) -> tuple[Shapes, NDArray[np.int64]]:
    """Return the single polygons among geometries of all kinds, and which each comes from."""
    owner = np.arange(shapes.size)
    while True:
        parts, inner = shapely.get_parts(shapes, return_index=True)
        owner = owner[inner]
        if parts.size == shapes.size and (shapely.get_num_geometries(parts) < 2).all():
            break
        shapes = parts
    polygonal = (shapely.get_type_id(parts) == _POLYGON) & ~shapely.is_empty(parts)
    return parts[polygonal], owner[polygonal]


def to_lonlat(polygons: Shapes, crs: CRS) -> tuple[Shapes, NDArray[np.int64]]:
    """Return polygons in longitude and latitude, between 180° W and 180° E.

    Edges are straight in their own CRS. A polygon that crosses 180° or holds a pole is cut there;
    one that crosses itself is repaired. In degrees it may reach beyond 180°, or jump from one side
    to the other, as programs draw across the antimeridian.

    Args:
        polygons: Of one part each, (n,).
        crs: Theirs.

    Returns:
        Valid polygons of one part, and which polygon each comes from; none of one that has a
        vertex that is no number, or no place in longitude and latitude.

    Raises:
        CrossingError: A box may be the one across the antimeridian or the one round the globe.
    """
    owner = np.flatnonzero(_finite(polygons))
    polygons = polygons[owner]
    if _in_degrees(crs):
        # Before they are repaired: across 180° a ring seems to cross itself.
        crossing = _jumps(polygons)
        crossing[crossing] = [_crosses(polygon) for polygon in polygons[crossing]]
        polygons, owner = _mended(polygons, owner, crossing, _cut)
        west, _, east, _ = _bounds(polygons)
        polygons, owner = _mended(polygons, owner, (west < -180.0) | (east > 180.0), _folded)
    else:
        polygons, owner = _valid(polygons, owner)
    if crs.equals(_WGS84, ignore_axis_order=True):
        return polygons, owner
    polygons = _transformed(polygons, crs)
    finite = _finite(polygons)
    polygons, owner = polygons[finite], owner[finite]
    return _mended(polygons, owner, _jumps(polygons), _cut)


def _in_degrees(crs: CRS) -> bool:
    """Return whether coordinates are degrees from Greenwich."""
    meridian = crs.prime_meridian
    unit = crs.axis_info[0].unit_name.lower() if crs.axis_info else ""
    return (
        crs.is_geographic and unit == "degree" and meridian is not None and not meridian.longitude
    )


def _finite(polygons: Shapes) -> NDArray[np.bool_]:
    coordinates, index = shapely.get_coordinates(polygons, return_index=True)
    broken = index[~np.isfinite(coordinates).all(axis=1)]
    finite = np.ones(polygons.size, dtype=np.bool_)
    finite[broken] = False
    return finite


def _valid(shapes: Shapes, owner: NDArray[np.int64]) -> tuple[Shapes, NDArray[np.int64]]:
    """Return the single polygons of shapes, repaired where they are not valid."""
    shapes, broken = shapes.copy(), ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken])
    shapes, inner = single_polygons(shapes)
    return shapes, owner[inner]


def _mended(
    polygons: Shapes,
    owner: NDArray[np.int64],
    which: NDArray[np.bool_],
    mend: Callable[[shapely.Polygon], shapely.Geometry],
) -> tuple[Shapes, NDArray[np.int64]]:
    """Return polygons with some of them mended, as valid ones of one part."""
    polygons = polygons.copy()
    for i in np.flatnonzero(which):
        polygons[i] = mend(polygons[i])
    return _valid(polygons, owner)


def _bounds(polygons: Shapes) -> Double:
    return np.asarray(shapely.bounds(polygons).reshape(-1, 4).T)


def _crosses(polygon: shapely.Polygon) -> bool:
    """Return whether a polygon in degrees jumps across 180°: closed and narrow when unrolled.

    Raises:
        CrossingError: It is a box, which has the same corners either way.
    """
    lon = shapely.get_coordinates(polygon.exterior)[:, 0]
    steps = np.abs(np.diff(lon))
    if not (steps > 180.0).any() or (steps > _TURN).any():
        return False
    unrolled = np.unwrap(lon, period=360.0)
    if abs(unrolled[-1] - unrolled[0]) > 1.0 or np.ptp(unrolled) >= 180.0:
        return False
    west, east = lon.min(), lon.max()
    if np.unique(lon).size > 2:
        return True
    if abs(west + east) < 1e-6:  # as drawn round the globe: 170° W to 170° E
        return False
    raise CrossingError(
        f"has a box between {west:g} and {east:g} degrees, which may cross 180° or go round the "
        f"globe; draw it from {east:g} to {west + 360:g}, or from {west:g} to 0 and on to {east:g}"
    )


def _transformed(polygons: Shapes, crs: CRS) -> Shapes:
    """Return polygons in longitude and latitude, as they come, with vertices close enough."""
    longest = math.radians(_LONGEST_DEG) if crs.is_geographic else _LONGEST_M
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    close = shapely.segmentize(polygons, longest / unit)
    transform = Transformer.from_crs(crs, _WGS84, always_xy=True).transform

    def lonlat(xy: Double) -> Double:
        found = np.stack(transform(xy[:, 0], xy[:, 1]), axis=1)
        for inwards in _INWARDS:
            beyond = ~np.isfinite(found).all(axis=1)
            again = transform(*(xy[beyond] * (1.0 - inwards)).T)
            found[beyond] = np.stack(again, axis=1)
        return found

    return np.asarray(shapely.transform(close, lonlat))


def _jumps(polygons: Shapes) -> NDArray[np.bool_]:
    """Return which polygons have neighbouring vertices on the two sides of 180°."""
    coordinates, index = shapely.get_coordinates(polygons, return_index=True)
    far = np.abs(np.diff(coordinates[:, 0])) > 180.0
    jumps = np.zeros(polygons.size, dtype=np.bool_)
    jumps[index[1:][far & (index[1:] == index[:-1])]] = True
    return jumps


def _cut(polygon: shapely.Polygon) -> shapely.Geometry:
    """Return a polygon whose rings jump across 180° cut there."""
    shell, *holes = (
        _area(shapely.get_coordinates(ring)) for ring in (polygon.exterior, *polygon.interiors)
    )
    return shapely.difference(shell, shapely.union_all(holes)) if holes else shell


def _area(ring: Double) -> shapely.Geometry:
    """Return what a ring encloses, with the pole where it goes round the globe."""
    lon, lat = np.unwrap(ring[:, 0], period=360.0), ring[:, 1]
    if abs(lon[-1] - lon[0]) > 180.0:
        pole = math.copysign(90.0, float(lat.mean()))
        lon = np.concatenate([lon, [lon[-1], lon[0]]])
        lat = np.concatenate([lat, [pole, pole]])
    return _folded(shapely.make_valid(shapely.Polygon(np.stack([lon, lat], axis=1))))


def _folded(shape: shapely.Geometry) -> shapely.Geometry:
    """Return a shape that reaches beyond 180° cut there and laid on the other side."""
    west, _, east, _ = shape.bounds
    parts = []
    for turn in range(math.floor((west + 180.0) / 360.0), math.ceil((east - 180.0) / 360.0) + 1):
        strip = shapely.box(-180.0 + 360.0 * turn, -90.0, 180.0 + 360.0 * turn, 90.0)
        part = shapely.intersection(shape, strip)
        parts.append(shapely.transform(part, partial(np.add, (-360.0 * turn, 0.0))))
    return shapely.union_all(parts)
