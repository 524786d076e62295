"""Sentinel-2's squares: 109.8 km wide, 100 km apart, named as in the Military Grid (MGRS)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.tile import Tile
from mmearth.catalog.utm import UTM_SOUTH
from mmearth.tests.earthengine.planet.pixels import Double, Mask, convert

SIDE_M = 109_800
"""Width and height of a square."""
_PITCH_M = 100_000
_SNAP_M = 60
"""Corners lie on the grid of the coarsest bands."""
_MARGIN_M = 55_000.0
"""Squares go on this far beyond their zone."""
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_BANDS = "CDEFGHJKLMNPQRSTUVWX"


@dataclass(frozen=True, slots=True, order=True)
class Square:
    """One square of the lattice of a UTM zone."""

    epsg: int
    """Of the zone."""
    column: int
    """Of the 100 km grid, counted from x = 0."""
    row: int
    """Of the 100 km grid, counted from y = 0."""

    @property
    def left(self) -> int:
        """Western edge in metres."""
        return self.column * _PITCH_M // _SNAP_M * _SNAP_M

    @property
    def top(self) -> int:
        """Northern edge in metres."""
        return -(-(self.row + 1) * _PITCH_M // _SNAP_M) * _SNAP_M

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of the middle."""
        x, y = self.left + SIDE_M / 2, self.top - SIDE_M / 2
        lon, lat = convert(np.array([x]), np.array([y]), f"EPSG:{self.epsg}", "EPSG:4326")
        return float(lon[0]), float(lat[0])

    @property
    def code(self) -> str:
        """`32TQM`: zone, band of latitude, column and row."""
        return _code(self)

    @property
    def footprint(self) -> BaseGeometry:
        """Outline in EPSG:4326."""
        return _footprint(self)

    def inside(self, x: Double, y: Double) -> Mask:
        """Return which places, in metres of the zone, are in the square."""
        across = (x >= self.left) & (x < self.left + SIDE_M)
        return np.asarray(across & (y > self.top - SIDE_M) & (y <= self.top))


@lru_cache(maxsize=4096)
def _code(square: Square) -> str:
    zone = square.epsg % 100
    band = _BANDS[min(max(int((square.centre[1] + 80.0) // 8.0), 0), len(_BANDS) - 1)]
    column = _COLUMNS[(zone - 1) % 3][square.column - 1]
    shift = 0 if zone % 2 else 5
    return f"{zone:02d}{band}{column}{_ROWS[(square.row + shift) % 20]}"


@lru_cache(maxsize=4096)
def _footprint(square: Square) -> BaseGeometry:
    left, top = square.left, square.top
    return outline(box(left, top - SIDE_M, left + SIDE_M, top), square.epsg)


def outline(shape: BaseGeometry, epsg: int) -> BaseGeometry:
    """Return a shape of a UTM zone in EPSG:4326, cut in two at the antimeridian."""
    dense = shapely.segmentize(shape, 5_000.0)
    lonlat = shapely.transform(dense, lambda xy: _lonlat(xy, epsg))
    west, _, east, _ = lonlat.bounds
    if east - west < 180.0:
        return lonlat
    turned = shapely.transform(lonlat, lambda xy: np.column_stack((xy[:, 0] % 360.0, xy[:, 1])))
    here = turned.intersection(box(0.0, -90.0, 180.0, 90.0))
    there = translate(turned.intersection(box(180.0, -90.0, 360.0, 90.0)), xoff=-360.0)
    parts = [part for side in (here, there) for part in _polygons(side)]
    return MultiPolygon(parts)


def _polygons(shape: BaseGeometry) -> list[Polygon]:
    return [part for part in shapely.get_parts(shape) if isinstance(part, Polygon)]


def _lonlat(xy: np.ndarray, epsg: int) -> np.ndarray:
    return np.column_stack(convert(xy[:, 0], xy[:, 1], f"EPSG:{epsg}", "EPSG:4326"))


def squares_over(bounds: BaseGeometry, anchor: Tile) -> list[Square]:
    """Return the squares that touch a place, of its own zone and the two beside it."""
    zone = anchor.epsg % 100
    north_south = (32600, 32700) if abs(anchor.lat) < 2.0 else (anchor.epsg // 100 * 100,)
    found = []
    for base in north_south:
        for step in (-1, 0, 1):
            epsg = base + (zone - 1 + step) % 60 + 1
            found += [square for square in _touching(bounds, epsg) if exists(square)]
    return sorted(found, key=lambda square: square.code)


def _touching(bounds: BaseGeometry, epsg: int) -> Iterator[Square]:
    corners = shapely.get_coordinates(bounds)
    x, y = convert(corners[:, 0], corners[:, 1], "EPSG:4326", f"EPSG:{epsg}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return
    columns = _range(float(x.min()) - _SNAP_M, float(x.max()) + _SNAP_M)
    # A square reaches 9.8 km further down than its grid cell, and further right.
    for column in columns:
        for row in _range(float(y.min()) - _SNAP_M, float(y.max()) + _SNAP_M, down=True):
            square = Square(epsg, column, row)
            if square.footprint.intersects(bounds):
                yield square


def _range(low: float, high: float, down: bool = False) -> range:
    beyond = SIDE_M - _PITCH_M
    low, high = (low, high + beyond) if down else (low - beyond, high)
    return range(math.floor(low / _PITCH_M), math.floor(high / _PITCH_M) + 1)


@lru_cache(maxsize=16384)
def exists(square: Square) -> bool:
    """Say whether the square belongs to the lattice: its zone reaches it, or nearly."""
    if not 1 <= square.column <= 8 or not 0 <= square.row <= 99:
        return False
    north = square.epsg < 32700
    _, lat = square.centre
    if lat < UTM_SOUTH or north != (lat >= 0.0):
        return False
    zone = square.epsg % 100
    meridian = zone * 6 - 183
    # Zones 32 over Norway and 31 to 37 over Svalbard are wider; see catalog.utm.utm_epsg.
    half = 6.0 if lat >= 72.0 or (zone == 32 and 56.0 <= lat < 64.0) else 3.0
    edge, _ = convert(
        np.array([meridian + half]), np.array([lat]), "EPSG:4326", f"EPSG:{square.epsg}"
    )
    middle = square.left + SIDE_M / 2
    return abs(middle - 500_000.0) <= float(edge[0]) - 500_000.0 + _MARGIN_M


@lru_cache(maxsize=4096)
def square_named(code: str) -> Square:
    """Return the square of a code such as `32TQM`.

    Raises:
        KeyError: No square has this code.
    """
    try:
        zone, column = int(code[:2]), _COLUMNS[(int(code[:2]) - 1) % 3].index(code[3]) + 1
        first = (_ROWS.index(code[4]) - (0 if zone % 2 else 5)) % 20
    except ValueError:
        raise KeyError(code) from None
    base = 32600 if code[2] >= "N" else 32700
    for row in range(first, 100, 20):
        square = Square(base + zone, column, row)
        if exists(square) and square.code == code:
            return square
    raise KeyError(code)
