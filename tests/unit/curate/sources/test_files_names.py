"""Bands, baselines and axes by the many names that programs give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scipy.io
from pydantic import ValidationError

from mmearth.catalog.errors import ConfigError, DataError, FormatError
from mmearth.tests.raster_files import layers, middle, refused, write_netcdf, write_tif

pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

DAY = {"date": {"value": "2019-06-15"}}
VV = {"bands": {"asc_VV": 1}}
OTHER: dict[str, Any] = {"product": "other", "stand_in": "a test"}
MONTHS: dict[str, Any] = {**OTHER, "months": True}


def s2(first: int = 1500, n: int = 12) -> Any:
    """Return bands of 1500, 1501 …."""
    return layers(*(first + i for i in range(n)), dtype="uint16")


@pytest.mark.parametrize(
    "tags",
    [
        {"PROCESSING_BASELINE": "4.0"},
        {"PROCESSING_BASELINE": '"05.00"'},
        {"s2_processing_baseline": "5.09"},
        {"processing_baseline_number": "0500"},
        {"s2:processing_baseline": '["05.09"]'},
        {"BOA_ADD_OFFSET": "-1000"},
    ],
)
def test_a_baseline_is_read_in_any_spelling(tmp_path: Path, tags: dict[str, str]) -> None:
    write_tif(tmp_path / "a.tif", s2(2500), tags=tags)
    assert middle(tmp_path, "sentinel2", **DAY, offset="auto")[:2] == [1500, 1501]
    assert "whose numbers are 1000 too high" in refused(tmp_path, "sentinel2", ConfigError, **DAY)


def test_a_baseline_that_is_none_is_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", s2(2500), tags={"PROCESSING_BASELINE": "collection 1"})
    sentence = refused(tmp_path, "sentinel2", ConfigError, **DAY, offset="auto")
    assert "which is no processing baseline such as 05.09" in sentence
    write_tif(tmp_path / "a.tif", s2(2500), tags={"PROCESSING_BASELINE": "unknown"})
    assert middle(tmp_path, "sentinel2", **DAY, offset="auto")[0] == 2500


@pytest.mark.parametrize("name", ["s2a_msil2a_20190615_n0500_r022.tif", "S2A_20190615_N05.00.tif"])
def test_a_baseline_is_read_of_any_name(tmp_path: Path, name: str) -> None:
    write_tif(tmp_path / name, s2(2500))
    assert middle(tmp_path, "sentinel2", path=name, **DAY, offset="auto")[0] == 1500


@pytest.mark.parametrize("word", ["Band {}", "Band_{}", "layer.{}"])
def test_names_that_only_count_are_no_names(tmp_path: Path, word: str) -> None:
    write_tif(tmp_path / "a.tif", s2(), descriptions=[word.format(i) for i in range(1, 13)])
    assert middle(tmp_path, "sentinel2", **DAY)[8:] == [1508, 1509, 1510, 1511]
    write_tif(tmp_path / "a.tif", s2(n=4), descriptions=[word.format(i) for i in range(1, 5)])
    assert "has 4 bands" in refused(tmp_path, "sentinel2", ConfigError, **DAY)
    (tmp_path / "s").mkdir()
    write_tif(tmp_path / "s" / "B2.tif", s2(n=1), descriptions=[word.format(1)])
    entry = {"path": "s", "files": {"B2": "B2.tif"}, **DAY}
    assert middle(tmp_path, "sentinel2", **entry)[:2] == [None, 1500]


def test_b1_to_b4_may_be_numbers(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", s2(n=4), descriptions=["b1", "b2", "b3", "b4"])
    assert "say which is which with bands:" in refused(tmp_path, "sentinel2", ConfigError, **DAY)


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("LANDSAT/LC09/C02/T1_L2", "SR_B{}"),
        ("HLSL30 v2.0", "B0{}"),
        ("MODIS/061/MOD09A1", "sur_refl_b0{}"),
        ("PlanetScope", "band {} surface"),
    ],
)
def test_another_sensors_numbers_are_not_sentinel2s(
    tmp_path: Path, product: str, name: str
) -> None:
    write_tif(tmp_path / "a.tif", s2(n=7), descriptions=[name.format(i) for i in range(1, 8)])
    entry = {"product": product, "stand_in": "a test", **DAY}
    assert "are another sensor's numbers" in refused(tmp_path, "sentinel2", ConfigError, **entry)
    assert middle(tmp_path, "sentinel2", **entry, bands={"B8A": 5})[8] == 1504


def test_wavelengths_are_names(tmp_path: Path) -> None:
    names = ["490", "443", "560", "665", "705", "740", "783", "842", "865", "945", "1610", "2190"]
    write_tif(tmp_path / "a.tif", s2(), descriptions=names)
    assert middle(tmp_path, "sentinel2", **DAY)[:3] == [1501, 1500, 1502]


@pytest.mark.parametrize(
    ("name", "descriptions", "values", "expected"),
    [
        ("aster_gdem", ["Slope (degrees)", "Elevation (m)"], (5, 80), [80, 5]),
        ("aster_gdem", ["terrain slope", "terrain height"], (5, 80), [80, 5]),
        ("eth_gch", ["Standard deviation (m)", "Height (m)"], (3, 20), [20, 3]),
        ("eth_gch", ["canopy_height_sd", "canopy_height"], (3, 20), [20, 3]),
        ("precipitation", ["month_m", "last_month_m", "annual"], (0.1, 0.05, 1), [0.05, 0.1, 1]),
        ("sentinel1", [f"{p}_{o}" for o in "DA" for p in ("VV", "VH", "HH", "HV")],
         tuple(range(-17, -9)), [-13, -12, -11, -10, -17, -16, -15, -14]),
    ],
)  # fmt: skip
def test_bands_go_by_the_words_of_their_descriptions(
    tmp_path: Path, name: str, descriptions: list[str], values: Any, expected: list[float]
) -> None:
    write_tif(tmp_path / "a.tif", layers(*values), descriptions=descriptions)
    assert middle(tmp_path, name) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "description", "n", "entry"),
    [
        ("dynamic_world", "trees", 1, {}),
        ("aster_gdem", "slope", 1, {"derive_slope": True}),
        ("sentinel1", "VH", 8, {}),
    ],
)
def test_a_description_that_contradicts_the_order_is_refused(
    tmp_path: Path, name: str, description: str, n: int, entry: dict[str, Any]
) -> None:
    write_tif(tmp_path / "a.tif", layers(*[1] * n), descriptions=[description] * n)
    sentence = refused(tmp_path, name, ConfigError, **entry)
    assert f"describes its band 1 as {description!r}, expected" in sentence


def test_numbers_that_nothing_on_earth_has_are_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", s2(500), scales=[0.01] * 12)  # per cent
    assert "half of sentinel2 is above 50550" in refused(tmp_path, "sentinel2", DataError, **DAY)
    power = layers(0.08)
    power[:, 10:12] = -0.001
    write_tif(tmp_path / "a.tif", power)
    assert "which is power" in refused(tmp_path, "sentinel1", DataError, **VV)
    both = {"bands": {"asc_VV": 1, "asc_VH": 2}}
    write_tif(tmp_path / "a.tif", layers(0.08, -17))
    assert "which is power" in refused(tmp_path, "sentinel1", DataError, **both)
    write_tif(tmp_path / "a.tif", layers(-120))
    assert "half of sentinel1 is below -120" in refused(tmp_path, "sentinel1", DataError, **VV)
    write_tif(tmp_path / "a.tif", layers(*[2] * 12))
    assert "write unit: mm" in refused(tmp_path, "precipitation", DataError, **MONTHS)
    assert middle(tmp_path, "precipitation", **MONTHS, unit="mm")[1] == pytest.approx(0.002)


@pytest.mark.parametrize(
    "name",
    ["CHELSA_tas_{:02d}_1981-2010_V.2.1", "b{:d}"],
)
def test_months_are_numbered_anywhere_in_a_description(tmp_path: Path, name: str) -> None:
    first = 0 if name == "b{:d}" else 1
    names = [name.format(i + first) for i in range(11, -1, -1)]
    write_tif(tmp_path / "a.tif", layers(*range(291, 279, -1)), descriptions=names)
    assert middle(tmp_path, "temperature", **MONTHS)[4] == 286  # July


@pytest.mark.parametrize("first", [0, 1])
def test_an_axis_of_twelve_numbers_is_of_months(tmp_path: Path, first: int) -> None:
    numbers = [11 + first, *range(first, 11 + first)]
    write_netcdf(tmp_path / "a.nc", [291, *range(280, 291)], numbers, {"name": "time"}, units="K")
    assert middle(tmp_path, "temperature", path="a.nc", **MONTHS)[4] == 286


def _grid(path: Path, order: tuple[str, str], name: str = "") -> dict[str, Any]:
    """Write 273.15 K and as many more as degrees north, over 10° to 55° N, 0° to 60° E."""
    axes = {"lat": 10.5 + np.arange(45.0), "lon": 0.5 + np.arange(60.0)}
    with scipy.io.netcdf_file(path, "w") as file:
        for axis, values in axes.items():
            file.createDimension(axis, len(values))
            variable = file.createVariable(axis, "f8", (axis,))
            variable[:] = values
            variable.units = {"lat": "degrees_north", "lon": "degrees_east"}[axis]
            if name:
                variable.units, variable.standard_name = (
                    "degrees",
                    f"grid_{axis}itude".replace("lonitude", "longitude"),
                )
        field = file.createVariable("t2m", "f4", order)
        north = np.broadcast_to(273.15 + axes["lat"][:, None], (45, 60))
        field[:] = north if order[0] == "lat" else north.T
        field.units = "K"
    return {"path": "a.nc", "bands": {"month_mean": 1}, **OTHER}


def test_axes_in_degrees_need_no_crs(tmp_path: Path) -> None:
    entry = _grid(tmp_path / "a.nc", ("lat", "lon"))
    assert middle(tmp_path, "temperature", **entry)[4] == pytest.approx(273.15 + 45.5)


def test_latitudes_along_the_columns_are_refused(tmp_path: Path) -> None:
    entry = _grid(tmp_path / "a.nc", ("lon", "lat"))
    assert "latitudes along its columns" in refused(tmp_path, "temperature", FormatError, **entry)


def test_a_rotated_pole_is_not_the_earths(tmp_path: Path) -> None:
    entry = _grid(tmp_path / "a.nc", ("lat", "lon"), "grid") | {"crs": "EPSG:4326"}
    assert "of a rotated pole" in refused(tmp_path, "temperature", FormatError, **entry)


@pytest.mark.parametrize("band", [0, 1])  # 0: the tags of the whole file
@pytest.mark.parametrize("key", ["units", "UNIT"])
def test_a_unit_among_the_tags_counts(tmp_path: Path, band: int, key: str) -> None:
    path = write_tif(tmp_path / "a.tif", layers(1000))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(band, **{key: "feet"})
    assert middle(tmp_path, "aster_gdem", bands={"elevation": 1})[0] == pytest.approx(304.8)


def test_one_unit_for_bands_of_two_is_of_those_that_can_have_it(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(1000, 5), tags={"units": "feet"})
    assert middle(tmp_path, "aster_gdem") == pytest.approx([304.8, 5])


def test_a_scene_has_one_baseline_and_one_kind_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    entry = {"path": "s", "files": {"B2": "B2.tif", "B3": "B3.tif"}, **DAY}
    write_tif(tmp_path / "s" / "B2.tif", s2(1200, 1), tags={"PROCESSING_BASELINE": "05.00"})
    write_tif(tmp_path / "s" / "B3.tif", s2(1300, 1))
    assert middle(tmp_path, "sentinel2", **entry, offset="auto")[1:3] == [200, 300]
    write_tif(tmp_path / "s" / "B2.tif", layers(0.02))
    sentence = refused(tmp_path, "sentinel2", DataError, **entry)
    assert "the greatest value of B2 is 2 or less, which is reflectance" in sentence


def test_a_year_of_two_digits_is_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "S_200601.tif", s2())
    pattern = r"S_(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)"
    entry = {"path": "S_200601.tif", "date": {"name": pattern}}
    assert "year (of four digits)" in refused(tmp_path, "sentinel2", ConfigError, **entry)


@pytest.mark.parametrize("entry", [{"scale": 0}, {"scale": float("inf")}, {"offset": float("nan")}])
def test_numbers_that_nothing_can_be_reckoned_with(tmp_path: Path, entry: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"correct it|finite number"):
        refused(tmp_path, "aster_gdem", ConfigError, **entry)


def test_values_of_a_tile_are_clamped(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(-1e-9, 0.1, 1))
    found = middle(tmp_path, "precipitation", **OTHER, clamp=True)
    assert found == pytest.approx([0, 0.1, 1])
