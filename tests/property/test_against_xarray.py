"""Monthly NetCDF as xarray decodes it, and as a build reads it: the same values."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import xarray
from pyproj import Transformer

from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.tests.raster_files import outcome

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

_FILL = -32768


def _write(path: Path, draw: np.random.Generator) -> None:
    """Write twelve months of packed temperatures over 20° × 20° or the whole Earth."""
    start = np.datetime64("2019-01", "M") + int(draw.integers(0, 24))
    days = (start + np.arange(12)).astype("datetime64[D]") - np.datetime64("1990-01-01", "D")
    step = float(draw.choice([0.5, 1.0, 2.5]))
    from_greenwich = bool(draw.integers(2))
    lon = np.arange(0 if from_greenwich else -180, 360 if from_greenwich else 180, step) + step / 2
    lat = np.arange(-80.0, 80.0, step) + step / 2
    if draw.integers(2):
        lat = lat[::-1]
    packed = draw.integers(-4000, 4000, (12, len(lat), len(lon))).astype("i2")
    packed[draw.random(packed.shape) < 0.05] = _FILL
    with scipy.io.netcdf_file(path, "w") as file:
        for name, values, units in (
            ("time", days.astype("f8"), "days since 1990-01-01"),
            ("lat", lat, "degrees_north"),
            ("lon", lon, "degrees_east"),
        ):
            file.createDimension(name, len(values))
            axis = file.createVariable(name, "f8", (name,))
            axis[:], axis.units = values, units
        field = file.createVariable("t2m", "i2", ("time", "lat", "lon"))
        field[:] = packed
        field.units, field._FillValue = "K", np.int16(_FILL)
        field.scale_factor, field.add_offset = 0.01, float(draw.choice([270.0, 283.25]))


@pytest.mark.parametrize("seed", range(12))
def test_packed_months_of_any_axis(seed: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    _write(tmp_path / "a.nc", draw)
    with xarray.open_dataset(tmp_path / "a.nc", engine="scipy") as dataset:
        field = dataset["t2m"].load()
    for _ in range(6):
        tile = Tile.at(float(draw.uniform(-179.9, 179.9)), float(draw.uniform(-75.0, 75.0)))
        expected = _over_tile(field, tile)
        anchor = f"2020-{draw.integers(1, 13):02d}-10"
        entry = {"path": "a.nc", "variable": "t2m", "crs": "EPSG:4326", "months": True}
        found = outcome(tmp_path, "temperature", anchor, tile, **entry)
        month = int(anchor[5:7])
        for i, value in ((4, expected[month]), (1, expected[(month - 2) % 12 + 1])):
            if np.isnan(value):  # alone it makes the whole observation missing
                assert not isinstance(found, Observation) or found.array[i] == -9999
            else:
                assert isinstance(found, Observation), found
                assert found.array[i] == pytest.approx(value, abs=0.02), (tile, anchor)


def _over_tile(field: xarray.DataArray, tile: Tile) -> dict[int, float]:
    """Return the mean of the valid cells that lie under a tile's 128 × 128 pixels, by month."""
    east, north = np.meshgrid(
        tile.left + 10.0 * np.arange(128) + 5.0, tile.top - 10.0 * np.arange(128) - 5.0
    )
    lon, lat = Transformer.from_crs(tile.epsg, 4326, always_xy=True).transform(east, north)
    if float(field.lon.max()) > 180:
        lon = lon % 360
    step = abs(float(field.lon[1] - field.lon[0]))
    columns = np.floor((lon - (float(field.lon[0]) - step / 2)) / step).astype(int)
    rows = np.abs(field.lat.values[:, None] - lat.ravel()).argmin(axis=0).reshape(lat.shape)
    months = field.time.values.astype("datetime64[M]").astype(int) % 12 + 1
    under = field.values[:, rows, columns % field.sizes["lon"]].reshape(len(months), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing there is no mean
        means = np.nanmean(under.astype("f8"), axis=1)
    return dict(zip(months.tolist(), means.tolist(), strict=True))
