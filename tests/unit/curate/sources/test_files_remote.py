"""Files on servers are read as those that are here, by address or by a template of addresses."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from pydantic import ValidationError
from rasterio.transform import Affine

from mmearth.catalog.errors import MMEarthError, NoDataError, SourceError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.limit import LocalLimit
from mmearth.curate.remote import mirror
from mmearth.curate.remote.access import RemoteAccess
from mmearth.curate.source import Visit, is_metered
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig, Rasters
from mmearth.curate.sources.files.remote import RemoteFiles, addresses
from mmearth.tests.range_server import Fault, RangeServer, serving

INLAND, SEAM = Tile.at(15.5, 45.5), Tile.at(16.0, 45.5)
DEM = {"product": "Copernicus DEM", "stand_in": "open", "unit": "m", "derive_slope": True}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RangeServer]:
    """Two degrees of a hillside that rises to the east, across their seam."""
    folder = tmp_path / "served"
    folder.mkdir()
    for west in (15, 16):
        size, pixel = 600, 1 / 600
        columns = np.broadcast_to((west - 15) * size + np.arange(size), (size, size))
        with rasterio.open(
            folder / f"DEM_N45_E0{west}.tif",
            "w",
            driver="GTiff",
            width=size,
            height=size,
            count=1,
            dtype="float32",
            crs="EPSG:4326",
            transform=Affine(pixel, 0, west, 0, -pixel, 46),
            tiled=True,
            blockxsize=128,
            blockysize=128,
        ) as dataset:
            dataset.write(columns.astype("float32"), 1)
    with serving(folder) as running:
        yield running


def source(tmp_path: Path, **rasters: Any) -> RemoteFiles:
    config = FilesConfig(kind="files", rasters=rasters)
    access = RemoteAccess(tmp_path / "cache", 10**9, pause_s=0.001)
    return RemoteFiles(config, tmp_path, MMEARTH_BENCH, access)


@pytest.mark.parametrize("tile", [INLAND, SEAM])
def test_a_template_is_as_the_files_are_here(
    server: RangeServer, tmp_path: Path, tile: Tile
) -> None:
    found = source(
        tmp_path, aster_gdem=[{"path": f"{server.url}/DEM_{{lat1}}_{{lon1}}.tif", **DEM}]
    )
    local = FilesConfig(
        kind="files", root="served", rasters={"aster_gdem": [{"path": "DEM_*.tif", **DEM}]}
    )
    here = Files(local, tmp_path, MMEARTH_BENCH).observe(Visit(tile, ("aster_gdem",), None))[
        "aster_gdem"
    ]
    there = found.observe(Visit(tile, ("aster_gdem",), None))["aster_gdem"]
    assert not isinstance(here, MMEarthError) and not isinstance(there, MMEarthError)
    assert np.array_equal(here.array, there.array)
    assert there.source_ids == tuple(f"{server.url}/{name}" for name in here.source_ids)
    assert len(there.source_ids) == (2 if tile is SEAM else 1)
    server.forget()
    found.observe(Visit(tile, ("aster_gdem",), None))
    assert server.n_requests == 0


def test_where_a_template_names_no_file_there_is_nothing(
    server: RangeServer, tmp_path: Path
) -> None:
    sea = Tile.at(17.5, 45.5)
    rasters = {"aster_gdem": [{"path": f"{server.url}/DEM_{{lat1}}_{{lon1}}.tif", **DEM}]}
    found = source(tmp_path, **rasters).observe(Visit(sea, ("aster_gdem",), None))["aster_gdem"]
    assert isinstance(found, NoDataError) and "no file covers the tile" in str(found)
    wrong = source(tmp_path, aster_gdem=[{"path": f"{server.url}/none.tif", **DEM}])
    answer = wrong.observe(Visit(sea, ("aster_gdem",), None))["aster_gdem"]
    assert isinstance(answer, SourceError) and "none.tif is not there" in str(answer)


def test_tiles_are_fetched_together_under_a_limit(server: RangeServer, tmp_path: Path) -> None:
    rasters = {"aster_gdem": [{"path": f"{server.url}/DEM_{{lat1}}_{{lon1}}.tif", **DEM}]}
    found = source(tmp_path, **rasters).limited(LocalLimit(8, 500.0, budget=20))
    assert is_metered(found)
    tiles = [Tile.at(15.2 + 0.1 * i, 45.5) for i in range(6)]
    found.look_ahead([Visit(tile, ("aster_gdem",), None) for tile in tiles])
    n_requests = server.n_requests
    assert n_requests <= 8
    for tile in tiles:
        assert not isinstance(
            found.observe(Visit(tile, ("aster_gdem",), None))["aster_gdem"], MMEarthError
        )
    assert server.n_requests == n_requests


@pytest.mark.parametrize(
    ("lon", "lat", "expected"),
    [
        (13.4, 52.5, "N51E012"),
        (-0.5, 0.5, "N00W003"),
        (-70.2, -33.4, "S36W072"),
        (179.9, -1.5, "S03E177"),
    ],
)
def test_corners_of_squares(lon: float, lat: float, expected: str) -> None:
    entry = Rasters(path="https://host/{lat3}{lon3}.tif")
    [found] = addresses(entry, Tile.at(lon, lat)).values()
    assert found == {"": f"https://host/{expected}.tif"}


def test_a_tile_on_the_antimeridian_has_both_sides() -> None:
    entry = Rasters(path="s3://bucket/{lat1}{lon1}/", files={"height": "h.tif"})
    found = addresses(entry, Tile.at(179.999, 10.5)).values()
    assert sorted(each["height"] for each in found) == [
        "s3://bucket/N10E179/h.tif",
        "s3://bucket/N10W180/h.tif",
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"path": "https://host/*.tif"}, "is an address with a pattern"),
        ({"path": "https://host/{tile}.tif"}, "is an address with a pattern"),
        ({"path": "https://host/{month}.tif"}, "give months: true, too"),
        ({"path": "https://host/a.nc", "variable": "t"}, "variable: is of NetCDF"),
        ({"path": "https://host/a.tif", "date": {"tag": "day"}}, "is value:, or name:"),
    ],
)
def test_what_a_server_cannot_tell_is_refused(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Rasters(**entry)


def test_a_climatology_of_a_file_a_month(server: RangeServer, tmp_path: Path) -> None:
    """As CHELSA's: tenths of a kelvin, in the file's own scale; its unit is in a tag of its own."""
    for month in range(1, 13):
        path = server.directory / f"tas_{month:02}_1981-2010.tif"
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=120,
            height=120,
            count=1,
            dtype="uint16",
            nodata=65535,
            crs="EPSG:4326",
            transform=Affine(1 / 120, 0, 15, 0, -1 / 120, 46),
        ) as dataset:
            dataset.write(np.full((1, 120, 120), 2700 + 10 * month, np.uint16))
            dataset.scales = (0.1,)
    entry = {"path": f"{server.url}/tas_{{month}}_1981-2010.tif", "months": True, "unit": "K"}
    about = {"product": "CHELSA 2.1", "stand_in": "a climatology"}
    found = source(tmp_path, temperature=[entry | about])
    seen = found.observe(Visit(INLAND, ("temperature",), "2020-01-05"))["temperature"]
    assert not isinstance(seen, MMEarthError)
    told = dict(zip(seen.layer.band_names, seen.array.tolist(), strict=True))
    assert told["month_mean"] == pytest.approx(271.0) and told["month_max"] == seen.layer.nodata
    assert told["last_month_mean"] == pytest.approx(282.0)
    assert told["year_mean"] == pytest.approx(276.5)
    assert seen.source_ids == (f"{server.url}/tas_{{month}}_1981-2010.tif",)
    (server.directory / "tas_07_1981-2010.tif").unlink()
    (tmp_path / "other").mkdir()
    again = source(tmp_path / "other", temperature=[entry | about])
    answer = again.observe(Visit(INLAND, ("temperature",), "2020-01-05"))["temperature"]
    assert isinstance(answer, SourceError) and "tas_07_1981-2010.tif is not there" in str(answer)


def test_polygons_in_a_zip_are_fetched_once(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = gpd.GeoDataFrame(
        {"BIOME_NAME": ["Tundra", "Mangroves"]},
        geometry=[shapely.box(15, 45, 15.6, 46), shapely.box(15.6, 45, 17, 46)],
        crs="EPSG:4326",
    )
    frame.to_file(tmp_path / "eco.shp")
    with zipfile.ZipFile(server.directory / "eco.zip", "w") as packed:
        for path in tmp_path.glob("eco.*"):
            packed.write(path, path.name)
        packed.writestr("read me.txt", bytes(20_000))
    monkeypatch.setattr(mirror, "PIECE_BYTES", 4_096)
    entry = {"path": f"{server.url}/eco.zip", "field": "BIOME_NAME"}
    polygons = {"biome": entry | {"product": "RESOLVE/ECOREGIONS/2017"}}
    config = FilesConfig(kind="files", polygons=polygons)  # type: ignore[arg-type]
    access = RemoteAccess(tmp_path / "cache", 10**9, pause_s=0.001)
    found = RemoteFiles(config, tmp_path, MMEARTH_BENCH, access)
    server.faults += [Fault("truncate", times=1), Fault("status", times=1, status=503)]
    names = {}
    for tile in (INLAND, SEAM):
        seen = found.observe(Visit(tile, ("biome",), None))["biome"]
        assert not isinstance(seen, MMEarthError)
        names[seen.source_ids] = seen.array.tolist()
    assert set(names) == {(f"{server.url}/eco.zip#{name}",) for name in ("Tundra", "Mangroves")}
    ranges = [asked for _, asked in server.asked]
    assert len(set(ranges)) > 3 and len(ranges) == len(set(ranges)) + 2  # two were tried again
    at_sea = found.observe(Visit(Tile.at(19.5, 45.5), ("biome",), None))["biome"]
    assert isinstance(at_sea, NoDataError) and str(tmp_path) not in str(at_sea)
    assert found.price([Visit(INLAND, ("biome",), None)]).n_bytes > 0
