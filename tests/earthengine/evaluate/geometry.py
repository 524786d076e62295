"""Geometries: construction, projection, and the algebra on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import shapely
from pyproj import Geod
from shapely.errors import GEOSException
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from mmearth.tests.earthengine.evaluate.lattice import is_geographic, transformer
from mmearth.tests.earthengine.evaluate.nouns import (
    Elements,
    Lambda,
    Picture,
    Projection,
    Region,
    Row,
    refuse,
)

LONLAT = "EPSG:4326"
_GEOD = Geod(ellps="WGS84")

_QUARTER = 32
"""Straight pieces of a quarter of a circle: 0.03 % of the radius is lost, the service's error
margin is 1 %."""

_PIECES = 8
"""Pieces of an edge that is straight in one reference system and drawn in another."""


def reproject(geometry: BaseGeometry, source: str, target: str) -> BaseGeometry:
    """Return a geometry in another reference system, vertex by vertex."""
    if source == target:
        return geometry
    change = transformer(source, target)

    def move(points: Any) -> Any:
        return np.column_stack(change.transform(points[:, 0], points[:, 1]))

    return shapely.transform(geometry, move)


def in_crs(region: Region, crs: str) -> BaseGeometry:
    """Return a region's geometry in a reference system; edges longer than 2 km are divided."""
    if region.crs == crs:
        return region.shape
    if crs not in region.memory:
        longest = 2000.0 / 111195.0 if is_geographic(region.crs) else 2000.0
        extent = np.array(region.shape.bounds)
        span = float(max(extent[2:] - extent[:2])) if extent.size and np.isfinite(extent[0]) else 0
        whole = region.shape
        if span > longest and not region.shape.geom_type.endswith("Point"):
            whole = shapely.segmentize(whole, span / _PIECES)
        region.memory[crs] = reproject(whole, region.crs, crs)
        shapely.prepare(region.memory[crs])
    moved: BaseGeometry = region.memory[crs]
    return moved


def lonlat(region: Region) -> BaseGeometry:
    """Return a region's geometry in EPSG:4326."""
    return in_crs(region, LONLAT)


def region_of(value: Any) -> Region | None:
    """Return the geometry of whatever has one."""
    if isinstance(value, Region):
        return value
    if isinstance(value, Row):
        return value.geometry
    if isinstance(value, Picture):
        return value.footprint
    if isinstance(value, Elements):
        regions = [region_of(item) for item in value.items]
        shapes = [lonlat(region) for region in regions if region is not None]
        return Region(shapely.union_all(shapes))
    if isinstance(value, dict) and "type" in value and "coordinates" in value:
        return Region(shape(value))
    return None


def _shape(kind: str, coordinates: list[Any]) -> BaseGeometry:
    try:
        return shape({"type": kind, "coordinates": coordinates})
    except (GEOSException, IndexError, TypeError, ValueError) as error:
        raise refuse(f"GeometryConstructors.{kind}: Invalid coordinates: {error}") from error


def _make(kind: str) -> Callable[..., Region]:
    """Return the constructor of one GeoJSON type."""

    def construct(
        coordinates: list[Any],
        crs: Projection | None = None,
        geodesic: bool | None = None,
        *_: Any,
    ) -> Region:
        if not coordinates:
            raise refuse(f"GeometryConstructors.{kind}: Geometry has no coordinates.")
        system = LONLAT if crs is None else crs.crs
        made = _shape(kind, coordinates)
        if kind == "Polygon" and not shapely.is_valid(made):
            made = shapely.make_valid(made)
        curved = is_geographic(system) if geodesic is None else bool(geodesic)
        return Region(made, system, curved)

    return construct


def _rectangle(
    coordinates: list[Any], crs: Projection | None, geodesic: bool | None, _: bool
) -> Region:
    """Return a rectangle of two corners, nested or flat."""
    flat = np.array(coordinates, dtype=np.float64).ravel()
    if flat.size != 4:
        raise refuse("GeometryConstructors.Rectangle: 2 corners are needed.")
    (west, south), (east, north) = np.sort(flat.reshape(2, 2), axis=0).tolist()
    system = LONLAT if crs is None else crs.crs
    curved = is_geographic(system) if geodesic is None else bool(geodesic)
    return Region(shapely.box(west, south, east, north), system, curved)


def _bbox(west: float, south: float, east: float, north: float) -> Region:
    return Region(shapely.box(west, south, east, north), LONLAT, False)


def _multi_geometry(geometries: list[Region], *_: Any) -> Region:
    return Region(shapely.GeometryCollection([lonlat(region) for region in geometries]))


def _local(region: Region) -> str:
    """Return a plane in metres about a region."""
    centre = shapely.centroid(lonlat(region))
    return f"+proj=aeqd +lat_0={centre.y:.9f} +lon_0={centre.x:.9f} +datum=WGS84 +units=m"


def _buffer(region: Region, distance: float, _: Any, proj: Projection | None) -> Region:
    """Return a region grown by metres, or by units of `proj`."""
    if proj is not None:
        grown = in_crs(region, proj.crs).buffer(distance, quad_segs=_QUARTER)
        return Region(grown, proj.crs, False)
    if not is_geographic(region.crs):
        grown = region.shape.buffer(distance, quad_segs=_QUARTER)
        return Region(grown, region.crs, region.geodesic)
    plane = _local(region)
    grown = in_crs(region, plane).buffer(distance, quad_segs=_QUARTER)
    return Region(reproject(grown, plane, LONLAT))


def _area(region: Region, _: Any, proj: Projection | None) -> float:
    """Return square metres on the ellipsoid, or square units of a projection."""
    if proj is not None:
        return float(in_crs(region, proj.crs).area)
    if not is_geographic(region.crs):
        return float(region.shape.area)
    return abs(float(_GEOD.geometry_area_perimeter(region.shape)[0]))


def _perimeter(region: Region, _: Any, proj: Projection | None) -> float:
    if proj is not None or not is_geographic(region.crs):
        return float(in_crs(region, proj.crs if proj else region.crs).length)
    return abs(float(_GEOD.geometry_area_perimeter(region.shape)[1]))


def _centroid(region: Region, *_: Any) -> Region:
    if not is_geographic(region.crs):
        return Region(shapely.centroid(region.shape), region.crs, region.geodesic)
    plane = _local(region)
    return Region(reproject(shapely.centroid(in_crs(region, plane)), plane, LONLAT))


def _bounds(region: Region, _: Any, proj: Projection | None) -> Region:
    crs = LONLAT if proj is None else proj.crs
    return Region(shapely.box(*in_crs(region, crs).bounds), crs, False)


def _transform(region: Region, proj: Projection | None, _: Any, geodesic: bool | None) -> Region:
    crs = LONLAT if proj is None else proj.crs
    curved = is_geographic(crs) if geodesic is None else geodesic
    return Region(in_crs(region, crs), crs, curved)


def _algebra(
    combine: Callable[[BaseGeometry, BaseGeometry], BaseGeometry],
) -> Callable[..., Region]:
    """Return a function of two regions, computed in `proj`, else where both lie."""

    def compute(left: Region, right: Region, _: Any, proj: Projection | None) -> Region:
        crs = proj.crs if proj else left.crs if left.crs == right.crs else LONLAT
        return Region(combine(in_crs(left, crs), in_crs(right, crs)), crs, left.geodesic)

    return compute


def _predicate(test: Callable[[BaseGeometry, BaseGeometry], bool]) -> Callable[..., bool]:
    """Return a question about two regions."""

    def ask(left: Region, right: Region, _: Any, proj: Projection | None) -> bool:
        crs = proj.crs if proj else left.crs if left.crs == right.crs else LONLAT
        return bool(test(in_crs(left, crs), in_crs(right, crs)))

    return ask


def _distance(left: Region, right: Region, _: Any, proj: Projection | None, __: bool) -> float:
    crs = proj.crs if proj else _local(left)
    return float(shapely.distance(in_crs(left, crs), in_crs(right, crs)))


def as_json(region: Region | None) -> dict[str, Any] | None:
    """Return GeoJSON as the service writes it: lon,lat unless the region is planar elsewhere."""
    if region is None:
        return None
    written: dict[str, Any] = json.loads(json.dumps(mapping(region.shape)))
    if region.crs != LONLAT:
        written["crs"] = {"type": "name", "properties": {"name": region.crs}}
    if not region.geodesic:
        written["geodesic"] = False
    return written


def _coordinates(region: Region) -> Any:
    return json.loads(json.dumps(mapping(region.shape).get("coordinates", [])))


def _geometries(region: Region) -> list[Region]:
    parts: Sequence[BaseGeometry] = getattr(region.shape, "geoms", [region.shape])
    return [Region(part, region.crs, region.geodesic) for part in parts]


def _dissolve(region: Region, *_: Any) -> Region:
    return Region(shapely.union_all([region.shape]), region.crs, region.geodesic)


def _type(region: Region) -> str:
    return str(region.shape.geom_type)


def _projection(region: Region) -> Projection:
    return Projection(region.crs)


_REGION: dict[str, Lambda] = {
    "area": _area,
    "bounds": _bounds,
    "buffer": _buffer,
    "centroid": _centroid,
    "contains": _predicate(shapely.contains),
    "containedIn": _predicate(shapely.within),
    "difference": _algebra(shapely.difference),
    "disjoint": _predicate(shapely.disjoint),
    "dissolve": _dissolve,
    "distance": _distance,
    "intersection": _algebra(shapely.intersection),
    "intersects": _predicate(shapely.intersects),
    "perimeter": _perimeter,
    "transform": _transform,
    "union": _algebra(shapely.union),
}
"""What both a geometry and a feature can be asked."""


def _of_feature(function: Lambda) -> Lambda:
    """Return the same for features: regions come back as features, the rest as it is."""

    def compute(feature: Row, *arguments: Any) -> Any:
        if feature.geometry is None:
            raise refuse("Feature has no geometry.")
        others = [item.geometry if isinstance(item, Row) else item for item in arguments]
        result = function(feature.geometry, *others)
        return Row(result, feature.properties) if isinstance(result, Region) else result

    return compute


FUNCTIONS: dict[str, Lambda] = {
    **{f"Geometry.{name}": function for name, function in _REGION.items()},
    **{f"Feature.{name}": _of_feature(function) for name, function in _REGION.items()},
    "Geometry.coordinates": _coordinates,
    "Geometry.geodesic": lambda region: region.geodesic,
    "Geometry.geometries": _geometries,
    "Geometry.projection": _projection,
    "Geometry.type": _type,
    "GeometryConstructors.BBox": _bbox,
    "GeometryConstructors.LineString": _make("LineString"),
    "GeometryConstructors.MultiGeometry": _multi_geometry,
    "GeometryConstructors.MultiPoint": _make("MultiPoint"),
    "GeometryConstructors.MultiPolygon": _make("MultiPolygon"),
    "GeometryConstructors.Point": _make("Point"),
    "GeometryConstructors.Polygon": _make("Polygon"),
    "GeometryConstructors.Rectangle": _rectangle,
}
