"""The planet behind Earth Engine's ids shows what the synthetic source observes, bit for bit."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile, lonlat_bounds
from mmearth.curate.source import Visit
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.tests.earthengine.model import Grid, Image, ServiceError
from mmearth.tests.earthengine.planet import Planet

SEED = 7
TILES = {
    "Apennines": Tile.at(10.1, 45.2),
    "Andes": Tile.at(-70.0, -33.0),
    "Africa": Tile.at(25.0, -1.0),
    "coast": Tile.at(-1.45, 43.65),
    "Taymyr": Tile.at(102.0, 72.5),
    "zone border": Tile.at(11.98, 48.0),
}
EDGE = Tile.parse("32723_277070_9668840", DEFAULT_GRID)
CLOUDED = Tile.parse("32721_596760_6792240", DEFAULT_GRID)
WITHOUT_ORBITS = Tile.parse("32635_407010_3763250", DEFAULT_GRID)
WITHOUT_ASCENDING = Tile.parse("32631_612180_2533510", DEFAULT_GRID)
WITHOUT_DESCENDING = Tile.parse("32721_797870_9259230", DEFAULT_GRID)
ALL_POLARISATIONS = Tile.parse("32642_416150_3752070", DEFAULT_GRID)
S2, S2C = "COPERNICUS/S2_SR_HARMONIZED", "COPERNICUS/S2_CLOUD_PROBABILITY"
S1, DW = "COPERNICUS/S1_GRD", "GOOGLE/DYNAMICWORLD/V1"


def _ms(date: str) -> int:
    return int(np.datetime64(date, "ms").astype(np.int64))


SUMMER = [(_ms("2020-05-01"), _ms("2020-09-30"))]
YEAR = [(_ms("2020-01-01"), _ms("2021-01-01"))]


def _grid(tile: Tile) -> Grid:
    return Grid(f"EPSG:{tile.epsg}", tile.transform, 128, 128)


def _region(tile: Tile, margin_m: float = 0.0) -> BaseGeometry:
    return box(*lonlat_bounds([tile], margin_m)[0])


def _day(image: Image) -> str:
    return str(np.datetime64(image.properties["system:time_start"], "ms"))[:10]


def _array(tile: Tile, modality: str, date: str = "2020-06-01") -> NDArray[Any]:
    outcome = Synthetic(SEED).observe(Visit(tile, (modality,), date))[modality]
    assert isinstance(outcome, Observation), outcome
    return outcome.array


def _drawn(image: Image, band: str, grid: Grid, nodata: float) -> NDArray[Any]:
    """Return a band with no-data where it is masked."""
    (found,) = (each for each in image.bands if each.name == band)
    values, valid = found.read(grid)
    assert values.dtype == found.pixel_type
    return np.where(valid, values, np.asarray(nodata, values.dtype))


def _cloudy(image: Image, band: str, tile: Tile) -> float:
    """Return the share of cloud; 2 where nothing is known, 3 where there is no such band."""
    found = next((each for each in image.bands if each.name == band), None)
    if found is None:
        return 3.0
    values, valid = found.read(_grid(tile))
    return float((values[valid] >= 10).mean()) if valid.any() else 2.0


def _gaps(image: Image, tile: Tile) -> float:
    return float((_drawn(image, "SCL", _grid(tile), 0) == 0).mean())


def _scenes(planet: Planet, tile: Tile, asset: str = S2) -> list[Image]:
    return list(planet.collection(asset).query(_region(tile), SUMMER))


def _clear(planet: Planet, tile: Tile) -> list[Image]:
    """Return the scenes that every published rule lets pass, by their gaps."""
    other = {each.properties["system:index"]: each for each in _scenes(planet, tile, S2C)}
    kept = []
    for scene in _scenes(planet, tile):
        index = scene.properties["system:index"]
        assert scene.footprint is not None
        if (
            scene.footprint.contains(_region(tile, 200.0))
            and index in other
            and _cloudy(scene, "MSK_CLDPRB", tile) < 0.1
            and _cloudy(other[index], "probability", tile) < 0.1
            and _gaps(scene, tile) < 0.1
        ):
            kept.append(scene)
    return sorted(kept, key=lambda scene: _gaps(scene, tile))


@pytest.mark.parametrize("tile", [*TILES.values(), EDGE], ids=[*TILES, "scene's edge"])
def test_a_clear_scene_is_the_synthetic_one(tile: Tile) -> None:
    planet = Planet(SEED, [tile])
    scene = _clear(planet, tile)[0]
    expected = _array(tile, "sentinel2", _day(scene))
    by_id = planet.image(scene.properties["system:id"])
    for number, band in enumerate(MMEARTH_BENCH.layers["sentinel2"].bands):
        for image in (scene, by_id):
            assert np.array_equal(_drawn(image, band.name, _grid(tile), 65535), expected[number])


@pytest.mark.parametrize("tile", TILES.values(), ids=TILES)
def test_what_has_no_date_is_the_synthetic_one(tile: Tile) -> None:
    planet, grid = Planet(SEED), _grid(tile)
    relief = planet.image("projects/sat-io/open-datasets/ASTER/GDEM")
    elevation = _drawn(relief, "b1", grid, -9999)
    values, valid = relief.bands[0].derived["slope"].read(grid)
    slope = np.where(valid, values, np.float32(-9999))
    assert np.array_equal(np.stack([elevation, slope]), _array(tile, "aster_gdem"))
    for number, part in enumerate(("Height", "HeightSD")):
        image = planet.image(f"users/nlang/ETH_GlobalCanopy{part}_2020_10m_v1")
        outcome = Synthetic(SEED).observe(Visit(tile, ("eth_gch",), None))["eth_gch"]
        nothing = np.full((2, 128, 128), 255, np.float32)
        expected = outcome.array if isinstance(outcome, Observation) else nothing
        assert np.array_equal(_drawn(image, "b1", grid, 255), expected[number])
    (cover,) = planet.collection("ESA/WorldCover/v100").query(_region(tile), YEAR)
    codes = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100]
    ours = np.searchsorted(codes, _drawn(cover, "Map", grid, 0))
    assert np.array_equal(ours, _array(tile, "esa_worldcover")[0])


@pytest.mark.parametrize("tile", TILES.values(), ids=TILES)
def test_the_mode_of_a_years_labels_is_the_synthetic_one(tile: Tile) -> None:
    planet = Planet(SEED)
    counts = np.zeros((9, 128, 128), dtype=np.int64)
    for image in planet.collection(DW).query(_region(tile), YEAR):
        label = _drawn(image, "label", _grid(tile), 255)
        counts += label == np.arange(9)[:, None, None]
    first, second = np.sort(counts, axis=0)[[-1, -2]]
    assert (first > second).all() and (second > 0).any()
    assert np.array_equal(counts.argmax(axis=0), _array(tile, "dynamic_world")[0])
    before = [(_ms("2019-01-01"), _ms("2020-01-01"))]
    image = next(iter(planet.collection(DW).query(_region(tile), before)))
    label = _drawn(image, "label", _grid(tile), 255)
    assert (label == _array(tile, "dynamic_world")[0]).mean() < 0.5


@pytest.mark.parametrize("tile", TILES.values(), ids=TILES)
def test_backscatter_is_the_synthetic_one(tile: Tile) -> None:
    planet = Planet(SEED)
    expected = _array(tile, "sentinel1")
    seen: Counter[str] = Counter()
    for scene in _scenes(planet, tile, S1):
        assert scene.footprint is not None
        if scene.properties["instrumentMode"] == "IW" and scene.footprint.contains(_region(tile)):
            way = scene.properties["orbitProperties_pass"]
            seen[way] += 1
            first = 0 if way == "ASCENDING" else 4
            drawn = [_drawn(scene, band, _grid(tile), -9999) for band in ("VV", "VH")]
            assert np.array_equal(np.stack(drawn), expected[first : first + 2])
    valid = (expected != -9999).any(axis=(1, 2))
    assert (seen["ASCENDING"] > 20, seen["DESCENDING"] > 20) == (valid[0], valid[4])


def test_clouds_are_functions_of_world_coordinates() -> None:
    tile = TILES["Apennines"]
    a, _, left, _, e, top = tile.transform
    east = Grid(f"EPSG:{tile.epsg}", (a, 0, left + 640, 0, e, top - 320), 128, 128)
    known: Counter[str] = Counter()
    for scene in _scenes(Planet(SEED), tile):
        names = {band.name for band in scene.bands}
        for band in sorted(names & {"MSK_CLDPRB", "SCL"}):
            here = _drawn(scene, band, _grid(tile), 0)
            there = _drawn(scene, band, east, 0)
            assert np.array_equal(here[32:, 64:], there[:96, :64])
            known[band] += len(np.unique(here)) > 1
    assert min(known.values()) > 2


def test_scenes_are_found_by_place_and_time() -> None:
    planet, tile = Planet(SEED), TILES["zone border"]
    for asset in (S2, S2C, S1, DW):
        images = _scenes(planet, tile, asset)
        indices = [image.properties["system:index"] for image in images]
        assert indices == sorted(set(indices)) and len(indices) > 15
        times = [image.properties["system:time_start"] for image in images]
        assert SUMMER[0][0] <= min(times) and max(times) < SUMMER[0][1]
        assert all(image.footprint.intersects(_region(tile)) for image in images if image.footprint)
        one = times[3]
        found = list(planet.collection(asset).query(_region(tile), [(one, one + 1)]))
        assert indices[3] in [image.properties["system:index"] for image in found]
        found = list(planet.collection(asset).query(_region(tile), [(one - 1, one)]))
        assert indices[3] not in [image.properties["system:index"] for image in found]
        again = planet.image(f"{asset}/{indices[3]}")
        assert again.properties == images[3].properties and again.footprint == images[3].footprint
        for wide in (None, box(0, 0, 20, 20)):
            with pytest.raises(ServiceError, match="filter by narrower bounds"):
                list(planet.collection(asset).query(wide, None))
        with pytest.raises(KeyError):
            planet.image(f"{asset}/20200614T101031_20200614T101025_T32TQM")
    zones = {image.bands[0].crs for image in _scenes(planet, tile)}
    assert zones == {"EPSG:32632", "EPSG:32633"}
    with pytest.raises(KeyError):
        planet.collection("COPERNICUS/S2")


def test_scenes_cross_the_antimeridian() -> None:
    tile = Tile.at(179.999, -16.5)
    assert tile.geometry.geom_type == "MultiPolygon"
    for asset in (S2, S1, DW):
        images = list(Planet(SEED).collection(asset).query(tile.geometry, SUMMER))
        whole = [
            each for each in images if each.footprint and each.footprint.contains(tile.geometry)
        ]
        assert len(whole) > 5
        assert any(_drawn(each, each.bands[0].name, _grid(tile), 0).any() for each in whole)


def test_another_planet_of_the_seed_is_the_same_and_of_another_seed_is_not() -> None:
    tile = TILES["Taymyr"]

    def shown(seed: int) -> tuple[str, list[bytes]]:
        scenes = _scenes(Planet(seed), tile)
        pixels = [
            _drawn(s, "B4", _grid(tile), 0).tobytes() + _drawn(s, "SCL", _grid(tile), 0).tobytes()
            for s in scenes[:12]
        ]
        return json.dumps([scene.properties for scene in scenes]), pixels

    first, again, other = shown(SEED), shown(SEED), shown(SEED + 1)
    assert first == again
    assert first[0] != other[0] and first[1] != other[1]


def test_about_one_scene_in_three_is_clear_and_each_rule_refuses_some() -> None:
    shares: list[float] = []
    refused: Counter[str] = Counter()
    for tile in TILES.values():
        planet = Planet(SEED, [tile])
        scenes, other = _scenes(planet, tile), _scenes(planet, tile, S2C)
        screened = {each.properties["system:index"]: each for each in other}
        shares.append(len(_clear(planet, tile)) / len(scenes))
        for scene in scenes:
            assert scene.footprint is not None
            index = scene.properties["system:index"]
            mask = _cloudy(scene, "MSK_CLDPRB", tile)
            passes = {
                "band": mask != 3.0,
                "footprint": scene.footprint.contains(_region(tile, 200.0)),
                "screened": index in screened,
                "mask": mask < 0.1 or mask == 3.0,
                "probability": index not in screened
                or _cloudy(screened[index], "probability", tile) < 0.1,
                "gaps": _gaps(scene, tile) < 0.1,
            }
            if sum(passes.values()) == 5:
                refused[next(rule for rule, passed in passes.items() if not passed)] += 1
    assert 0.25 < np.mean(shares) < 0.5 and min(shares) > 0.1
    assert set(refused) >= {"band", "screened", "mask", "probability", "gaps"}, refused


def test_what_the_source_lacks_the_collections_lack() -> None:
    clouded = Planet(SEED)
    assert len(_scenes(clouded, CLOUDED)) > 15
    assert _clear(clouded, CLOUDED) == []
    ways: dict[str, set[str]] = {}
    for tile in (WITHOUT_ORBITS, WITHOUT_ASCENDING, WITHOUT_DESCENDING):
        scenes = _scenes(clouded, tile, S1)
        ways[tile.id] = {
            scene.properties["orbitProperties_pass"]
            for scene in scenes
            if scene.properties["instrumentMode"] == "IW"
        }
        assert any(scene.properties["instrumentMode"] == "EW" for scene in scenes)
    assert list(ways.values()) == [set(), {"DESCENDING"}, {"ASCENDING"}]


def test_a_few_places_have_all_polarisations() -> None:
    planet = Planet(SEED)
    expected = _array(ALL_POLARISATIONS, "sentinel1")
    for scene in _scenes(planet, ALL_POLARISATIONS, S1):
        names = tuple(band.name for band in scene.bands)
        assert list(names) == scene.properties["transmitterReceiverPolarisation"]
        again = planet.image(scene.properties["system:id"])
        assert [band.name for band in again.bands] == list(names)
        if scene.properties["orbitProperties_pass"] == "ASCENDING" and len(names) == 4:
            drawn = [_drawn(again, name, _grid(ALL_POLARISATIONS), -9999) for name in names]
            assert np.array_equal(np.stack(drawn), expected[:4])
            return
    raise AssertionError("no ascending scene has four polarisations")
