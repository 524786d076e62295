"""Tiles from open collections: the right scene, the right numbers, never a silent zero."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely

from mmearth.catalog.errors import MMEarthError, NoDataError, SourceError, UnavailableError
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Visit
from mmearth.curate.sources.stac.searches import degrees_between
from mmearth.curate.sources.stac.source import Stac
from mmearth.tests.open_data.world import SIDE, Scene, World, truth
from mmearth.tests.range_server import Fault

TILE = Tile(32633, 502_000, 5_001_000)
CLEAR = Scene("S2A_33T_20200701_0_L2A", "2020-07-01")


def seen(source: Stac, tile: Tile = TILE, date: str | None = None) -> Observation:
    found = source.observe(Visit(tile, ("sentinel2",), date))["sentinel2"]
    if isinstance(found, MMEarthError):
        raise found
    return found


def assert_same(found: Observation, tile: Tile, scene: Scene) -> None:
    """Nothing differs from the whole file's, but for a half that is rounded the other way."""
    off = np.abs(found.array.astype(int) - truth(tile, scene).astype(int))
    assert off.max() <= 1 and np.mean(off > 0) < 1e-4


LAYOUTS = {
    "l2a": Scene("S2A_33T_20220709_0_L2A", "2020-07-09"),
    "c1": Scene("S2A_T33_20220709_L2A", "2020-07-09", layout="c1"),
    "pc": Scene("S2A_MSIL2A_20220709_R022", "2020-07-09", layout="pc", baseline="04.00"),
    "pc of an old baseline": Scene(
        "S2B_MSIL2A_20200709", "2020-07-09", layout="pc", baseline="02.12"
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_three_rules_of_offset_give_the_same_reflectance(
    planet: World, made: Callable[..., Stac], layout: str
) -> None:
    scene = LAYOUTS[layout]
    planet.add(scene)
    found = seen(made())
    assert_same(found, TILE, scene)
    assert found.acquired == "2020-07-09" and found.source == "stac 1" and found.stand_in is None


def test_absent_pixels_stay_absent_under_an_offset(
    planet: World, made: Callable[..., Stac]
) -> None:
    """0 is absent before 1000 is taken off; PC's files do not even say so."""
    side = 0.53  # the swath's edge lies within the tile, whose two thirds are seen
    for layout, baseline in (("l2a", "05.09"), ("c1", "05.09"), ("pc", "04.00")):
        scene = Scene(f"S2_{layout}", "2020-07-09", layout=layout, baseline=baseline, absent=side)
        planet.items = {"es": [], "pc": []}
        planet.add(scene)
        found = seen(made(cloud={"least_seen": 0.5}))
        assert_same(found, TILE, scene)
        assert 0.6 < found.valid_fraction < 0.7
        assert found.array.min() >= 200


def test_the_baseline_or_the_item_must_tell_the_offset(
    planet: World, made: Callable[..., Stac]
) -> None:
    planet.add(replace(LAYOUTS["pc"], id="S2A_old", more={"s2:processing_baseline": ""}))
    with pytest.raises(SourceError, match="tells no processing baseline"):
        seen(made())
    planet.items = {"es": [], "pc": []}
    item = planet.add(LAYOUTS["c1"])
    for asset in item["assets"].values():
        asset.pop("raster:bands", None)
    with pytest.raises(SourceError, match="tells no scale of its asset"):
        seen(made())


def test_provenance_tells_the_item_its_files_and_the_rules(
    planet: World, made: Callable[..., Stac]
) -> None:
    planet.add(LAYOUTS["pc"])
    found = seen(made())
    [item] = [text for text in found.source_ids if "/items/" in text]
    url = planet.server.url
    assert item.startswith(f"{url}/api/pc/collections/sentinel-2-l2a/items/{LAYOUTS['pc'].id}#")
    assert item.endswith(
        "#baseline=04.00,offset=-1000,offset_by=auto,clear=1.0000,seen=1.0000,clouds_by=scl"
    )
    files = [text for text in found.source_ids if text.endswith(".tif")]
    assert len(files) == 12 and not any("sig" in text for text in found.source_ids)


def test_a_tile_of_another_zone_is_as_of_the_whole_file(
    planet: World, made: Callable[..., Stac]
) -> None:
    tile = Tile.at(18.0005, 45.0)  # a few metres east of the edge of zone 33
    assert tile.epsg == 32634
    scene = Scene("S2A_33", "2020-07-01", left=733_000, top=4_990_000)
    planet.add(scene)
    assert_same(seen(made(), tile), tile, scene)
    own = Scene("S2A_34", "2020-07-02", left=260_500, top=4_990_000, epsg=32634, cloud=0.02)
    planet.add(own)
    assert seen(made(), tile).acquired == "2020-07-02"  # its own zone first


def test_the_first_clear_scene_counts_and_not_what_it_says(
    planet: World, made: Callable[..., Stac]
) -> None:
    planet.add(Scene("S2A_a", "2020-07-01", cloud=0.6, said_cloud=1.0))  # cloudy on the tile
    planet.add(Scene("S2A_b", "2020-07-11", absent=0.5, said_cloud=2.0))  # not seen there
    planet.add(Scene("S2A_c", "2020-07-21", cloud=0.2, said_cloud=20.0))
    found = seen(made())
    assert found.acquired == "2020-07-21"  # cloudy elsewhere
    assert len(planet.searches) == 1
    with pytest.raises(NoDataError, match="none of the 3 Sentinel-2 scenes"):
        planet.items["es"].pop()
        planet.add(Scene("S2A_d", "2020-07-21", cloud=1.0, said_cloud=90.0))
        seen(made(catalogs=planet.catalogs[:1]))


def test_a_label_with_a_date_takes_the_nearest_clear_scene(
    planet: World, made: Callable[..., Stac]
) -> None:
    planet.add(Scene("S2A_a", "2021-03-01", said_cloud=0.0))
    planet.add(Scene("S2A_b", "2021-03-09", said_cloud=9.0))
    assert seen(made(), date="2021-03-10").acquired == "2021-03-09"
    with pytest.raises(NoDataError):
        seen(made(), date="2021-05-10")


@pytest.mark.parametrize("reverse", [False, True])
def test_of_a_scene_that_is_there_twice_the_latest_baseline_counts(
    planet: World, made: Callable[..., Stac], reverse: bool
) -> None:
    planet.reverse = reverse
    for name, baseline in (("S2A_0_L2A", "05.00"), ("S2A_1_L2A", "05.09"), ("S2A_2_L2A", "05.09")):
        planet.add(Scene(name, "2020-07-01", baseline=baseline))
    [item] = [text for text in seen(made()).source_ids if "/items/" in text]
    assert "/S2A_1_L2A#" in item


def test_two_data_strips_of_a_day_are_laid_together(
    planet: World, made: Callable[..., Stac]
) -> None:
    west = Scene("S2A_0", "2020-07-01", absent=0.56)  # its data end within the tile
    box = [west.left, west.top - SIDE, west.left + 0.44 * SIDE, west.top]
    to_degrees = shapely.geometry.mapping(shapely.box(*_degrees(box)))
    east_box = [west.left + 0.44 * SIDE, west.top - SIDE, west.left + SIDE, west.top]
    planet.add(replace(west, footprint=to_degrees))
    east = Scene(
        "S2A_1", "2020-07-01", footprint=shapely.geometry.mapping(shapely.box(*_degrees(east_box)))
    )
    planet.add(east)
    found = seen(made())
    assert found.valid_fraction == 1.0
    assert sum("/items/" in text for text in found.source_ids) == 2


def _degrees(box: Sequence[float]) -> tuple[float, float, float, float]:
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds(32633, 4326, *box)
    return west, south, east, north


def test_an_item_the_wrong_way_round_the_globe_is_no_candidate(
    planet: World, made: Callable[..., Stac]
) -> None:
    wrong = shapely.geometry.mapping(shapely.box(-179.995, 40.0, 179.995, 50.0))
    planet.add(Scene("S2A_far", "2020-07-01", left=100_000, epsg=32601, footprint=wrong))
    with pytest.raises(NoDataError):
        seen(made(catalogs=planet.catalogs[:1]))
    tile = Tile.at(179.999, 45.0)
    near = Scene("S2A_near", "2020-07-02", left=733_000, top=4_990_000, epsg=32660, footprint=wrong)
    planet.add(near)
    assert_same(seen(made(), tile), tile, near)


def test_pages_are_followed_and_failing_searches_are_split_in_time(
    planet: World, made: Callable[..., Stac]
) -> None:
    for day in range(1, 8):
        planet.add(Scene(f"S2A_{day}", f"2020-07-0{day}", cloud=1.0 if day < 7 else 0.0))
    planet.page = 2
    assert seen(made()).acquired == "2020-07-07"
    assert len(planet.searches) == 4
    planet.page = None
    planet.searches.clear()
    planet.spoil = lambda question: 502 if _days(question) > 40 else None
    assert seen(made()).acquired == "2020-07-07"
    assert max(_days(each) for each in planet.searches[2:]) <= 78


def _days(question: dict[str, Any]) -> int:
    import datetime

    ends = [datetime.date.fromisoformat(e[:10]) for e in question["datetime"].split("/")]
    return (ends[1] - ends[0]).days + 1


def test_an_item_without_a_band_or_a_file_is_passed_by(
    planet: World, made: Callable[..., Stac]
) -> None:
    planet.add(Scene("S2A_a", "2020-07-01", lacks=("B2",)))
    gone = planet.add(Scene("S2A_b", "2020-07-02", said_cloud=1.0))
    path = gone["assets"]["nir"]["href"].removeprefix(planet.server.url + "/")
    (planet.root / path).unlink()
    planet.add(Scene("S2A_c", "2020-07-03", said_cloud=5.0))
    assert seen(made()).acquired == "2020-07-03"
    planet.items["es"] = planet.items["es"][1:2]
    with pytest.raises(SourceError, match=r"nir\.tif is not there"):
        seen(made(catalogs=planet.catalogs[:1]))


def test_what_may_pass_never_changes_the_choice(planet: World, made: Callable[..., Stac]) -> None:
    planet.add(Scene("S2A_a", "2020-07-01"))
    planet.add(Scene("S2A_b", "2020-07-02", said_cloud=5.0))
    planet.server.faults.append(Fault("status", match="S2A_a/", status=500))
    with pytest.raises(UnavailableError):
        seen(made())
    planet.server.faults.clear()
    assert seen(made()).acquired == "2020-07-01"


def test_the_c1_cloud_probability_tells_clouds_too(
    planet: World, made: Callable[..., Stac]
) -> None:
    planet.add(replace(LAYOUTS["c1"], cloud=0.6, said_cloud=0.0))
    planet.add(replace(LAYOUTS["c1"], id="S2B_c", day="2020-07-11", said_cloud=9.0))
    found = seen(made(cloud={"by": "probability"}))
    assert found.acquired == "2020-07-11"
    assert any("clouds_by=probability" in text for text in found.source_ids)


def test_tiles_of_a_scene_share_search_headers_and_blocks(
    planet: World, made: Callable[..., Stac]
) -> None:
    planet.add(CLEAR)
    tiles = [
        Tile(32633, 500_300 + 1_300 * (i % 4), 5_002_700 - 1_300 * (i // 4)) for i in range(16)
    ]
    visits = [Visit(tile, ("sentinel2", "month", "geolocation"), None) for tile in tiles]
    source = made()
    source.look_ahead(visits)
    n_requests = planet.server.n_requests
    for visit in visits:
        found = source.observe(Visit(visit.tile, tuple(visit.wanted), None))["sentinel2"]
        assert isinstance(found, Observation)
        assert_same(found, visit.tile, CLEAR)
    assert planet.server.n_requests == n_requests  # nothing more is asked
    assert len(planet.searches) == 1
    # A header a file, and a request a row of blocks: of 600, 300 and 100 pixels in blocks of 256.
    assert n_requests <= 1 + 13 + 4 * 3 + 7 * 2 + 2 * 1
    assert source.answers == {}


@pytest.mark.parametrize(
    ("days", "lefts", "n_searches"),
    [
        (("2020-06-01", "2020-07-10"), (500_300, 560_300), 1),  # 9 days between their seasons
        (("2020-06-01", "2020-08-10"), (500_300, 500_300), 2),
        (("2020-06-01", "2020-06-01"), (500_300, 760_300), 2),
    ],
)
def test_a_region_and_season_is_one_search(
    planet: World,
    made: Callable[..., Stac],
    days: Sequence[str],
    lefts: Sequence[int],
    n_searches: int,
) -> None:
    tiles = [Tile(32633, left, 5_002_700 - i * 10_000) for i, left in enumerate(lefts)]
    visits = [Visit(tile, ("sentinel2",), day) for tile, day in zip(tiles, days, strict=True)]
    source = made(catalogs=planet.catalogs[1:])
    source.look_ahead(visits)
    outcomes = [source.answers[visit]["sentinel2"] for visit in visits]
    assert all(isinstance(outcome, NoDataError) for outcome in outcomes)
    assert len(planet.searches) == n_searches


def test_a_source_travels_to_workers(planet: World, made: Callable[..., Stac]) -> None:
    planet.add(LAYOUTS["pc"])
    source = made()
    seen(source)
    there = pickle.loads(pickle.dumps(replace(source, limit=None)))  # type: ignore[arg-type]
    assert there.fingerprint("sentinel2") == source.fingerprint("sentinel2")
    assert "secret" not in json.dumps(source.sas) and "secret" not in repr(source)


def test_tiles_on_both_sides_of_the_earth_are_half_a_turn_apart() -> None:
    for i in range(400):
        lon, lat = -179.0 + i * 0.44, -60.0 + i * 0.3
        here, there = Tile.at(lon, lat), Tile.at(lon + 180.0, -lat)
        assert degrees_between(here, there) == pytest.approx(180.0, abs=0.01)
        assert degrees_between(here, here) == pytest.approx(0.0, abs=1e-5)
