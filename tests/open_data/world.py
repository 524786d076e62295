"""A small open world on loopback: scenes in the layouts of three catalogues, behind a STAC API.

Files are served by ranges, counted and disturbed by `range_server`; the API searches in memory.
What a pixel is follows from its place: `digital_numbers` and `scene_classes`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds, transform_geom

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.remote import sign
from mmearth.tests.range_server import Answer, RangeServer, serving

BANDS = MMEARTH_BENCH.layers["sentinel2"].bands
SIDE = 6_000
"""Metres of a granule: much smaller than the true ones, as are their blocks."""
_ES = ("coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22").split()
KEYS = {
    "l2a": dict(zip([b.name for b in BANDS], _ES, strict=True)),
    "c1": dict(zip([b.name for b in BANDS], _ES, strict=True)),
    "pc": {b.name: f"B{b.name[1:]:0>2}" if b.name != "B8A" else "B8A" for b in BANDS},
}
SCL = {"l2a": "scl", "c1": "scl", "pc": "SCL"}
COLLECTION = {"l2a": "sentinel-2-l2a", "c1": "sentinel-2-c1-l2a", "pc": "sentinel-2-l2a"}
CATALOG = {"l2a": "es", "c1": "es", "pc": "pc"}


def digital_numbers(i: int, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.uint16]:
    """Return the harmonised digital numbers of the i-th band at places: 200 to 3199, with noise."""
    pixel = int(BANDS[i].native_m or 0)
    column, row = (x // pixel).astype(np.int64), (y // pixel).astype(np.int64)
    noise = column * 73_856_093 ^ row * 19_349_663 ^ (i + 1) * 83_492_791
    noise = (noise ^ noise >> 13) * 1_540_483_477 >> 15 & 255  # as hard to pack as true ones
    return np.asarray(200 + (column * 7 + row * 13 + i * 101 + noise) % 3000).astype(np.uint16)


@dataclass(frozen=True)
class Scene:
    """What a Sentinel-2 scene is like."""

    id: str
    day: str
    left: int = 500_000
    top: int = 5_003_000
    epsg: int = 32633
    layout: str = "l2a"
    cloud: float = 0.0
    """Share of the scene, from its western edge, that is cloudy."""
    baseline: str = "05.09"
    absent: float = 0.0
    """Share of the scene, from its eastern edge, that was not seen."""
    footprint: Any = None
    """In place of the true one."""
    lacks: tuple[str, ...] = ()
    """Bands without an asset."""
    said_cloud: float | None = None
    """Per cent; the true one unless given."""
    more: dict[str, Any] = field(default_factory=dict)
    """Properties beside the usual."""
    side: int = SIDE
    """Metres."""
    block: int = 256
    """Pixels of a block's side."""
    file: dict[str, Any] = field(default_factory=dict)
    """How its files are written, in place of the usual."""
    overviews: bool = False
    """Whether they have overviews behind the pixels."""


@dataclass
class World:
    """A running world."""

    server: RangeServer
    items: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"es": [], "pc": []})
    searches: list[dict[str, Any]] = field(default_factory=list)
    page: int | None = None
    """Items a page at most, whatever is asked for."""
    paging: str = "merged"
    """How the next page is asked for: by a body that is `merged`, or is `whole`, or by `get`."""
    reverse: bool = False
    """Answer in the other order."""
    tokens: int = 0
    life_s: float = 3600.0
    valid: str = ""
    spoil: Callable[[dict[str, Any]], int | None] | None = None
    """Body of a search → the status that it is answered with."""

    @property
    def root(self) -> Path:
        return self.server.directory

    @property
    def catalogs(self) -> list[dict[str, Any]]:
        """Return `catalogs:` of a configuration."""
        url = self.server.url
        pc = {"name": "planetary-computer", "url": f"{url}/api/pc", "sas": f"{url}/sas"}
        return [{"name": "earth-search", "url": f"{url}/api/es"}, pc]

    def add(self, scene: Scene) -> dict[str, Any]:
        """Write a scene's files and let the API know of it; return the item."""
        folder = f"{'pc' if scene.layout == 'pc' else 'es'}/s2/{scene.id}"
        assets = {}
        for i, (band, key) in enumerate(KEYS[scene.layout].items()):
            if band not in scene.lacks:
                native = int(BANDS[i].native_m or 0)
                assets[key] = self._asset(scene, folder, key, native, _band(scene, i))
        assets[SCL[scene.layout]] = self._asset(
            scene, folder, SCL[scene.layout], 20, scene_classes(scene)
        )
        if scene.layout == "c1":
            cloudy = np.where(scene_classes(scene) == 9, 90, 2).astype(np.uint8)
            assets["cloud"] = self._asset(scene, folder, "cloud", 20, cloudy)
        item = _item(scene, assets)
        self.items[CATALOG[scene.layout]].append(item)
        return item

    def add_again(self, scene: Scene, like: dict[str, Any]) -> dict[str, Any]:
        """Let the API know of a scene whose files are those of another item, under other names."""
        folder = self.root / urlsplit(like["assets"][SCL[scene.layout]]["href"]).path.strip("/")
        (folder.parent.parent / scene.id).symlink_to(folder.parent.name)
        assets = {
            key: asset | {"href": asset["href"].replace(f"/{like['id']}/", f"/{scene.id}/")}
            for key, asset in like["assets"].items()
        }
        item = _item(scene, assets)
        self.items[CATALOG[scene.layout]].append(item)
        return item

    def add_raster(
        self, catalog: str, collection: str, name: str, path: str, key: str, **more: Any
    ) -> dict[str, Any]:
        """Let the API know of a raster that is there; return the item."""
        with rasterio.open(self.root / path) as dataset:
            box = transform_bounds(dataset.crs, 4326, *dataset.bounds)
            asset = {
                "href": f"{self.server.url}/{path}",
                "proj:shape": list(dataset.shape),
                "proj:transform": list(dataset.transform)[:6],
                "proj:epsg": dataset.crs.to_epsg(),
            }
        item = {
            "type": "Feature",
            "id": name,
            "collection": collection,
            "bbox": list(box),
            "geometry": shapely.geometry.mapping(shapely.box(*box)),
            "properties": {"datetime": "2020-06-01T00:00:00Z"} | more,
            "assets": {key: asset},
        }
        self.items[catalog].append(item)
        return item

    def _asset(
        self, scene: Scene, folder: str, key: str, pixel: int, values: NDArray[Any]
    ) -> dict[str, Any]:
        path = self.root / folder / f"{key}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        transform = Affine(pixel, 0, scene.left, 0, -pixel, scene.top)
        is_pc = scene.layout == "pc"
        block = {"blockxsize": scene.block, "blockysize": scene.block, "tiled": True}
        how = {"compress": "deflate", "predictor": 2, "zlevel": 1, **block}
        usual = {"driver": "GTiff", "nodata": None if is_pc else 0}
        with rasterio.open(
            path,
            "w",
            count=1,
            dtype=values.dtype,
            height=values.shape[0],
            width=values.shape[1],
            crs=f"EPSG:{scene.epsg}",
            transform=transform,
            **usual | (scene.file or how),
        ) as dataset:
            dataset.write(values, 1)
            if scene.overviews:
                dataset.build_overviews([2, 4])
        about: dict[str, Any] = {
            "href": f"{self.server.url}/{folder}/{key}.tif",
            "proj:shape": list(values.shape),
            "proj:transform": list(transform)[:6],
        }
        if not is_pc and key not in ("scl", "cloud"):  # in l2a it is wrong, in c1 right
            about["raster:bands"] = [{"nodata": 0, "scale": 0.0001, "offset": -0.1}]
        return about

    def routes(self) -> None:
        """Let the server answer as API and as service of signatures."""
        self.server.routes["/api/"] = self._search
        self.server.routes["/sas/"] = self._sign
        self.server.guard = self._guard

    def _search(self, path: str, query: str, body: bytes) -> Answer:
        words = dict(parse_qsl(query))
        question = json.loads(body) if body else {k: json.loads(v) for k, v in words.items()}
        self.searches.append(question)
        status = self.spoil(question) if self.spoil else None
        if status:
            return status, b"", {}
        found = [i for i in self.items[path.split("/")[2]] if _matches(i, question)]
        if self.reverse:
            found.reverse()
        begin, limit = int(question.get("token", 0)), int(question.get("limit", 10))
        limit = min(limit, self.page or limit)
        links = [] if begin + limit >= len(found) else [self._next(path, question, begin + limit)]
        page = {"type": "FeatureCollection", "features": found[begin : begin + limit]}
        return 200, json.dumps(page | {"links": links}).encode(), {}

    def _next(self, path: str, question: dict[str, Any], begin: int) -> dict[str, Any]:
        if self.paging == "get":
            words = {k: json.dumps(v) for k, v in (question | {"token": begin}).items()}
            return {"rel": "next", "href": f"search?{urlencode(words)}"}
        is_merged = self.paging == "merged"
        body = {"token": begin} if is_merged else question | {"token": begin}
        link = {"rel": "next", "href": path, "method": "POST", "body": body}
        return link | ({"merge": True} if is_merged else {})

    def _sign(self, path: str, query: str, body: bytes) -> Answer:
        self.tokens += 1
        self.valid = f"sig=secret{self.tokens}"
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.life_s)
        told = {"token": self.valid, "msft:expiry": end.isoformat()}
        return 200, json.dumps(told).encode(), {}

    def _guard(self, path: str, query: str) -> int | None:
        return 403 if path.startswith("/pc/") and query != self.valid else None


@contextmanager
def world(root: Path) -> Iterator[World]:
    """Run an empty world in a directory until the block ends."""
    sign.forget()
    with serving(root) as server:
        found = World(server)
        found.routes()
        yield found
    sign.forget()


def scene_classes(scene: Scene) -> NDArray[np.uint8]:
    """Return a scene's classification, 20 m: vegetation, cloud (9) in the west, 0 in the east."""
    size = scene.side // 20
    classes = np.full((size, size), 4, np.uint8)
    classes[:, : round(size * scene.cloud)] = 9
    classes[:, size - round(size * scene.absent) :] = 0
    return classes


def _band(scene: Scene, i: int) -> NDArray[np.uint16]:
    """Return a band as its catalogue has it: 1000 too high from baseline 04.00, but in `l2a`."""
    pixel = int(BANDS[i].native_m or 0)
    size = scene.side // pixel
    x = scene.left + pixel * np.arange(size)
    y = scene.top - pixel * np.arange(1, size + 1)
    values = digital_numbers(i, *np.meshgrid(x, y))
    if scene.layout != "l2a" and float(scene.baseline) >= 4.0:
        values = values + 1000
    values[:, size - round(size * scene.absent) :] = 0
    return values.astype(np.uint16)


def truth(tile: Tile, scene: Scene) -> NDArray[np.uint16]:
    """Return what a tile of a scene is: the whole of each band by `rasterio.warp.reproject`."""
    size = tile.grid.pixels
    found = np.full((len(BANDS), size, size), 65535, np.uint16)
    plain = Scene(**{**scene.__dict__, "layout": "l2a"})
    for i, band in enumerate(BANDS):
        pixel = int(band.native_m or 0)
        values = _band(plain, i).astype(np.float64)
        values[values == 0] = np.nan
        out = np.full((size, size), np.nan)
        reproject(
            values,
            out,
            src_transform=Affine(pixel, 0, scene.left, 0, -pixel, scene.top),
            src_crs=f"EPSG:{scene.epsg}",
            src_nodata=np.nan,
            dst_transform=Affine(*tile.transform),
            dst_crs=f"EPSG:{tile.epsg}",
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
            tolerance=0.0,
        )
        known = ~np.isnan(out)
        found[i][known] = np.floor(out[known] + 0.5)
    return found


def _item(scene: Scene, assets: dict[str, Any]) -> dict[str, Any]:
    box = scene.left, scene.top - scene.side, scene.left + scene.side, scene.top
    outline = shapely.geometry.mapping(shapely.box(*box))
    geometry = transform_geom(f"EPSG:{scene.epsg}", "EPSG:4326", outline)
    cloud = 100 * scene.cloud if scene.said_cloud is None else scene.said_cloud
    said: dict[str, Any] = {
        "datetime": f"{scene.day}T10:00:00Z",
        "eo:cloud_cover": cloud,
        "s2:processing_baseline": scene.baseline,
        **({"proj:code": f"EPSG:{scene.epsg}"} if scene.layout == "c1" else {}),
        **({"proj:epsg": scene.epsg} if scene.layout != "c1" else {}),
        **({"earthsearch:boa_offset_applied": False} if scene.layout == "l2a" else {}),
        **scene.more,
    }
    return {
        "type": "Feature",
        "id": scene.id,
        "collection": COLLECTION[scene.layout],
        "geometry": scene.footprint or geometry,
        "bbox": list(shapely.geometry.shape(scene.footprint or geometry).bounds),
        "properties": said,
        "assets": assets,
    }


def _matches(item: dict[str, Any], question: dict[str, Any]) -> bool:
    if item["collection"] not in question.get("collections", [item["collection"]]):
        return False
    if when := question.get("datetime"):
        first, last = when.split("/")
        start = item["properties"].get("datetime") or item["properties"]["start_datetime"]
        if not first <= start <= last:
            return False
    if where := question.get("intersects"):
        shapes = map(shapely.geometry.shape, (item["geometry"], where))
        return bool(shapely.intersects(*shapes))
    return True
