"""The planet's climate, tables and footprints agree with the synthetic source, on any grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from mmearth.catalog.ecoregions import BIOMES, ECOREGIONS
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile, lonlat_bounds
from mmearth.curate.source import Visit
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.tests.earthengine.model import Feature, Grid, Image
from mmearth.tests.earthengine.planet import Planet

SEED = 7
TILES = {
    "Apennines": Tile.at(10.1, 45.2),
    "Andes": Tile.at(-70.0, -33.0),
    "Africa": Tile.at(25.0, -1.0),
}
GEDI = "LARSE/GEDI/GEDI04_A_002_INDEX"


def _grid(tile: Tile) -> Grid:
    return Grid(f"EPSG:{tile.epsg}", tile.transform, 128, 128)


def _region(tile: Tile, margin_m: float = 0.0) -> BaseGeometry:
    return box(*lonlat_bounds([tile], margin_m)[0])


def _array(tile: Tile, modality: str, date: str = "2020-06-01") -> NDArray[Any]:
    outcome = Synthetic(SEED).observe(Visit(tile, (modality,), date))[modality]
    assert isinstance(outcome, Observation), outcome
    return outcome.array


def _drawn(image: Image, grid: Grid) -> NDArray[Any]:
    values, valid = image.bands[0].read(grid)
    return np.where(valid, values, np.zeros((), values.dtype))


def test_climate_aggregates_to_the_synthetic_one() -> None:
    tile = TILES["Andes"]
    months = list(Planet(SEED).collection("ECMWF/ERA5_LAND/MONTHLY_AGGR").query(None, None))
    assert [months[0].properties["system:index"], len(months)] == ["201812", 26]
    table = {
        image.properties["system:index"]: {
            band.name: band.read(_grid(tile))[0][5, 7] for band in image.bands
        }
        for image in months
    }
    year = [f"2019{month:02d}" for month in range(4, 13)] + ["202001", "202002", "202003"]
    rain = [table[month]["total_precipitation_sum"] for month in year]
    # The synthetic source keeps six decimals of a metre.
    expected = _array(tile, "precipitation", "2020-03-15")
    assert np.allclose([rain[-2], rain[-1], sum(rain)], expected, rtol=0, atol=5.1e-7)
    kelvin = [
        *(table[m][f"temperature_2m{x}"] for m in year[-2:] for x in ("_max", "", "_min")),
        max(table[m]["temperature_2m_max"] for m in year),
        np.mean([table[m]["temperature_2m"] for m in year]),
        min(table[m]["temperature_2m_min"] for m in year),
    ]
    assert np.allclose(kelvin, _array(tile, "temperature", "2020-03-15"), rtol=1e-6)


def test_an_ecoregion_lies_around_every_place_on_land() -> None:
    table = Planet(SEED).table("RESOLVE/ECOREGIONS/2017")
    tile = TILES["Africa"]
    (feature,) = table.query(_region(tile))
    region = ECOREGIONS[int(_array(tile, "ecoregion")[0])]
    assert feature.properties["ECO_NAME"] == region.name
    assert feature.properties["ECO_ID"] == region.eco_id
    assert feature.properties["BIOME_NAME"] == BIOMES[int(_array(tile, "biome")[0])]
    assert feature.geometry is not None and feature.geometry.contains(_region(tile))
    assert list(table.query(_region(Tile.at(-30.0, 30.0)))) == []
    (ice,) = table.query(_region(Tile.at(-40.0, 75.0)))
    assert (ice.properties["ECO_NAME"], ice.properties["BIOME_NAME"]) == ("Rock and Ice", "N/A")


GOOD: dict[str, Callable[[dict[str, Any]], bool]] = {
    "degrade": lambda shot: shot["degrade_flag"] == 0,
    "level 2": lambda shot: shot["l2_quality_flag"] == 1,
    "level 4": lambda shot: shot["l4_quality_flag"] == 1,
    "leaves": lambda shot: shot["leaf_off_flag"] == 0,
    "region": lambda shot: shot["region_class"] > 0,
    "season": lambda shot: shot["leaf_off_doy"] > shot["leaf_on_doy"],
    "maximum": lambda shot: shot["agbd"] <= 2000,
}


def _painted(shots: list[Feature], tile: Tile, without: str) -> NDArray[np.float32]:
    result = np.full((128, 128), -9999.0, dtype=np.float32)
    project = Transformer.from_crs(4326, tile.epsg, always_xy=True)
    for shot in shots:
        if all(good(shot.properties) for name, good in GOOD.items() if name != without):
            assert shot.geometry is not None
            x, y = project.transform(shot.geometry.x, shot.geometry.y)
            row, column = int((tile.top - y) // 10), int((x - tile.left) // 10)
            result[row, column] = shot.properties["agbd"]
    return result


def test_footprints_paint_the_synthetic_biomass_and_every_filter_matters() -> None:
    tile = TILES["Apennines"]
    planet = Planet(SEED, [*TILES.values()])
    there = planet.assets(GEDI.removesuffix("_INDEX"))
    granules = [
        granule
        for granule in planet.table(GEDI).query(_region(tile))
        if granule.properties["table_id"] in there
    ]

    def inside(granule: Feature) -> bool:
        start, end = granule.properties["time_start"], granule.properties["time_end"]
        return bool(start >= "2020-01-01" and end <= "2020-12-31")

    def shots(kept: list[Feature]) -> list[Feature]:
        ids = [granule.properties["table_id"] for granule in kept]
        return [shot for name in ids for shot in planet.table(name).query(_region(tile, 50.0))]

    year = shots([granule for granule in granules if inside(granule)])
    [expected] = _array(tile, "biomass")
    assert np.array_equal(_painted(year, tile, "none"), expected)
    for name in GOOD:
        assert not np.array_equal(_painted(year, tile, name), expected), name
    for granule in granules:
        if not inside(granule):
            more = year + shots([granule])
            assert not np.array_equal(_painted(more, tile, "none"), expected), granule
    assert sum(inside(granule) for granule in granules) == 4


def test_the_index_lists_a_table_that_is_lost() -> None:
    planet = Planet(SEED, [TILES["Africa"]])
    ids = [granule.properties["table_id"] for granule in planet.table(GEDI).query(None)]
    with pytest.raises(KeyError):
        planet.table(ids[-1])
    assert len(list(planet.table(ids[0]).query(None))) > 0


def test_other_grids_show_the_same_ground() -> None:
    tile = TILES["Africa"]
    planet = Planet(SEED, [tile])
    cover = planet.image("ESA/WorldCover/v100/2020")
    whole = _drawn(cover, _grid(tile))
    a, _, left, _, e, top = tile.transform
    coarse = Grid(f"EPSG:{tile.epsg}", (2 * a, 0, left, 0, 2 * e, top), 64, 64)
    assert np.array_equal(_drawn(cover, coarse), whole[1::2, 1::2])
    wide = Grid(f"EPSG:{tile.epsg}", (a, 0, left - 200, 0, e, top + 200), 168, 168)
    drawn = _drawn(cover, wide)
    assert np.array_equal(drawn[20:148, 20:148], whole)
    assert np.array_equal(drawn[20:148, 10], whole[:, 0])
    drawn[10:158, 10:158] = 0
    assert not drawn.any()
    step = 1 / 12_000
    west, _, _, north = _region(tile).bounds
    degrees = Grid("EPSG:4326", (step, 0, west, 0, -step, north), 130, 130)
    middle = _drawn(cover, degrees)[65, 60]
    project = Transformer.from_crs(4326, tile.epsg, always_xy=True)
    x, y = project.transform(west + 60.5 * step, north - 65.5 * step)
    assert middle == whole[int((tile.top - y) // 10), int((x - tile.left) // 10)]
