"""An item of a STAC API: where and when it is of, its assets, and what is added to its numbers."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.errors import ConfigError, SourceError
from mmearth.catalog.tile import Tile
from mmearth.catalog.utm import to_lonlat
from mmearth.curate.remote.address import joined, public
from mmearth.curate.sources.files.baseline import offset_told
from mmearth.curate.sources.stac.config import CollectionEntry

Box = tuple[float, float, float, float]
_ROUGH_DEG = 0.002
"""By so much, 200 m, footprints that are drawn with few corners may be short of the pixels."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is known of an item."""

    api: str
    """Address of the API."""
    collection: str
    """Its collection's identifier."""
    id: str
    """Its identifier."""
    day: str
    """When it was acquired, `YYYY-MM-DD`, UTC; of an interval the first day."""
    cloud_cover: float
    """Per cent; 100 where it is not said."""
    baseline: str
    """Processing baseline such as `05.09`; empty where it is not said."""
    epsg: int | None
    """Of its pixels; None where it is not said."""
    box: Box | None
    """Left, bottom, right, top of its pixels by `epsg`; None where it is not said."""
    footprint: BaseGeometry | None
    """In degrees; None where it is none that can be: the wrong way round the globe."""
    assets: Mapping[str, Mapping[str, Any]]
    """By key."""
    properties: Mapping[str, Any]
    """All that it says."""

    @property
    def address(self) -> str:
        """Where it is described."""
        return f"{self.api}/collections/{self.collection}/items/{self.id}"

    @property
    def rank(self) -> tuple[float, str]:
        """What duplicates are ordered by: the latest baseline first, then by identifier."""
        found = re.search(r"\d+(\.\d+)?", self.baseline)
        return -float(found[0]) if found else 0.0, self.id

    @property
    def granule(self) -> object:
        """What all items of one granule have: a square of the grid, or else a box or outline."""
        code = self.properties.get("grid:code") or self.properties.get("s2:mgrs_tile")
        if code:
            return str(code).upper().removeprefix("MGRS-").lstrip("T0")
        return self.epsg, str(self.footprint) if self.box is None else self.box

    def in_box(self, tile: Tile, wholly: bool) -> bool:
        """Return whether its pixels' box holds a tile, or touches it; True where none is said."""
        if self.epsg is None or self.box is None:
            return True
        try:
            bounds: Box = tile.bounds
            if self.epsg != tile.epsg:
                crs = CRS.from_epsg(tile.epsg), CRS.from_epsg(self.epsg)
                bounds = transform_bounds(*crs, *bounds)
        except RasterioError:
            return False
        left, bottom, right, top = bounds
        if not all(math.isfinite(number) for number in bounds):
            return False
        w, s, e, n = self.box
        if wholly:
            return w <= left and s <= bottom and right <= e and top <= n
        if self.epsg == 4326 and right < left:
            right += 360.0
        turns = (0.0, 360.0, -360.0) if self.epsg == 4326 else (0.0,)
        return s < top and bottom < n and any(w < right + t and left + t < e for t in turns)

    def href(self, key: str, entry: CollectionEntry) -> str | None:
        """Return the address of an asset, None where the item has no such one."""
        found = self.assets.get(key, {}).get("href")
        if not found:
            return None
        found = str(found)
        if entry.s3 is not None:
            found = re.sub(r"^s3://[^/]+", entry.s3, found)
        return found


def item_of(document: Any, api: str) -> Item | None:
    """Return an item, None where a document is none that can be used."""
    try:
        said: Mapping[str, Any] = document["properties"]
        collection, name = str(document["collection"]), str(document["id"])
        base = _base(document, f"{api}/collections/{collection}/items/{name}")
        some = {str(k): v for k, v in document["assets"].items() if isinstance(v, dict)}
        assets = {k: {**v, "href": joined(base, str(v.get("href", "")))} for k, v in some.items()}
        epsg, box = _pixels(said, assets, document.get("bbox"))
        return Item(
            api=api,
            collection=collection,
            id=name,
            day=_day(str(said.get("datetime") or said["start_datetime"])),
            cloud_cover=_number(said.get("eo:cloud_cover"), 100.0),
            baseline=str(
                said.get("s2:processing_baseline") or said.get("processing:version") or ""
            ),
            epsg=epsg,
            box=box,
            footprint=_footprint(document.get("geometry")),
            assets=assets,
            properties=said,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def outline(tile: Tile) -> BaseGeometry:
    """Return a tile in degrees, in one piece: beyond 180 where it crosses the antimeridian."""
    left, bottom, right, top = tile.bounds
    corners = [left, right, right, left], [bottom, bottom, top, top]
    lons, lats = to_lonlat(tile.epsg).transform(*corners)
    middle = tile.lon
    turned = [middle + (lon - middle + 180.0) % 360.0 - 180.0 for lon in lons]
    return shapely.Polygon(list(zip(turned, lats, strict=True)))


def covered(items: Sequence[Item], tile: Tile) -> bool:
    """Return whether the footprints of items together hold a tile; those unknown are believed."""
    if any(item.footprint is None for item in items):
        return True
    whole = outline(tile)
    parts = [_beside(item.footprint, tile.lon) for item in items if item.footprint is not None]
    return bool(shapely.union_all(parts).buffer(_ROUGH_DEG).covers(whole))


def touches(item: Item, tile: Tile) -> bool:
    """Return whether an item's footprint touches a tile; an unknown one is believed."""
    if item.footprint is None:
        return True
    return bool(_beside(item.footprint, tile.lon).buffer(_ROUGH_DEG).intersects(outline(tile)))


def offset_of(item: Item, entry: CollectionEntry) -> float | None:
    """Return what is added to the digital numbers of a Sentinel-2 item; None for nothing.

    Raises:
        SourceError: The item does not say it: it cannot be used.
    """
    if isinstance(entry.offset, float) or entry.offset is None:
        return entry.offset
    if entry.offset == "auto":
        name = str(item.properties.get("s2:product_uri") or item.id)
        try:
            found = offset_told({"processing_baseline": item.baseline}, name)
        except ConfigError:
            found = None
        if found is None:
            raise SourceError(f"{item.address} tells no processing baseline")
        return found
    added = {_added(item, key) for key in entry.keys.values() if key in item.assets}
    if len(added) != 1:
        raise SourceError(f"{item.address} tells other offsets of other bands: {sorted(added)}")
    return added.pop()


def scaling(item: Item, key: str) -> tuple[float, float]:
    """Return scale and offset that an item declares of an asset.

    Raises:
        SourceError: It declares none.
    """
    asset = item.assets[key]
    for bands, prefix in ((asset.get("raster:bands"), ""), (asset.get("bands"), "raster:")):
        if isinstance(bands, list) and bands and isinstance(bands[0], dict):
            scale, offset = (_number(bands[0].get(f"{prefix}{n}"), math.nan) for n in _SCALING)
            if not math.isnan(scale):
                return scale, 0.0 if math.isnan(offset) else offset
    scale, offset = (_number(asset.get(f"raster:{n}"), math.nan) for n in _SCALING)
    if math.isnan(scale) or not scale:
        raise SourceError(f"{item.address} tells no scale of its asset {key}")
    return scale, 0.0 if math.isnan(offset) else offset


_SCALING = ("scale", "offset")


def source_ids(item: Item, entry: CollectionEntry, told: Mapping[str, object]) -> list[str]:
    """Return what provenance says of an item: itself, how it was read, and each of its files."""
    about = {"baseline": item.baseline} if item.baseline else {}
    facts = ",".join(f"{key}={value}" for key, value in {**about, **told}.items())
    hrefs = [item.href(key, entry) for key in entry.keys.values()]
    return [f"{item.address}{'#' if facts else ''}{facts}", *(public(h) for h in hrefs if h)]


def _added(item: Item, key: str) -> float:
    scale, offset = scaling(item, key)
    return round(offset / scale, 6)  # whole numbers, but for the last digits of 0.1 / 0.0001


def _pixels(
    said: Mapping[str, Any], assets: Mapping[str, Mapping[str, Any]], bbox: Any
) -> tuple[int | None, Box | None]:
    """Return the CRS and the box of an item's pixels, by its own words or those of an asset."""
    places = (said, *assets.values())
    for place in places:
        epsg, box = _epsg(place) or _epsg(said), _box(place)
        if epsg is not None and box is not None:
            return epsg, box
    epsg = next((code for place in places if (code := _epsg(place)) is not None), None)
    if epsg == 4326 and isinstance(bbox, list) and len(bbox) == 4:
        return epsg, tuple(map(float, bbox))  # type: ignore[return-value]
    return epsg, None


def _epsg(place: Mapping[str, Any]) -> int | None:
    """Return the code of a CRS, by any of the words of the projection extension."""
    code = place.get("proj:epsg") or place.get("proj:code")
    if named := re.fullmatch(r"(?:EPSG:)?(\d+)", str(code), re.IGNORECASE):
        return int(named[1])
    for said in filter(None, (code, place.get("proj:wkt2"), place.get("proj:projjson"))):
        try:
            code = CRS.from_user_input(said).to_epsg()
        except RasterioError:
            continue
        return None if code is None else int(code)
    return None


def _box(place: Mapping[str, Any]) -> Box | None:
    found, shape = place.get("proj:transform"), place.get("proj:shape")
    if isinstance(found, list) and len(found) >= 6 and isinstance(shape, list) and len(shape) == 2:
        a, b, c, d, e, f = map(float, found[:6])
        height, width = map(float, shape)
        xs = [c, c + a * width, c + b * height, c + a * width + b * height]
        ys = [f, f + d * width, f + e * height, f + d * width + e * height]
        return min(xs), min(ys), max(xs), max(ys)
    box = place.get("proj:bbox")
    if isinstance(box, list) and len(box) == 4:
        return tuple(map(float, box))  # type: ignore[return-value]
    return None


def _base(document: Mapping[str, Any], address: str) -> str:
    """Return what relative addresses of an item start from: where it says that it is."""
    for link in document.get("links") or []:
        if isinstance(link, dict) and link.get("rel") == "self" and link.get("href"):
            return joined(address, str(link["href"]))
    return address


def _day(when: str) -> str:
    """Return the day of a moment, UTC."""
    moment = datetime.datetime.fromisoformat(when)
    moment = moment if moment.tzinfo is None else moment.astimezone(datetime.UTC)
    return moment.date().isoformat()


def _footprint(geometry: Any) -> BaseGeometry | None:
    try:
        found = shapely.geometry.shape(geometry)
    except (AttributeError, TypeError, ValueError, KeyError, shapely.errors.ShapelyError):
        return None
    found = found if found.is_valid else shapely.make_valid(found)
    west, _, east, _ = (float(n) for n in found.bounds)
    if found.is_empty or not all(map(math.isfinite, found.bounds)):
        return None
    parts = shapely.get_parts(found)
    widths = [part.bounds[2] - part.bounds[0] for part in parts]
    # No scene is half as wide as the Earth: one that crosses 180° was drawn the other way round.
    return None if max(widths) > 180.0 or (len(parts) == 1 and east - west > 180.0) else found


def _beside(footprint: BaseGeometry, lon: float) -> BaseGeometry:
    """Return a footprint with each of its parts on the turn of the globe next to a meridian."""
    moved = []
    for part in shapely.get_parts(footprint):
        middle = (part.bounds[0] + part.bounds[2]) / 2
        turn = 360.0 * round((lon - middle) / 360.0)
        moved.append(shapely.transform(part, lambda xy, t=turn: xy + np.array([t, 0.0])))
    return shapely.union_all(moved)


def _number(value: Any, default: float) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return default
    return found if math.isfinite(found) else default
