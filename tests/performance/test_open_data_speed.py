"""What tiles of open collections cost, 50 ms before each answer: requests, bytes, tiles a second.

Where `odc-stac` is installed the same tiles are loaded by it from the same server in the same run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import rasterio

from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.limit import LocalLimit
from mmearth.curate.recipes import quirks_of
from mmearth.curate.remote.access import RemoteAccess
from mmearth.curate.remote.tiff import Region, layouts
from mmearth.curate.source import Visit
from mmearth.curate.sources.files.header import PixelGrid
from mmearth.curate.sources.files.raster import windows
from mmearth.curate.sources.stac.config import StacConfig
from mmearth.curate.sources.stac.source import Stac
from mmearth.tests.open_data.world import Scene, World, world

pytestmark = [pytest.mark.performance, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SIDE = 15_360
LATENCY_S = 0.05
CELL = 200_000


def scenes(n: int, layout: str) -> list[Scene]:
    """Return scenes of three by three blocks of 512 pixels, each in another cell."""
    how: dict[str, Any] = {"side": SIDE, "block": 512, "layout": layout}
    places = [(200_000 + CELL * (i % 3), 5_000_040 - CELL * (i // 3)) for i in range(n)]
    return [
        Scene(f"S2A_{i}_L2A", "2020-07-01", left=left, top=top, **how)
        for i, (left, top) in enumerate(places)
    ]


def unavoidable(planet: World, scene: Scene, tiles: Sequence[Tile]) -> int:
    """Return the bytes of the blocks under tiles, of all bands."""
    total = 0
    for path in (planet.root / "es" / "s2" / scene.id).glob("*.tif"):
        data = path.read_bytes()
        [layout] = layouts(lambda begin, end, d=data: d[begin:end], len(data), path.name)
        with rasterio.open(path) as dataset:
            grid = PixelGrid(dataset.crs, dataset.transform, dataset.height, dataset.width)
        under = {
            span
            for tile in tiles
            for w in windows(grid, tile)
            for span in layout.spans(Region(w.col_off, w.row_off, w.width, w.height))
        }
        total += sum(end - begin for begin, end in under)
    return total


def ours(planet: World, tiles: Sequence[Tile], cache: Path) -> tuple[float, int, int]:
    """Return tiles a second, requests and bytes of a source with an empty cache."""
    access = RemoteAccess(cache, 10**10)
    config = StacConfig(kind="stac", catalogs=planet.catalogs[:1])
    source = Stac(config, MMEARTH_BENCH, quirks_of("default", {}), access, LocalLimit(40, 500.0))
    planet.server.forget()
    planet.searches.clear()

    def visit(some: Sequence[Tile]) -> None:
        source.look_ahead([Visit(tile, ("sentinel2",), None) for tile in some])
        for tile in some:
            found = source.observe(tile, ("sentinel2",), None)["sentinel2"]
            assert not isinstance(found, MMEarthError), found

    begin = time.perf_counter()
    with ThreadPoolExecutor(source.visitors(os.cpu_count() or 1)) as pool:  # as a build does
        list(pool.map(visit, [tiles[i : i + 15] for i in range(0, len(tiles), 15)]))
    seconds = time.perf_counter() - begin
    return len(tiles) / seconds, planet.server.n_requests, planet.server.n_bytes


def theirs(planet: World, tiles: Sequence[Tile]) -> tuple[float, int, int] | None:
    """Return the same of odc-stac with Dask threads, as its documentation advises."""
    try:
        import dask
        import odc.stac
        import pystac
        from odc.geo.geobox import GeoBox
        from rasterio.transform import Affine
    except ImportError:
        return None
    items = [pystac.Item.from_dict(_whole(item)) for item in planet.items["es"]]
    bands = [key for key in items[0].assets if key != "scl"]
    odc.stac.configure_rio(cloud_defaults=True)
    planet.server.forget()
    begin = time.perf_counter()
    loads = []
    for tile in tiles:
        box = GeoBox((128, 128), Affine(*tile.transform), f"EPSG:{tile.epsg}")
        near = [item for item in items if _holds(item, tile)]
        loads.append(odc.stac.load(near, bands=bands, geobox=box, resampling="bilinear", chunks={}))
    with dask.config.set(scheduler="threads", num_workers=16):
        dask.compute(*loads)
    seconds = time.perf_counter() - begin
    return len(tiles) / seconds, planet.server.n_requests, planet.server.n_bytes


def _whole(item: dict[str, Any]) -> dict[str, Any]:
    more = ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"]
    return {**item, "stac_version": "1.0.0", "stac_extensions": more, "links": []}


def _holds(item: Any, tile: Tile) -> bool:
    west, south, east, north = item.bbox
    return bool(west <= tile.lon <= east and south <= tile.lat <= north)


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "shared"])
def test_requests_bytes_and_tiles_a_second(tmp_path: Path, shared: bool) -> None:
    (tmp_path / "planet").mkdir()
    with world(tmp_path / "planet") as planet:
        some = scenes(2 if shared else 6, "l2a")
        for scene in some:
            planet.add(scene)
        n_each = 15 if shared else 1
        near = [
            [
                Tile(32633, s.left + 2_000 + 1_300 * (i % 5), s.top - 2_000 - 1_300 * (i // 5))
                for i in range(n_each)
            ]
            for s in some
        ]
        tiles = [tile for here in near for tile in here]
        planet.server.latency_s = LATENCY_S
        rows = {"mmearth": ours(planet, tiles, tmp_path / "cache")}
        least = sum(unavoidable(planet, s, here) for s, here in zip(some, near, strict=True))
        other = theirs(planet, tiles)
        if other is not None:
            rows["odc-stac"] = other
    print(
        f"\n{'shared' if shared else 'apart'}: {len(tiles)} tiles, {least / 1e6:.1f} MB of blocks"
    )
    for name, (speed, requests, n_bytes) in rows.items():
        each = requests / len(tiles), n_bytes / least
        print(f"{name:9} {speed:6.2f} tiles/s {each[0]:6.1f} requests/tile {each[1]:6.3f} × bytes")
    _, requests, _ = rows["mmearth"]
    assert requests / len(tiles) <= (6 if shared else 27)
