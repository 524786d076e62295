"""Tiles: squares of pixels, snapped to the pixels of the place's own UTM zone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID, Grid
from mmearth.catalog.utm import from_lonlat, to_lonlat, utm_epsg

CELL_KM = 100.0
"""Side of the cells used for geographic batches and splits, about, in kilometres."""
EARTH_RADIUS_KM = 6371.0088
"""Mean radius of the Earth, IUGG."""


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A place: no date, no data."""

    epsg: int
    """EPSG code of the UTM zone: 32601–32660 north, 32701–32760 south."""
    left: int
    """Western edge in metres, a multiple of the resolution."""
    top: int
    """Northern edge in metres, a multiple of the resolution."""
    grid: Grid = DEFAULT_GRID
    """Its pixels."""

    @property
    def id(self) -> str:
        """`<epsg>_<left>_<top>`."""
        return f"{self.epsg}_{self.left}_{self.top}"

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """(left, bottom, right, top) in metres."""
        side = self.grid.side_m
        return self.left, self.top - side, self.left + side, self.top

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine (a, b, c, d, e, f): x = a·col + b·row + c, y = d·col + e·row + f."""
        pixel = float(self.grid.resolution_m)
        return pixel, 0.0, float(self.left), 0.0, -pixel, float(self.top)

    @property
    def lon(self) -> float:
        """Longitude of the centre, degrees in [-180, 180)."""
        return self._centre()[0]

    @property
    def lat(self) -> float:
        """Latitude of the centre, degrees."""
        return self._centre()[1]

    @property
    def geometry(self) -> BaseGeometry:
        """Outline in longitude and latitude; in two parts where it crosses the antimeridian."""
        left, bottom, right, top = self.bounds
        xs = [left, right, right, left]
        ys = [bottom, bottom, top, top]
        lons, lats = to_lonlat(self.epsg).transform(xs, ys)
        return _split_at_antimeridian([round(v, 7) for v in lons], [round(v, 7) for v in lats])

    @property
    def cell(self) -> str:
        """The ~100 km cell that holds the centre; see `cell_at`."""
        return cell_at(*self._centre())

    @classmethod
    def at(cls, lon: float, lat: float, grid: Grid = DEFAULT_GRID) -> Tile:
        """Return the tile centred on a place, to the nearest corner of a pixel.

        Raises:
            ConfigError: The place is not on Earth or beyond UTM (north of 84°, south of 80° S).
        """
        return tiles_at([lon], [lat], grid)[0]

    @classmethod
    def parse(cls, tile_id: str, grid: Grid) -> Tile:
        """Return the tile of an id.

        Raises:
            ConfigError: The id is not `<epsg>_<left>_<top>` on the grid.
        """
        try:
            epsg, left, top = (int(part) for part in tile_id.split("_"))
        except ValueError as exc:
            raise ConfigError(
                f"{tile_id!r} is not a tile id; expected one like 32633_500000_4649760"
            ) from exc
        pixel = grid.resolution_m
        is_zone = 32601 <= epsg <= 32660 or 32701 <= epsg <= 32760
        if not is_zone or left % pixel or top % pixel:
            raise ConfigError(f"{tile_id!r} is not a tile id: its zone or {pixel} m grid is wrong")
        return cls(epsg, left, top, grid)

    def _centre(self) -> tuple[float, float]:
        half = self.grid.side_m / 2
        lon, lat = to_lonlat(self.epsg).transform(self.left + half, self.top - half)
        # 1e-7 degrees is 1 cm: the same on every build of PROJ, where the last bit is not.
        return round((lon + 180.0) % 360.0 - 180.0, 7), round(lat, 7)


@dataclass(frozen=True, slots=True, eq=False)
class Tiles(Sequence[Tile]):
    """Many places as columns: 24 bytes each, where a `Tile` takes 150."""

    epsg: NDArray[np.int64]
    """EPSG codes of their UTM zones, (n,)."""
    left: NDArray[np.int64]
    """Western edges in metres, (n,)."""
    top: NDArray[np.int64]
    """Northern edges in metres, (n,)."""
    grid: Grid
    """Of all of them."""

    @classmethod
    def of(cls, tiles: Sequence[Tile]) -> Tiles:
        """Return the columns of any sequence of tiles of one grid."""
        if isinstance(tiles, Tiles):
            return tiles
        grid = tiles[0].grid if tiles else DEFAULT_GRID
        rows = np.array([(tile.epsg, tile.left, tile.top) for tile in tiles], dtype=np.int64)
        epsg, left, top = rows.reshape(-1, 3).T
        return cls(epsg, left, top, grid)

    @classmethod
    def parse(cls, ids: pa.ChunkedArray, grid: Grid) -> Tiles:
        """Return the places of many ids, a million a second.

        Raises:
            ConfigError: One is no id, as `Tile.parse` says.
        """
        parts = pc.split_pattern(ids, "_")
        flat = np.empty(0, int)
        if pc.all(pc.equal(pc.list_value_length(parts), 3)).as_py() is not False:
            with suppress(pa.ArrowInvalid):
                flat = pc.list_flatten(parts).cast(pa.int64()).to_numpy()
        if len(flat) != 3 * len(ids):  # one by one, to name the first that is none
            return cls.of([Tile.parse(str(each), grid) for each in ids.to_pylist()])
        rows: NDArray[np.int64] = flat.reshape(-1, 3)
        epsg, left, top = rows.T
        number, pixel = epsg - 32600, grid.resolution_m
        is_zone = ((number >= 1) & (number <= 60)) | ((number >= 101) & (number <= 160))
        wrong = np.flatnonzero(~is_zone | (left % pixel != 0) | (top % pixel != 0))
        if wrong.size:
            Tile.parse(str(ids[int(wrong[0])].as_py()), grid)
        return cls(epsg, left, top, grid)

    @property
    def number(self) -> NDArray[np.int64]:
        """One number for each place, another for another place, (n,)."""
        pixel = self.grid.resolution_m
        columns, rows = 2_000_000 // pixel, 20_000_000 // pixel  # of a zone, and more
        return (self.epsg * columns + self.left // pixel) * rows + self.top // pixel

    def __len__(self) -> int:
        return len(self.epsg)

    @overload
    def __getitem__(self, index: int) -> Tile: ...
    @overload
    def __getitem__(self, index: slice | NDArray[np.generic]) -> Tiles: ...
    def __getitem__(self, index: int | slice | NDArray[np.generic]) -> Tile | Tiles:
        if isinstance(index, slice | np.ndarray):
            return Tiles(self.epsg[index], self.left[index], self.top[index], self.grid)
        epsg, left, top = (int(column[index]) for column in (self.epsg, self.left, self.top))
        return Tile(epsg, left, top, self.grid)


def tiles_at(lons: ArrayLike, lats: ArrayLike, grid: Grid) -> Tiles:
    """Return the tiles centred on many places, in their order.

    Args:
        lons: Degrees east, (n,); any turn of the globe is accepted.
        lats: Degrees north, (n,).
        grid: Of every tile.

    Returns:
        One tile per place.

    Raises:
        ConfigError: A place is not on Earth or beyond UTM; the sentence names the first.
    """
    lon = np.atleast_1d(np.asarray(lons, dtype=np.float64))
    lat = np.atleast_1d(np.asarray(lats, dtype=np.float64))
    epsg = utm_epsg(lon, lat)
    left = np.empty(lon.shape, dtype=np.int64)
    top = np.empty(lon.shape, dtype=np.int64)
    pixel, half = grid.resolution_m, grid.side_m / 2
    for code in np.unique(epsg):
        rows = epsg == code
        x, y = from_lonlat(int(code)).transform(lon[rows], lat[rows])
        left[rows] = np.floor(np.asarray(x) / pixel + 0.5) * pixel - half
        top[rows] = np.floor(np.asarray(y) / pixel + 0.5) * pixel + half
    return Tiles(epsg, left, top, grid)


def lonlat_bounds(tiles: Sequence[Tile], margin_m: float = 0.0) -> NDArray[np.float64]:
    """Return (west, south, east, north) of many tiles in degrees, (n, 4).

    A tile that crosses the antimeridian has an east beyond 180, so that west < east always.

    Args:
        tiles: The places.
        margin_m: The square is grown by this much on every side first, in metres.
    """
    result = np.empty((len(tiles), 4))
    columns = Tiles.of(tiles)
    side = columns.grid.side_m
    dx = np.array([-margin_m, side + margin_m] * 2)  # (corner,)
    dy = np.array([margin_m] * 2 + [-side - margin_m] * 2)
    for code in np.unique(columns.epsg):
        rows = columns.epsg == code
        xs, ys = columns.left[rows, None] + dx, columns.top[rows, None] + dy  # (n, corner)
        lon, lat = to_lonlat(int(code)).transform(xs, ys)
        lon = np.where(np.ptp(lon, axis=1, keepdims=True) > 180.0, lon % 360.0, lon)
        box = (lon.min(axis=1), lat.min(axis=1), lon.max(axis=1), lat.max(axis=1))
        result[rows] = np.round(np.column_stack(box), 7)
    return result


def centres(tiles: Sequence[Tile]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude of many tiles' centres, (n,) each."""
    columns = Tiles.of(tiles)
    half = columns.grid.side_m / 2
    x, y = columns.left + half, columns.top - half
    lon, lat = np.empty_like(x), np.empty_like(y)
    for code in np.unique(columns.epsg):
        rows = columns.epsg == code
        lon[rows], lat[rows] = to_lonlat(int(code)).transform(x[rows], y[rows])
    # 1e-7 degrees is 1 cm: the same on every build of PROJ, where the last bit is not.
    turned: NDArray[np.float64] = np.round((lon + 180.0) % 360.0 - 180.0, 7)
    return turned, np.asarray(np.round(lat, 7), dtype=np.float64)


def cell_at(lon: float, lat: float) -> str:
    """Return the name of the ~100 km cell that holds a place: `<row>_<column>`.

    Rows are bands of latitude of equal height; each is cut into as many columns as keep them
    about as wide as high, so a cell covers much the same ground everywhere and none crosses the
    antimeridian.
    """
    rows, columns = cells_at(np.array([lon]), np.array([lat]))
    return f"{rows[0]}_{columns[0]}"


def cells_at(
    lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row and the column of the cell of many places, (n,) each; see `cell_at`."""
    n_rows = round(math.pi * EARTH_RADIUS_KM / CELL_KM)
    row = np.minimum(((lat + 90.0) / 180.0 * n_rows).astype(np.int64), n_rows - 1)
    middles = [math.radians((i + 0.5) / n_rows * 180.0 - 90.0) for i in range(n_rows)]
    circle = 2 * math.pi * EARTH_RADIUS_KM
    n_columns = np.array([max(1, round(circle * math.cos(m) / CELL_KM)) for m in middles])[row]
    column = (((lon + 180.0) % 360.0) / 360.0 * n_columns).astype(np.int64)
    return row, np.minimum(column, n_columns - 1)


def _split_at_antimeridian(lons: Sequence[float], lats: Sequence[float]) -> BaseGeometry:
    """Return the polygon of four corners, cut at ±180° when it spans more than half the globe.

    Rings run counter-clockwise and ordinates have 7 decimals, as RFC 7946 §3.1.6 and §11.2 advise.
    """
    if max(lons) - min(lons) < 180.0:
        return Polygon(zip(lons, lats, strict=True))
    turned = Polygon([(lon % 360.0, lat) for lon, lat in zip(lons, lats, strict=True)])
    parts = []
    for west, east, shift in ((0.0, 180.0, 0.0), (180.0, 360.0, -360.0)):
        part = turned.intersection(box(west, -90.0, east, 90.0))
        if part.area > 0.0:  # a corner on the meridian itself leaves a point or a line
            ring = [(round(x + shift, 7), round(y, 7)) for x, y in part.exterior.coords]
            parts.append(orient(Polygon(ring)))
    return MultiPolygon(parts) if len(parts) > 1 else parts[0]
