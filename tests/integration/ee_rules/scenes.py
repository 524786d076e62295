"""Hand-made scenes about one tile, each of one number, so that a test sees which one was drawn."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.tile import Tile
from mmearth.tests.earthengine.memory import Listed, Memory, Rows
from mmearth.tests.earthengine.model import Band, Feature, Grid, Image, Pixels
from mmearth.tests.earthengine.planet.pixels import Double, Mask, convert, positions

NORTH, SOUTH = Tile(32633, 499_360, 5_000_640), Tile(32733, 499_360, 5_000_640)
"""Tiles on a zone's central meridian, at 45.15° north and south."""
HALF_M = DEFAULT_GRID.side_m / 2
S2_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")

Pattern = Callable[[Double, Double], Mask]
"""Whether, at metres east and south of the tile's upper left corner; these broadcast."""
Field = Callable[[Double, Double], Pixels]
"""Values and where they are valid, at metres east and south of the tile's upper left corner."""


def first(n: int, size_m: float = 10.0) -> Pattern:
    """Return the first n pixels of a size, row by row: n / 16384 of the tile where it is 10 m."""
    width = DEFAULT_GRID.side_m / size_m

    def where(east: Double, south: Double) -> Mask:
        column, row = np.floor(east / size_m), np.floor(south / size_m)
        inside = (column >= 0) & (column < width) & (row >= 0)
        return np.asarray(inside & (row * width + column < n))

    return where


def within(metres: float) -> Pattern:
    """Return what is nearer to the tile's centre: (metres / 640)² of the published circle."""
    return lambda east, south: np.hypot(east - HALF_M, south - HALF_M) < metres


def beyond(metres: float) -> Pattern:
    """Return what is further from the tile's centre: from 640 m on, the corners."""
    return lambda east, south: ~within(metres)(east, south)


def flat(value: float) -> Field:
    """Return the same value everywhere."""
    return painted(lambda east, south: np.ones(_shape(east, south), np.bool_), value)


def painted(where: Pattern, value: float, other: float = 0.0) -> Field:
    """Return one value here and another elsewhere, all of it valid."""

    def field(east: Double, south: Double) -> Pixels:
        valid = np.ones(_shape(east, south), np.bool_)
        return np.where(where(east, south), value, other), valid

    return field


def only(where: Pattern, field: Field) -> Field:
    """Return a field that is masked elsewhere."""

    def cut(east: Double, south: Double) -> Pixels:
        values, valid = field(east, south)
        return values, valid & where(east, south)

    return cut


def masked() -> Field:
    """Return nothing but masked pixels."""
    return only(lambda east, south: np.zeros(_shape(east, south), np.bool_), flat(0))


def reach(margin_m: float) -> BaseGeometry:
    """Return an outline that goes some metres beyond the tile, in metres about its centre."""
    half = HALF_M + margin_m
    return shapely.box(-half, -half, half, half)


def disc(radius_m: float) -> BaseGeometry:
    """Return a round outline, in metres about the tile's centre."""
    return shapely.Point(0, 0).buffer(radius_m, quad_segs=128)


def _shape(east: Double, south: Double) -> tuple[int, ...]:
    return np.broadcast_shapes(east.shape, south.shape)


WIDE = reach(40_000)
CLEAR, LAND = flat(0), flat(4)


@dataclass(frozen=True, slots=True)
class Optical:
    """A Sentinel-2 scene with its partner among the cloud probabilities."""

    number: int
    """1 to 9: the value of all its bands."""
    when: str = "2020-07-01T10:00"
    """ISO 8601, UTC."""
    outline: BaseGeometry = WIDE
    """In metres about the tile's centre."""
    sen2cor: Field | None = CLEAR
    """MSK_CLDPRB; None for no such band, as in some products."""
    s2cloudless: Field | None = CLEAR
    """`probability`; None for no partner."""
    classes: Field = LAND
    """SCL."""
    zone: int | None = None
    """Of its MGRS square; None for the tile's own."""
    bands: Field | None = None
    """Reflectance; None for the number."""

    def index(self, tile: Tile) -> str:
        """`system:index`."""
        stamp = self.when.replace("-", "").replace(":", "").ljust(15, "0")
        zone = tile.epsg % 100 if self.zone is None else self.zone
        return f"{stamp}_{stamp}_T{zone:02d}TV{'KLMNPQRST'[self.number - 1]}"


@dataclass(frozen=True, slots=True)
class Radar:
    """A Sentinel-1 scene."""

    number: int
    """1 to 9: VV is this many decibels, VH 0.25 more, HH 0.5, HV 0.75."""
    when: str = "2020-07-01T17:00"
    """ISO 8601, UTC."""
    ascending: bool = True
    """Whether the satellite flies north."""
    mode: str = "IW"
    """`instrumentMode`."""
    polarisations: tuple[str, ...] = ("VV", "VH")
    """Its bands."""
    outline: BaseGeometry = WIDE
    """In metres about the tile's centre."""


@dataclass(frozen=True, slots=True)
class Labels:
    """An image of Dynamic World."""

    label: Field
    """Its classes."""
    when: str = "2020-07-01T10:00"
    """ISO 8601, UTC."""
    outline: BaseGeometry = WIDE
    """In metres about the tile's centre."""


@dataclass(frozen=True, slots=True)
class Piece:
    """An image of any other collection."""

    bands: Mapping[str, Field]
    """By name."""
    when: str | None = "2020-07-01T10:00"
    """ISO 8601, UTC; None for an image without a date."""
    outline: BaseGeometry = WIDE
    """In metres about the tile's centre."""
    kind: str = "float32"
    """Pixel type."""
    version: int | None = None
    """`system:version`."""


@dataclass(frozen=True)
class World:
    """All that is known about one tile."""

    tile: Tile = NORTH
    """The place."""
    optical: Sequence[Optical] = ()
    """Of Sentinel-2, in the collection's order."""
    radar: Sequence[Radar] = ()
    """Of Sentinel-1."""
    labels: Sequence[Labels] = ()
    """Of Dynamic World."""
    months: Mapping[str, Mapping[str, Field]] = field(default_factory=dict)
    """Of ERA5-Land, `202006` → band → values."""
    maps: Mapping[str, Mapping[str, Field]] = field(default_factory=dict)
    """Images without a date, by id → band → values."""
    series: Mapping[str, Sequence[Piece]] = field(default_factory=dict)
    """Other collections, by id; their images are named P0, P1 …"""
    tables: Mapping[str, Sequence[Feature]] = field(default_factory=dict)
    """By id."""

    def archive(self) -> Memory:
        """Return it as assets."""
        s2 = [self._optical(scene) for scene in self.optical]
        clouds = [self._clouds(scene) for scene in self.optical if scene.s2cloudless is not None]
        s1 = [self._radar(scene) for scene in self.radar]
        world = [self._labels(number, image) for number, image in enumerate(self.labels)]
        era5 = [self._month(name, bands) for name, bands in self.months.items()]
        maps = {name: self._image(name, {}, bands) for name, bands in self.maps.items()}
        images = {image.properties["system:id"]: image for image in (*s2, *s1)}
        collections = {
            "COPERNICUS/S2_SR_HARMONIZED": Listed(s2),
            "COPERNICUS/S2_CLOUD_PROBABILITY": Listed(clouds),
            "COPERNICUS/S1_GRD": Listed(s1),
            "GOOGLE/DYNAMICWORLD/V1": Listed(world),
            "ECMWF/ERA5_LAND/MONTHLY_AGGR": Listed(era5),
        }
        collections |= {
            name: Listed([self._piece(name, f"P{i}", piece) for i, piece in enumerate(pieces)])
            for name, pieces in self.series.items()
        }
        tables = {name: Rows(rows) for name, rows in self.tables.items()}
        return Memory(maps | images, collections, tables)

    def feature(self, outline: BaseGeometry, **properties: Any) -> Feature:
        """Return a row of a table whose outline is in metres about the tile's centre."""
        return Feature(self.place(outline), properties)

    def place(self, outline: BaseGeometry) -> BaseGeometry:
        """Return an outline in metres about the tile's centre (x east, y north) in EPSG:4326."""
        left, bottom, _, _ = self.tile.bounds
        if not isinstance(outline, shapely.Point):
            outline = shapely.segmentize(outline, max(np.ptp(outline.bounds) / 16, 1.0))
        there = translate(outline, left + HALF_M, bottom + HALF_M)
        crs = f"EPSG:{self.tile.epsg}"

        def move(points: Double) -> Double:
            return np.column_stack(convert(points[:, 0], points[:, 1], crs, "EPSG:4326"))

        return shapely.transform(there, move)

    def _optical(self, scene: Optical) -> Image:
        reflectance = flat(scene.number) if scene.bands is None else scene.bands
        bands = dict.fromkeys(S2_BANDS, reflectance)
        own = {"SCL": scene.classes}
        own |= {} if scene.sen2cor is None else {"MSK_CLDPRB": scene.sen2cor}
        about = _about("COPERNICUS/S2_SR_HARMONIZED", scene.index(self.tile), scene.when)
        return self._image("uint16", about, bands | own, scene.outline)

    def _clouds(self, scene: Optical) -> Image:
        assert scene.s2cloudless is not None
        about = _about("COPERNICUS/S2_CLOUD_PROBABILITY", scene.index(self.tile), scene.when)
        return self._image("uint8", about, {"probability": scene.s2cloudless}, scene.outline)

    def _radar(self, scene: Radar) -> Image:
        step = {"VV": 0.0, "VH": 0.25, "HH": 0.5, "HV": 0.75}
        about = _about("COPERNICUS/S1_GRD", f"S1_{scene.number}", scene.when) | {
            "instrumentMode": scene.mode,
            "orbitProperties_pass": "ASCENDING" if scene.ascending else "DESCENDING",
        }
        bands = {name: flat(scene.number + step[name]) for name in scene.polarisations}
        return self._image("float32", about, bands, scene.outline)

    def _labels(self, number: int, image: Labels) -> Image:
        about = _about("GOOGLE/DYNAMICWORLD/V1", f"DW_{number}", image.when)
        return self._image("uint8", about, {"label": image.label}, image.outline)

    def _month(self, name: str, bands: Mapping[str, Field]) -> Image:
        when = f"{name[:4]}-{name[4:]}-01"
        return self._image("float64", _about("ECMWF/ERA5_LAND/MONTHLY_AGGR", name, when), bands)

    def _piece(self, collection: str, index: str, piece: Piece) -> Image:
        about = _about(collection, index, piece.when)
        about |= {} if piece.version is None else {"system:version": piece.version}
        return self._image(piece.kind, about, piece.bands, piece.outline)

    def _image(
        self,
        kind: str,
        properties: dict[str, Any],
        bands: Mapping[str, Field],
        outline: BaseGeometry | None = None,
    ) -> Image:
        """Return an image; of maps, whose type hardly matters, `kind` is the id."""
        pixel_type = kind if "/" not in kind else "uint8" if "WorldCover" in kind else "float32"
        drawn = tuple(self._band(name, pixel_type, values) for name, values in bands.items())
        return Image(drawn, properties, None if outline is None else self.place(outline))

    def _band(self, name: str, pixel_type: str, values: Field) -> Band:
        size = 20.0 if name in ("MSK_CLDPRB", "SCL") else 10.0
        own = (size, 0.0, float(self.tile.left), 0.0, -size, float(self.tile.top))
        read = partial(self._read, values, np.dtype(pixel_type))
        return Band(name, pixel_type, f"EPSG:{self.tile.epsg}", own, read, read)

    def _read(self, values: Field, dtype: np.dtype[Any], grid: Grid) -> Pixels:
        x, y = positions(grid, f"EPSG:{self.tile.epsg}")
        found, valid = values(x - self.tile.left, self.tile.top - y)
        return found.astype(dtype), valid


def _about(collection: str, index: str, when: str | None) -> dict[str, Any]:
    named: dict[str, Any] = {"system:index": index, "system:id": f"{collection}/{index}"}
    if when is None:
        return named
    moment = datetime.datetime.fromisoformat(when).replace(tzinfo=datetime.UTC)
    return {**named, "system:time_start": int(moment.timestamp() * 1000)}
