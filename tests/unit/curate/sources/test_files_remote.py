"""Files on servers are read as those that are here, by address or by a template of addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pydantic import ValidationError
from rasterio.transform import Affine

from mmearth.catalog.errors import MMEarthError, NoDataError, SourceError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.limit import LocalLimit
from mmearth.curate.remote.access import RemoteAccess
from mmearth.curate.source import Visit, is_metered
from mmearth.curate.sources.files import Files
from mmearth.curate.sources.files.config import FilesConfig, Rasters
from mmearth.curate.sources.files.remote import RemoteFiles, addresses
from mmearth.tests.range_server import RangeServer, serving

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
    here = Files(local, tmp_path, MMEARTH_BENCH).observe(tile, ["aster_gdem"], None)["aster_gdem"]
    there = found.observe(tile, ["aster_gdem"], None)["aster_gdem"]
    assert not isinstance(here, MMEarthError) and not isinstance(there, MMEarthError)
    assert np.array_equal(here.array, there.array)
    assert there.source_ids == tuple(f"{server.url}/{name}" for name in here.source_ids)
    assert len(there.source_ids) == (2 if tile is SEAM else 1)
    server.forget()
    found.observe(tile, ["aster_gdem"], None)
    assert server.n_requests == 0


def test_where_a_template_names_no_file_there_is_nothing(
    server: RangeServer, tmp_path: Path
) -> None:
    sea = Tile.at(17.5, 45.5)
    rasters = {"aster_gdem": [{"path": f"{server.url}/DEM_{{lat1}}_{{lon1}}.tif", **DEM}]}
    found = source(tmp_path, **rasters).observe(sea, ["aster_gdem"], None)["aster_gdem"]
    assert isinstance(found, NoDataError) and "no file covers the tile" in str(found)
    wrong = source(tmp_path, aster_gdem=[{"path": f"{server.url}/none.tif", **DEM}])
    answer = wrong.observe(sea, ["aster_gdem"], None)["aster_gdem"]
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
        assert not isinstance(found.observe(tile, ["aster_gdem"], None)["aster_gdem"], MMEarthError)
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
    [found] = addresses(entry, Tile.at(lon, lat))
    assert found == {"": f"https://host/{expected}.tif"}


def test_a_tile_on_the_antimeridian_has_both_sides() -> None:
    entry = Rasters(path="s3://bucket/{lat1}{lon1}/", files={"height": "h.tif"})
    found = addresses(entry, Tile.at(179.999, 10.5))
    assert sorted(each["height"] for each in found) == [
        "s3://bucket/N10E179/h.tif",
        "s3://bucket/N10W180/h.tif",
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"path": "https://host/*.tif"}, "is an address with a pattern"),
        ({"path": "https://host/{tile}.tif"}, "is an address with a pattern"),
        ({"path": "https://host/a.nc", "variable": "t"}, "variable: is of NetCDF"),
        ({"path": "https://host/a.tif", "date": {"tag": "day"}}, "is value:, or name:"),
    ],
)
def test_what_a_server_cannot_tell_is_refused(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Rasters(**entry)
