"""A file's numbers become a modality's: bands, units, classes, slope, climate, by hand."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from mmearth.catalog.errors import ConfigError, DataError, MMEarthError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome, Visit
from mmearth.tests.raster_files import files_of

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

TILE = Tile(32733, 500_000, 6_000_000)
DATED = {"date": {"value": "2020-04-08"}}


def write(path: Path, values: NDArray[Any], margin_px: int = 0) -> None:
    """Write a GeoTIFF on the tile's grid, with pixels beyond it on each side."""
    corner = TILE.left - 10.0 * margin_px, TILE.top + 10.0 * margin_px
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=values.shape[0],
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        crs=f"EPSG:{TILE.epsg}",
        transform=Affine(10.0, 0.0, corner[0], 0.0, -10.0, corner[1]),
    ) as dataset:
        dataset.write(values)


def layers(*values: float, dtype: str = "float32") -> NDArray[Any]:
    """Return constant bands over the tile, (band, 128, 128)."""
    return np.stack([np.full((128, 128), value, dtype) for value in values])


def outcome(root: Path, name: str, month: int = 4, **entry: Any) -> Outcome:
    """Return what the tile has of a modality when one entry tells of it."""
    product = MMEARTH_BENCH.layers[name].product if name in MMEARTH_BENCH.layers else "field plots"
    entry = {"path": "a.tif", "product": product, **entry}
    files = files_of(root, rasters={name: [entry]})
    return files.observe(Visit(TILE, (name,), f"2020-{month:02d}-08"))[name]


def seen(root: Path, name: str, month: int = 4, **entry: Any) -> NDArray[Any]:
    """Return the array of an observation that must be there and keep its contract."""
    found = outcome(root, name, month, **entry)
    assert isinstance(found, Observation), found
    found.check()
    return found.array


def refused(root: Path, name: str, kind: type[MMEarthError], **entry: Any) -> str:
    """Return the sentence of an observation that must fail in one way."""
    found = outcome(root, name, **entry)
    assert type(found) is kind, found
    return str(found)


def test_sentinel2_loses_its_offset_and_is_rounded(tmp_path: Path) -> None:
    values = layers(*range(1000, 1012))
    values[0, 0] = 1000.5  # rounds up
    values[0, 1] = np.nan
    write(tmp_path / "a.tif", values)
    found = seen(tmp_path, "sentinel2", offset=-1000, **DATED)
    assert found[:, 9, 9].tolist() == list(range(12))
    assert found[0, :3, 0].tolist() == [1, 65535, 0]


def test_reflectance_as_a_fraction_is_scaled_to_digital_numbers(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(*[0.25] * 12))
    assert np.all(seen(tmp_path, "sentinel2", scale=10_000, **DATED) == 2500)


def test_values_below_the_range_are_refused_unless_clamped(tmp_path: Path) -> None:
    values = layers(*[1200] * 12, dtype="int16")
    values[3, 5, 5] = 969
    write(tmp_path / "a.tif", values)
    sentence = refused(tmp_path, "sentinel2", DataError, offset=-1000, **DATED)
    assert "B4: found values -31 to 200" in sentence
    assert "expected 0 to 65534" in sentence
    clamped = seen(tmp_path, "sentinel2", offset=-1000, clamp=True, **DATED)
    assert clamped[3, 5, 5] == 0
    assert clamped[3, 5, 6] == 200


def test_bands_that_the_entry_leaves_out_are_no_data(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(-12.5, -19.0))
    found = seen(tmp_path, "sentinel1", bands={"desc_VV": 1, "desc_VH": 2})
    assert found[:, 0, 0].tolist() == [-9999, -9999, -9999, -9999, -12.5, -19.0, -9999, -9999]


def test_each_band_may_have_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "scene").mkdir()
    write(tmp_path / "scene" / "x_VH.tif", layers(-20.0))
    write(tmp_path / "scene" / "x_VV.tif", layers(-10.0))
    files = {"asc_VV": "*_VV.tif", "asc_VH": "*_VH.tif"}
    found = seen(tmp_path, "sentinel1", path="scene", files=files)
    assert found[:2, 0, 0].tolist() == [-10.0, -20.0]


def test_a_band_that_the_modality_does_not_have(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(1.0))
    sentence = refused(tmp_path, "sentinel1", ConfigError, bands={"VV": 1})
    assert "sentinel1 has no band 'VV'; its bands are asc_VV, asc_VH" in sentence


def test_a_band_that_the_file_does_not_have(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(1.0))
    sentence = refused(tmp_path, "eth_gch", ConfigError)
    assert "a.tif has 1 band without descriptions, expected 2: height, uncertainty" in sentence
    assert "say which is which with bands:, such as {height: 1}" in sentence


@pytest.mark.parametrize(
    ("unit", "value", "metres"),
    [(None, 12.0, 12.0), ("m", 12.0, 12.0), ("cm", 1200.0, 12.0), ("ft", 100.0, 30.48)],
)
def test_lengths_become_metres(
    tmp_path: Path, unit: str | None, value: float, metres: float
) -> None:
    write(tmp_path / "a.tif", layers(value, value))
    assert np.allclose(seen(tmp_path, "eth_gch", unit=unit), metres, rtol=1e-6)


def test_scale_and_offset_come_before_the_unit(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(20.0, 20.0))
    # 20 × 50 + 200 = 1200 cm
    assert np.all(seen(tmp_path, "eth_gch", unit="cm", scale=50, offset=200) == 12.0)


def test_a_unit_that_cannot_become_the_modalitys(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(12.0, 1.0))
    sentence = refused(tmp_path, "eth_gch", ConfigError, unit="K")
    assert "is in 'K', expected m, mm, cm, dm, km, ft, in, US survey foot" in sentence
    assert "correct unit:" in sentence


def test_a_wrong_unit_shows_in_the_range(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(21.0))
    sentence = refused(tmp_path, "temperature", DataError, bands={"month_mean": 1})
    assert "month_mean: found values 21 to 21 K, expected 150 to 350; check unit:" in sentence


def test_class_codes_are_translated_and_null_is_no_data(tmp_path: Path) -> None:
    values = layers(10, dtype="uint8")
    values[0, 0, :4] = [100, 95, 0, 255]
    write(tmp_path / "a.tif", values)
    found = seen(tmp_path, "esa_worldcover", classes={10: 0, 95: 9, 100: 10, 0: None, 255: None})
    assert found.shape == (1, 128, 128)
    assert found[0, 0, :5].tolist() == [10, 9, 11, 11, 0]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (3, "esa_worldcover has the class codes 0, 10, 20, .* found 3, which is none of them"),
        (10.5, "found 10.5, which is no whole number; give classes: with one of ours, or null"),
    ],
)
def test_a_class_code_that_the_product_does_not_have(
    tmp_path: Path, code: float, sentence: str
) -> None:
    write(tmp_path / "a.tif", layers(code))
    assert re.search(sentence, refused(tmp_path, "esa_worldcover", ConfigError))


def test_a_known_products_own_codes_become_ours(tmp_path: Path) -> None:
    values = layers(10, dtype="uint8")
    values[0, 0, :4] = [100, 95, 0, 20]
    write(tmp_path / "a.tif", values)
    found = seen(tmp_path, "esa_worldcover", product="ESA WorldCover 2021", stand_in="of 2021")
    assert found[0, 0, :5].tolist() == [10, 9, 11, 1, 0]


@pytest.mark.parametrize(
    ("east", "south", "degrees"),
    [
        (0.0, 0.0, 0.0),
        (1.0, 0.0, math.degrees(math.atan(0.1))),  # a metre in ten
        (0.0, -10.0, 45.0),
        (3.0, 4.0, math.degrees(math.atan(0.5))),  # hypot(0.3, 0.4)
    ],
)
def test_slope_of_a_plane(tmp_path: Path, east: float, south: float, degrees: float) -> None:
    rows, columns = np.mgrid[0:136, 0:136]
    plane = 2000.0 + east * columns + south * rows
    write(tmp_path / "a.tif", plane[None].astype("float32"), margin_px=4)
    found = seen(tmp_path, "aster_gdem", derive_slope=True)
    assert np.allclose(found[0], plane[4:132, 4:132])
    assert np.allclose(found[1], degrees, atol=1e-3)


def test_slope_is_no_data_where_a_neighbour_is(tmp_path: Path) -> None:
    values = np.full((1, 136, 136), 7.0, np.float32)
    values[0, 14, 24] = np.nan
    write(tmp_path / "a.tif", values, margin_px=4)
    found = seen(tmp_path, "aster_gdem", derive_slope=True)
    assert np.argwhere(found[0] == -9999).tolist() == [[10, 20]]
    missing = np.argwhere(found[1] == -9999)
    assert [missing.min(0).tolist(), missing.max(0).tolist()] == [[9, 19], [11, 21]]
    assert len(missing) == 9


def test_slope_ends_a_pixel_before_the_elevation_does(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(7.0))
    found = seen(tmp_path, "aster_gdem", derive_slope=True)
    assert np.all(found[0] == 7.0)
    assert np.all(found[1, 1:-1, 1:-1] == 0.0)
    assert np.count_nonzero(found[1] == -9999) == 128 * 4 - 4


@pytest.mark.parametrize(("month", "before"), [(4, 3), (12, 11), (1, 12)])
def test_precipitation_of_a_climatology(tmp_path: Path, month: int, before: int) -> None:
    write(tmp_path / "a.tif", layers(*(10.0 * m for m in range(1, 13))))  # mm
    found = seen(tmp_path, "precipitation", month, months=True, unit="mm")
    # Its bands are last_month, month, year; 10 + 20 + … + 120 mm = 780 mm.
    assert found.dtype == np.float64
    assert np.allclose(found, [before / 100, month / 100, 0.78], atol=1e-9)


def test_temperature_of_a_climatology_knows_only_means(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", layers(*range(1, 13)))  # °C: 1 in January … 12 in December
    found = seen(tmp_path, "temperature", 4, months=True, unit="degC")
    bands = dict(
        zip((b.name for b in MMEARTH_BENCH.layers["temperature"].bands), found, strict=True)
    )
    means = {name: value for name, value in bands.items() if name.endswith("_mean")}
    assert means == {
        "last_month_mean": pytest.approx(276.15),
        "month_mean": pytest.approx(277.15),
        "year_mean": pytest.approx(273.15 + 6.5),
    }
    assert {value for name, value in bands.items() if name not in means} == {-9999.0}


def test_climate_is_the_mean_over_the_tile_of_what_is_there(tmp_path: Path) -> None:
    values = layers(0.1)
    values[0, :64] = 0.3
    values[0, 64:] = np.nan
    values[0, 127, :] = 0.1  # 64 rows of 0.3 m and one of 0.1 m
    write(tmp_path / "a.tif", values)
    found = seen(tmp_path, "precipitation", bands={"month": 1})
    assert found.tolist() == [-9999.0, pytest.approx((64 * 0.3 + 0.1) / 65, rel=1e-6), -9999.0]


def test_a_pixel_level_target(tmp_path: Path) -> None:
    values = layers(np.nan)
    values[0, 2, 3] = 150_000.0  # kg/ha
    write(tmp_path / "a.tif", values)
    found = seen(tmp_path, "biomass", unit="kg/ha")
    assert found.shape == (1, 128, 128)
    assert np.argwhere(found != -9999).tolist() == [[0, 2, 3]]
    assert found[0, 2, 3] == 150.0
