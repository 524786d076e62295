"""Whatever the words of an item and the layout of its files, the pixels are the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import shapely
from rasterio.crs import CRS
from shapely.affinity import translate

from mmearth.catalog.errors import NoDataError, UnavailableError
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.stac.source import Stac
from mmearth.tests.open_data.world import Scene, World
from mmearth.tests.unit.curate.sources.stac.test_stac_source import (
    LAYOUTS,
    TILE,
    assert_same,
    seen,
)

FILES: dict[str, dict[str, Any]] = {
    "cog": {"driver": "COG", "compress": "DEFLATE", "predictor": 2, "blocksize": 128},
    "oblong": {"tiled": True, "blockxsize": 64, "blockysize": 32, "compress": "LZW"},
    "plain": {"tiled": True, "blockxsize": 512, "blockysize": 512},
    "strips": {"compress": "ZSTD"},
    "lerc": {"driver": "COG", "compress": "LERC", "blocksize": 256},
    "big": {"tiled": True, "blockxsize": 256, "blockysize": 256, "bigtiff": "YES"},
    "no_nodata": {"tiled": True, "blockxsize": 256, "blockysize": 256, "nodata": None},
    "sparse": {"tiled": True, "blockxsize": 64, "blockysize": 64, "sparse_ok": True},
}


@pytest.mark.parametrize("kind", FILES)
def test_layouts_of_files(planet: World, made: Callable[..., Stac], kind: str) -> None:
    overviews = kind in ("plain", "oblong")
    scene = replace(LAYOUTS["c1"], file=FILES[kind], overviews=overviews, absent=0.53)
    planet.add(scene)
    found = seen(made(cloud={"least_seen": 0.5}))
    assert_same(found, TILE, scene)
    assert found.array.min() >= 200


@pytest.mark.parametrize("corner", [(502_010, 5_000_990), (501_990, 5_001_010)])
def test_tiles_between_pixels_of_20_and_60_m(
    planet: World, made: Callable[..., Stac], corner: tuple[int, int]
) -> None:
    planet.add(LAYOUTS["l2a"])
    tile = Tile(32633, *corner)
    assert_same(seen(made(), tile), tile, LAYOUTS["l2a"])


def _code(item: dict[str, Any], text: Any) -> None:
    said = item["properties"]
    said.pop("proj:epsg", None)
    said["proj:code"] = text


def _coded(item: dict[str, Any]) -> None:
    _code(item, "epsg:32633")


def _in_words(item: dict[str, Any]) -> None:
    _code(item, None)
    item["properties"]["proj:wkt2"] = CRS.from_epsg(32633).to_wkt()


def _of_assets(item: dict[str, Any]) -> None:
    _code(item, None)
    for asset in item["assets"].values():
        asset["proj:code"] = "EPSG:32633"


def _by_box(item: dict[str, Any]) -> None:
    for asset in item["assets"].values():
        height, width = asset.pop("proj:shape")
        a, _, left, _, e, top = asset.pop("proj:transform")
        asset["proj:bbox"] = [left, top + e * height, left + a * width, top]


def _without_projection(item: dict[str, Any]) -> None:
    _code(item, None)
    for asset in item["assets"].values():
        asset.pop("proj:shape")
        asset.pop("proj:transform")


def _without_clouds(item: dict[str, Any]) -> None:
    item["properties"].pop("eo:cloud_cover")


def _bands_of_1_1(item: dict[str, Any]) -> None:
    for asset in item["assets"].values():
        if told := asset.pop("raster:bands", None):
            asset["bands"] = [{"name": "a"} | {f"raster:{k}": v for k, v in told[0].items()}]


def _scale_of_1_1(item: dict[str, Any]) -> None:
    for asset in item["assets"].values():
        if told := asset.pop("raster:bands", None):
            asset.update({f"raster:{k}": v for k, v in told[0].items()}, bands=[{"name": "a"}])


def _relative(item: dict[str, Any]) -> None:
    base = urlsplit(item["assets"]["scl"]["href"])
    item["links"] = [{"rel": "self", "href": f"{base.scheme}://{base.netloc}/es/s2/item.json"}]
    for asset in item["assets"].values():
        asset["href"] = f"./{item['id']}/{asset['href'].rpartition('/')[2]}"


def _relative_without_self(item: dict[str, Any]) -> None:
    item["links"] = []
    for asset in item["assets"].values():
        asset["href"] = urlsplit(asset["href"]).path


def _late(item: dict[str, Any]) -> None:
    """The last moment of the season's last day, in another zone of time."""
    item["properties"]["datetime"] = "2020-07-09T23:59:59.97Z"


def _of_an_interval(item: dict[str, Any]) -> None:
    moment = item["properties"].pop("datetime")
    item["properties"] |= {"datetime": None, "start_datetime": moment, "end_datetime": moment}


def _flat(item: dict[str, Any]) -> None:
    """A footprint with heights, of many parts."""
    outline = shapely.geometry.shape(item["geometry"])
    west, south, east, north = outline.bounds
    middle = (west + east) / 2
    halves = [shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)]
    item["geometry"] = shapely.geometry.mapping(shapely.force_3d(shapely.MultiPolygon(halves)))


WORDS = {
    words.__name__: words
    for words in (
        *(_coded, _in_words, _of_assets, _by_box, _without_projection, _without_clouds),
        *(_bands_of_1_1, _scale_of_1_1, _relative, _relative_without_self, _late),
        *(_of_an_interval, _flat),
    )
}


@pytest.mark.parametrize("words", WORDS)
def test_words_of_items(planet: World, made: Callable[..., Stac], words: str) -> None:
    item = planet.add(LAYOUTS["c1"])
    WORDS[words](item)
    found = seen(made(catalogs=planet.catalogs[:1]), date="2020-07-09")
    assert_same(found, TILE, LAYOUTS["c1"])
    assert found.acquired == "2020-07-09"


@pytest.mark.parametrize("side", [-1, 1])
def test_footprints_across_the_antimeridian(
    planet: World, made: Callable[..., Stac], side: int
) -> None:
    """In two parts, one on each side, or in one beyond 180°."""
    tile = Tile.at(179.999 * side, 45.0)
    left, epsg = (733_000, 32660) if side > 0 else (262_000, 32601)
    scene = Scene("S2A_date_line", "2020-07-02", left=left, top=4_990_000, epsg=epsg)
    if side < 0:
        assert tile.bounds[0] > left
    west = shapely.box(179.9, 44.9, 180.0, 45.2)
    parts = [west, translate(west, -359.9)]
    for footprint in (shapely.MultiPolygon(parts), shapely.box(179.9, 44.9, 180.1, 45.2)):
        planet.items["es"].clear()
        item = planet.add(replace(scene, footprint=shapely.geometry.mapping(footprint)))
        item["geometry"] = shapely.geometry.mapping(shapely.MultiPolygon(parts))  # is searched
        found = seen(made(catalogs=planet.catalogs[:1]), tile)
        assert_same(found, tile, scene)


def test_an_item_of_nowhere_hides_no_other(planet: World, made: Callable[..., Stac]) -> None:
    """Without projection and with a footprint round the globe, it may be anywhere."""
    wrong = shapely.geometry.mapping(shapely.box(-179.995, 40.0, 179.995, 50.0))
    far = Scene("S2A_0", "2020-07-09", left=100_000, epsg=32601, layout="c1", footprint=wrong)
    for scene in (far, LAYOUTS["c1"]):
        _without_projection(planet.add(scene))
    assert_same(seen(made(catalogs=planet.catalogs[:1])), TILE, LAYOUTS["c1"])


def test_one_identifier_of_two_items_is_the_later_processed(
    planet: World, made: Callable[..., Stac]
) -> None:
    first = planet.add(LAYOUTS["l2a"])
    second = copy.deepcopy(first)
    second["properties"]["s2:processing_baseline"] = "05.10"
    planet.items["es"].append(second)
    for reverse in (False, True):
        planet.reverse = reverse
        assert any("baseline=05.10" in text for text in seen(made()).source_ids)


def test_a_duplicate_of_a_part_of_a_granule_is_no_scene_of_its_own(
    planet: World, made: Callable[..., Stac]
) -> None:
    """By its square: the first processing was cut to what was seen, and says fewer clouds."""
    square = {"grid:code": "MGRS-33TWL"}
    planet.add(
        Scene("S2A_0", "2020-07-01", baseline="05.00", said_cloud=0.0, side=4_800, more=square)
    )
    planet.add(Scene("S2A_1", "2020-07-01", baseline="05.09", said_cloud=9.0, more=square))
    [item] = [text for text in seen(made()).source_ids if "/items/" in text]
    assert "/S2A_1#" in item


def test_addresses_that_come_signed(planet: World, made: Callable[..., Stac]) -> None:
    """Who told them signed them: as it is where nobody else signs, anew where somebody does."""
    planet.valid = "sig=secret0"
    scene = replace(LAYOUTS["pc"], file={"tiled": True, "blockxsize": 64, "blockysize": 64})
    for asset in planet.add(scene)["assets"].values():
        asset["href"] += "?sig=secret0"
    unsigned = {**planet.catalogs[1], "sas": None}
    found = seen(made(catalogs=[unsigned]))
    assert_same(found, TILE, scene)
    assert not any("secret" in text for text in found.source_ids) and planet.tokens == 0
    planet.valid = "sig=other"
    far = Tile(32633, 500_500, 5_002_500)
    with pytest.raises(UnavailableError, match="its signature has ended"):
        seen(made(catalogs=[unsigned]), far)
    assert_same(seen(made(), far), far, scene)
    assert planet.tokens >= 1


@pytest.mark.parametrize("way", ["merged", "whole", "get"])
def test_ways_of_paging(planet: World, made: Callable[..., Stac], way: str) -> None:
    for day in range(1, 6):
        planet.add(Scene(f"S2A_{day}", f"2020-07-0{day}", cloud=float(day < 5), said_cloud=day))
    planet.page, planet.paging = 2, way
    assert seen(made()).acquired == "2020-07-05"
    assert len(planet.searches) == 3


def test_no_scene_is_told_with_how_many_there_were(
    planet: World, made: Callable[..., Stac]
) -> None:
    with pytest.raises(NoDataError, match="none of the 0 Sentinel-2 scenes"):
        seen(made())
