"""Rasters of the user's come onto a tile's grid as they are: nothing moved, mixed or invented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import Affine

from mmearth.catalog.errors import ConfigError, DataError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.header import read_header
from mmearth.curate.sources.files.raster import read_bands
from mmearth.curate.sources.files.reading import readings_of

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

TILE = Tile(32633, 500_000, 5_000_000)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a GeoTIFF; its upper left corner is the tile's unless given."""

    def raster(
        name: str,
        values: NDArray[Any],
        corner: tuple[float, float] = (TILE.left, TILE.top),
        pixel: float = 10.0,
        crs: str | None = "EPSG:32633",
        **options: Any,
    ) -> Path:
        values = values if values.ndim == 3 else values[None]
        path = tmp_path / name
        transform = Affine(pixel, 0.0, corner[0], 0.0, -pixel, corner[1])
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=values.shape[0],
            height=values.shape[1],
            width=values.shape[2],
            dtype=values.dtype,
            crs=crs,
            transform=transform,
            **options,
        ) as dataset:
            dataset.write(values)
        return path

    return raster


def read(
    path: Path, tile: Tile = TILE, resampling: str = "nearest", band: int | str = 1, **keys: Any
) -> NDArray[np.float64]:
    """Return one band on the tile's grid."""
    entry = Rasters(path=path.name, product="any", bands={"height": band}, **keys)
    layer = MMEARTH_BENCH.layers["eth_gch"]
    found = readings_of(layer, entry, {"": read_header(path, entry)}, path.name)
    return read_bands(path, entry, found, tile, resampling)[0]


def centres(tile: Tile) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return easting and northing of the tile's pixel centres, (128, 128) each."""
    steps = np.arange(128) * 10.0 + 5.0
    x, y = np.meshgrid(tile.left + steps, tile.top - steps)
    return x, y


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_pixels_on_the_same_grid_are_untouched(write: Write, resampling: str) -> None:
    values = np.arange(140 * 140, dtype=np.int32).reshape(140, 140)
    path = write("a.tif", values, (TILE.left - 50, TILE.top + 70))
    assert np.array_equal(read(path, resampling=resampling), values[7:135, 5:133])


def test_nearest_takes_the_pixel_that_holds_the_centre(write: Write) -> None:
    values = np.arange(130 * 130, dtype=np.int32).reshape(130, 130)
    # The file's pixels begin 4 m west and 4 m north of ours: each centre stays in its own pixel.
    path = write("a.tif", values, (TILE.left - 4, TILE.top + 4))
    assert np.array_equal(read(path), values[:128, :128])
    # Begun 6 m east of ours, each of our centres lies in the pixel before.
    path = write("b.tif", values, (TILE.left - 4, TILE.top + 10))
    assert np.array_equal(read(path), values[1:129, :128])


def test_coarse_pixels_are_repeated_by_nearest_and_blended_by_bilinear(write: Write) -> None:
    values = np.tile(np.arange(70, dtype=np.float32) * 20.0, (70, 1))
    path = write("a.tif", values, (TILE.left - 60, TILE.top + 60), pixel=20.0)
    assert np.array_equal(read(path)[0, :4], [60.0, 60.0, 80.0, 80.0])
    # Column j of 20 m has its centre at 20 j - 50 m and the value 20 j: value = x + 50.
    blended = read(path, resampling="bilinear")
    assert np.allclose(blended[64], np.arange(128) * 10.0 + 5.0 + 50.0, atol=1e-3)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_outside_the_file_nothing_is_invented(write: Write, resampling: str) -> None:
    path = write("a.tif", np.full((100, 60), 3.0, np.float32), (TILE.left + 40, TILE.top - 80))
    found = read(path, resampling=resampling)
    inside = np.zeros((128, 128), dtype=bool)
    inside[8:108, 4:64] = True
    assert np.array_equal(~np.isnan(found), inside)
    assert np.all(found[inside] == 3.0)


def test_a_file_that_the_tile_does_not_meet_gives_nothing(write: Write) -> None:
    path = write("a.tif", np.ones((8, 8), np.uint8), (TILE.left + 5000, TILE.top))
    assert np.isnan(read(path)).all()


def test_no_data_is_declared_or_nan_or_told_by_the_entry(write: Write) -> None:
    values = np.full((128, 128), 7, np.int16)
    values[3, 4] = -32768
    missing = np.zeros((128, 128), dtype=bool)
    missing[3, 4] = True
    declared = write("declared.tif", values, nodata=-32768)
    silent = write("silent.tif", values)
    nan = write("nan.tif", np.where(missing, np.nan, 7.0).astype(np.float32))
    assert np.array_equal(np.isnan(read(declared)), missing)
    assert np.array_equal(np.isnan(read(silent, nodata=-32768)), missing)
    assert np.array_equal(np.isnan(read(nan)), missing)
    assert not np.isnan(read(silent)).any()


def test_bilinear_never_mixes_no_data_into_a_value(write: Write) -> None:
    values = np.full((64, 64), 5.0, np.float32)
    values[20:30, 40:50] = -9999.0
    found = read(write("a.tif", values, pixel=20.0, nodata=-9999.0), resampling="bilinear")
    hole = np.zeros((128, 128), dtype=bool)
    hole[40:60, 80:100] = True
    assert np.array_equal(np.isnan(found), hole)
    assert np.all(found[~hole] == 5.0)


def test_the_files_own_scale_and_offset_apply_but_not_to_no_data(write: Write) -> None:
    values = np.full((128, 128), 20, np.int16)
    values[0, 0] = -1
    path = write("a.tif", values, nodata=-1)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5,), (100.0,)
    found = read(path)
    assert np.isnan(found[0, 0])
    assert found[1, 1] == 110.0  # 20 × 0.5 + 100


@pytest.mark.parametrize(
    ("lon", "lat", "source"),
    [
        (12.02, 45.0, 32632),  # zone 33 from zone 32, north
        (12.02, -33.0, 32732),  # the same, south
        (15.0, 0.004, 32733),  # north of the equator from a grid that counts from the south
        (15.0, -0.004, 32633),
    ],
)
def test_another_zone_keeps_every_pixel_at_its_place(
    write: Write, lon: float, lat: float, source: int
) -> None:
    tile = Tile.at(lon, lat)
    there = Transformer.from_crs(tile.epsg, source, always_xy=True)
    x, y = there.transform(*centres(tile))
    west, north = np.floor(x.min()) - 100.0, np.ceil(y.max()) + 100.0
    rows, columns = np.mgrid[0:200, 0:200] * 10.0 + 5.0
    # Band 1 tells metres east of the corner, band 2 metres south of it: bilinear keeps planes.
    path = write("a.tif", np.stack([columns, rows]), (west, north), crs=f"EPSG:{source}")
    assert tile.epsg != source
    # GDAL may be an eighth of a pixel off where it interpolates between exact transformations.
    assert np.abs(read(path, tile, "bilinear") - (x - west)).max() < 1.25
    assert np.abs(read(path, tile, "bilinear", band=2) - (north - y)).max() < 1.25


@pytest.mark.parametrize("first", [-180.0, 0.0])
@pytest.mark.parametrize("lon", [-72.5, 34.1, -0.003, 0.003])
def test_a_world_in_degrees_may_begin_anywhere(write: Write, first: float, lon: float) -> None:
    # Column of 1° → its whole degree, counted from 0° to 359°.
    whole_degrees = ((first + np.arange(360)) % 360).astype(np.int16)
    path = write("a.tif", np.tile(whole_degrees, (180, 1)), (first, 90.0), 1.0, "EPSG:4326")
    tile = Tile.at(lon, -38.5)
    lons, _ = Transformer.from_crs(tile.epsg, 4326, always_xy=True).transform(*centres(tile))
    assert np.array_equal(read(path, tile), np.floor(lons % 360.0))


def test_a_tile_across_the_antimeridian_is_read_from_both_ends(write: Write) -> None:
    values = np.tile(np.arange(360, dtype=np.int16), (180, 1))
    path = write("a.tif", values, (-180.0, 90.0), 1.0, "EPSG:4326")
    found = read(path, Tile.at(180.0, -16.5))
    assert set(np.unique(found)) == {0.0, 359.0}
    assert np.all(np.diff(found[64]) <= 0)  # 359, the last column, lies in the west


def test_bands_go_by_number_or_by_description(write: Write) -> None:
    path = write("a.tif", np.stack([np.full((128, 128), n, np.uint8) for n in (1, 2, 3)]))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("red", "green", "blue")
    assert read(path, band=2)[0, 0] == 2
    assert read(path, band="blue")[0, 0] == 3
    with pytest.raises(ConfigError, match=r"no band 'nir'; it has 3 bands.*green"):
        read(path, band="nir")
    with pytest.raises(ConfigError, match="no band 4; it has 3 bands"):
        read(path, band=4)


def test_a_variable_of_a_netcdf_file(tmp_path: Path, write: Write) -> None:
    import rasterio.shutil

    values = np.stack([np.full((128, 128), n, np.float32) for n in (11, 12)])
    path = tmp_path / "a.nc"
    rasterio.shutil.copy(str(write("a.tif", values)), str(path), driver="netCDF")
    assert np.all(read(path, variable="Band2") == 12.0)


def test_a_crs_comes_from_the_entry_where_the_file_has_none(write: Write) -> None:
    path = write("a.tif", np.full((128, 128), 9, np.uint8), crs=None)
    assert np.all(read(path, crs="EPSG:32633") == 9.0)


def test_damage_hurts_only_the_tiles_on_it(write: Write) -> None:
    # Eight blocks of 128 × 128 pixels side by side; the last one's bytes are destroyed.
    values = np.random.default_rng(1).integers(0, 255, (128, 1024), dtype=np.uint8)
    path = write("a.tif", values, tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    data = bytearray(path.read_bytes())
    data[-8000:] = b"\xff" * 8000
    path.write_bytes(bytes(data))
    assert np.array_equal(read(path), values[:, :128])
    with pytest.raises(DataError, match=r"a\.tif cannot be read .* damaged: replace it"):
        read(path, Tile(32633, TILE.left + 7 * 1280, TILE.top))
