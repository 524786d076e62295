"""Layers beside Sentinel-2: elevation, land cover, radar, as the known catalogues have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from mmearth.catalog.errors import MMEarthError, NoDataError
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome, Visit
from mmearth.curate.sources.stac.source import Stac
from mmearth.tests.open_data.world import World
from mmearth.tests.unit.curate.sources.stac.test_stac_source import CLEAR, TILE


def write(root: Path, name: str, values: NDArray[Any], where: Affine, epsg: int, **how: Any) -> str:
    """Write a raster of one band into a world; return its name."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    size = {"height": height, "width": width, "count": 1, "dtype": values.dtype}
    place = {"crs": f"EPSG:{epsg}", "transform": where}
    with rasterio.open(path, "w", driver="GTiff", **size, **place, **how) as dataset:
        dataset.write(values, 1)
    return name


def degrees(west: float, north: float, columns: int, rows: int, side: float = 1.0) -> Affine:
    return Affine(side / columns, 0, west, 0, -side / rows, north)


def asked(source: Stac, name: str, tile: Tile = TILE, anchor: str | None = None) -> Outcome:
    return source.observe(Visit(tile, (name,), None, anchor))[name]


def seen(source: Stac, name: str, tile: Tile = TILE, anchor: str | None = None) -> Observation:
    found = asked(source, name, tile, anchor)
    assert isinstance(found, Observation), found
    return found


@pytest.mark.parametrize(("lat", "columns"), [(45.5, 360), (55.5, 240), (62.5, 180)])
def test_elevation_behind_s3_with_the_pixels_of_its_latitude(
    planet: World, made: Callable[..., Stac], lat: float, columns: int
) -> None:
    """Files of a degree, shifted by half a pixel; at the seam both of them."""
    north = np.floor(lat) + 1
    for west in (15, 16):
        values = np.full((360, columns), 100.0 * west, np.float32)
        half = Affine.translation(-0.5 / columns, 0.5 / 360)
        where = half * degrees(west, north, columns, 360)
        path = write(planet.root, f"s3/copernicus-dem-30m/{west}_{lat}.tif", values, where, 4326)
        item = planet.add_raster("es", "cop-dem-glo-30", f"DEM_{west}", path, "data")
        item["assets"]["data"]["href"] = f"s3://copernicus-dem-30m/{west}_{lat}.tif"
    found = seen(made(), "aster_gdem", Tile.at(15.5, lat))
    assert (found.array[0] == 1500.0).all() and np.abs(found.array[1][3:-3, 3:-3]).max() < 1e-3
    assert found.stand_in is not None and "Copernicus DEM GLO-30" in found.stand_in
    both = seen(made(), "aster_gdem", Tile.at(16.0, lat))
    assert (both.array[0].min(), both.array[0].max()) == (1500.0, 1600.0)
    assert sum("/items/" in text for text in both.source_ids) == 2
    at_sea = asked(made(), "aster_gdem", Tile.at(18.5, lat))
    assert isinstance(at_sea, NoDataError)


@pytest.mark.parametrize("nodata", [0, None])
def test_land_cover_of_the_year_of_its_version(
    planet: World, made: Callable[..., Stac], nodata: int | None
) -> None:
    """Both versions are found; 0 is no data, also where the file does not say so."""
    for year, version, code in ((2020, "1.0.0", 10), (2021, "2.0.0", 40)):
        values = np.full((1200, 1200), code, np.uint8)
        values[:, 600 + 38 :] = 0
        where = degrees(14.5, 45.6, 1200, 1200)
        path = write(planet.root, f"pc/wc/{year}.tif", values, where, 4326, nodata=nodata)
        when = {"datetime": None, "start_datetime": f"{year}-01-01T00:00:00Z"}
        when |= {"end_datetime": f"{year}-12-31T23:59:59Z"}
        more = when | {"esa_worldcover:product_version": version}
        planet.add_raster("pc", "esa-worldcover", f"WC_{year}_{version}", path, "map", **more)
    found = seen(made(), "esa_worldcover")
    assert set(np.unique(found.array)) == {0, 11} and 0.1 < found.valid_fraction < 0.9
    assert found.stand_in is None and any("WC_2020" in text for text in found.source_ids)


def test_radar_of_both_passes_is_told_in_decibel(planet: World, made: Callable[..., Stac]) -> None:
    planet.add(CLEAR)
    where = Affine(10, 0, 501_000, 0, -10, 5_003_000)
    for name, day, orbit, power in (
        ("S1A_asc_far", "2020-06-20", "ascending", 1.0),
        ("S1A_asc", "2020-07-03", "ascending", 0.1),
        ("S1A_desc", "2020-07-05", "descending", 0.01),
    ):
        assets = {}
        for key, factor in (("vv", 1.0), ("vh", 0.1)):
            values = np.full((400, 400), power * factor, np.float32)
            values[:240] = -32768  # the first 40 rows of the tile
            path = write(planet.root, f"pc/s1/{name}_{key}.tif", values, where, 32633)
            when = {"datetime": f"{day}T05:00:00Z", "sat:orbit_state": orbit}
            item = planet.add_raster("pc", "sentinel-1-rtc", name, path, key, **when)
            planet.items["pc"].pop()
            assets |= item["assets"]
        planet.items["pc"].append(item | {"assets": assets})
    found = seen(made(), "sentinel1", anchor="2020-07-01")
    shown = {band.name: a for band, a in zip(found.layer.bands, found.array, strict=True)}
    expected = {"asc_VV": -10.0, "asc_VH": -20.0, "desc_VV": -20.0, "desc_VH": -30.0}
    for name, decibel in expected.items():
        assert np.allclose(shown[name][-60:], decibel, atol=1e-4)
        assert (shown[name][:39] == -9999).all()
    assert (shown["asc_HH"] == -9999).all()
    assert found.acquired == "2020-07-03/2020-07-05" and "γ⁰" in str(found.stand_in)


def test_yearly_land_cover_is_of_the_anchor_year_by_its_classes(
    planet: World, made: Callable[..., Stac]
) -> None:
    where = Affine(10, 0, 501_000, 0, -10, 5_003_000)
    for year, code in ((2019, 1), (2020, 11)):
        values = np.full((400, 400), code, np.uint8)
        path = write(planet.root, f"pc/lulc/{year}.tif", values, where, 32633)
        when = {"datetime": None, "start_datetime": f"{year}-01-01T00:00:00Z"}
        when |= {"end_datetime": f"{year + 1}-01-01T00:00:00Z"}
        planet.add_raster("pc", "io-lulc-annual-v02", f"33T-{year}", path, "data", **when)
    found = seen(made(), "dynamic_world", anchor="2020-07-01")
    assert (found.array == 2).all() and found.acquired == "2020"
    assert "Impact Observatory" in str(found.stand_in)
    later = asked(made(), "dynamic_world", anchor="2021-07-01")
    assert isinstance(later, NoDataError)


def test_what_is_refused_is_told_with_its_address(planet: World, made: Callable[..., Stac]) -> None:
    values = np.full((400, 400), 77, np.uint8)
    where = Affine(10, 0, 501_000, 0, -10, 5_003_000)
    path = write(planet.root, "pc/wc/wrong.tif", values, where, 32633)
    when = {"datetime": "2020-01-01T00:00:00Z"}
    planet.add_raster("pc", "esa-worldcover", "WC_wrong", path, "map", **when)
    found = asked(made(), "esa_worldcover")
    assert isinstance(found, MMEarthError) and "found 77" in str(found)
    assert str(planet.root) not in str(found)
