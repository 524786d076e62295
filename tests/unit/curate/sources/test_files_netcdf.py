"""Variables, months and packed values of NetCDF files."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.times import _of_grib, _of_text
from mmearth.tests.raster_files import layers, middle, refused, seen, write_netcdf, write_tif

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

ENTRY: dict[str, Any] = {"path": "a.nc", "variable": "t2m", "crs": "EPSG:4326", "months": True}
KELVIN = range(281, 293)
"""One value a month, in the order of the file."""


def days(year: int, month: int) -> float:
    """Return days from the start of 2021 to that of a month."""
    return float((datetime.date(year, month, 1) - datetime.date(2021, 1, 1)).days)


def means(root: Path, **entry: Any) -> list[float | None]:
    """Return the means of June, July and the year."""
    found = middle(root, "temperature", **{**ENTRY, **entry})
    return [None if v is None else round(v, 6) for v in (found[1], found[4], found[7])]


YEAR = [days(2021, month) for month in range(1, 13)]
FROM_NOVEMBER = [days(2020, 11), days(2020, 12), *YEAR[:10]]


@pytest.mark.parametrize(
    ("time", "axis", "expected"),
    [
        (None, None, [286, 287]),
        (YEAR, None, [286, 287]),
        ([day + 14.5 for day in YEAR], None, [286, 287]),
        (FROM_NOVEMBER, None, [288, 289]),
        (YEAR[::-1], None, [287, 286]),
        (np.arange(12) * 30 + 15, {"units": "days since 2021-01-01", "calendar": "360_day"}, None),
        (np.array(YEAR) * 24, {"units": "hours since 2021-01-01 00:00:0.0"}, None),
        (YEAR, {"units": "days since 2021-01-01", "calendar": "noleap"}, None),
        (np.arange(10, 22), {"units": "months since 2020-01-01"}, [288, 289]),
        ([11, 12, *range(1, 11)], {"name": "month", "units": "1"}, [288, 289]),
        ([202011, 202012, *range(202101, 202111)], {"units": "YYYYMM"}, [288, 289]),
        ([20201101, 20201201, *range(20210101, 20211002, 100)], {"units": "%Y%m%d"}, [288, 289]),
    ],
)
def test_months_are_told_by_the_axis(
    tmp_path: Path, time: Any, axis: dict[str, Any] | None, expected: list[float] | None
) -> None:
    write_netcdf(tmp_path / "a.nc", KELVIN, time, axis, units="K")
    assert means(tmp_path) == [*(expected or [286, 287]), 286.5]


def test_a_month_that_is_stamped_with_its_end(tmp_path: Path) -> None:
    ends = [*YEAR[1:], days(2022, 1)]
    axis = {"units": "days since 2021-01-01", "bounds": "time_bnds"}
    write_netcdf(
        tmp_path / "a.nc", KELVIN, ends, axis, list(zip(YEAR, ends, strict=True)), units="K"
    )
    assert means(tmp_path) == [286, 287, 286.5]
    assert means(tmp_path, months=2021) == [286, 287, 286.5]


_ENDS = [*YEAR[1:], days(2022, 1)]
_LAST_DAYS = [day - 1 for day in _ENDS]


@pytest.mark.parametrize(
    ("time", "read", "stamps"),
    [
        # 1 February to 1 January; the same at midnight of Chicago, on a calendar without 29
        # February; 31 December to 30 November, 23:00: midnight of Berlin, or nearly the end.
        (_ENDS, [285, 286], "end"),
        ([day + 0.25 for day in _ENDS], [285, 286], "end"),
        ([day - 1 / 24 for day in YEAR], [287, 288], "start"),
    ],
)
def test_moments_between_two_months(
    tmp_path: Path, time: Any, read: list[float], stamps: str
) -> None:
    axis = {"units": "days since 2021-01-01", "calendar": "noleap"}
    write_netcdf(tmp_path / "a.nc", KELVIN, time, axis, units="K")
    sentence = refused(tmp_path, "temperature", ConfigError, **ENTRY)
    assert "does not say whether they are their starts or their ends; say stamps: start" in sentence
    assert means(tmp_path, stamps=stamps) == [286, 287, 286.5]
    assert means(tmp_path, stamps="start" if stamps == "end" else "end") == [*read, 286.5]


@pytest.mark.parametrize(
    "time",
    [
        _LAST_DAYS,  # midnight before a month's last day is of that month, whoever wrote it
        [day + 0.5 for day in _LAST_DAYS],
        [day + 1 - 1e-6 for day in _LAST_DAYS],
        [day + 0.25 for day in YEAR],
    ],
)
def test_moments_that_give_a_whole_year(tmp_path: Path, time: Any) -> None:
    write_netcdf(tmp_path / "a.nc", KELVIN, time, units="K")
    assert means(tmp_path) == [286, 287, 286.5]
    assert means(tmp_path, months=2021) == [286, 287, 286.5]


def test_bounds_tell_the_month_where_no_variable_is_named(tmp_path: Path) -> None:
    ends = [*FROM_NOVEMBER[1:], days(2021, 11)]
    axis = {"units": "days since 2021-01-01", "bounds": "time_bnds"}
    bounds = list(zip(FROM_NOVEMBER, ends, strict=True))
    write_netcdf(tmp_path / "a.nc", KELVIN, ends, axis, bounds, units="K")
    assert means(tmp_path, variable=None) == means(tmp_path) == [288, 289, 286.5]


def _write_group(path: Path, variables: tuple[str, ...]) -> None:
    """Write NetCDF-4 of a year from November in a group."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        group = file.create_group("monthly")
        axes = {
            "time": (FROM_NOVEMBER, "days since 2021-01-01"),
            "lat": (49.5 - np.arange(10), "degrees_north"),
            "lon": (10.5 + np.arange(10), "degrees_east"),
        }
        for name, (values, unit) in axes.items():
            group[name] = np.array(values)
            group[name].make_scale(name)
            group[name].attrs["units"] = unit
        for variable in variables:
            group[variable] = np.array(KELVIN)[:, None, None] * np.ones((1, 10, 10))
            group[variable].attrs["units"] = "K"
            for i, name in enumerate(axes):
                group[variable].dims[i].attach_scale(group[name])


def test_a_variable_in_a_group(tmp_path: Path) -> None:
    _write_group(tmp_path / "a.nc", ("t2m",))
    for variable in (None, "monthly/t2m", "/monthly/t2m"):
        assert means(tmp_path, variable=variable) == [288, 289, 286.5]
    sentence = refused(tmp_path, "temperature", ConfigError, **ENTRY)
    assert "has no variable 't2m'; it has monthly/t2m" in sentence
    _write_group(tmp_path / "a.nc", ("t2m", "d2m"))
    assert means(tmp_path, variable="monthly/t2m") == [288, 289, 286.5]
    sentence = refused(tmp_path, "temperature", ConfigError, **{**ENTRY, "variable": None})
    assert "several variables: monthly/d2m, monthly/t2m; say which with variable:" in sentence


def test_a_kind_that_gdal_does_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"CDF\x05" + bytes(44))  # with nothing in it
    sentence = refused(tmp_path, "temperature", FormatError, **ENTRY)
    assert "CDF-5, which GDAL cannot read here; convert it, such as with nccopy -k nc4" in sentence


def test_two_fields_a_month(tmp_path: Path) -> None:
    write_netcdf(tmp_path / "a.nc", range(24), sorted([*YEAR, *YEAR]), units="K")
    sentence = refused(tmp_path, "temperature", ConfigError, **ENTRY)
    assert "has 24 bands of 12 months, expected twelve, one a month; write one field of" in sentence


def test_of_two_years_one_is_chosen(tmp_path: Path) -> None:
    both = [*YEAR, *(days(2022, month) for month in range(1, 13))]
    write_netcdf(tmp_path / "a.nc", range(281, 305), both, units="K")
    sentence = refused(tmp_path, "temperature", ConfigError, **ENTRY)
    assert (
        "has 24 bands of 12 months, expected twelve, one a month; choose a year of 2021 to 2022"
        in sentence
    )
    assert means(tmp_path, months=2021) == [286, 287, 286.5]
    assert means(tmp_path, months=2022) == [298, 299, 298.5]
    assert "has 0 bands of 1999" in refused(
        tmp_path, "temperature", ConfigError, **{**ENTRY, "months": 1999}
    )


@pytest.mark.parametrize("n", [9, 12, 72])
def test_hours_are_no_months_and_no_statistics(tmp_path: Path, n: int) -> None:
    write_netcdf(tmp_path / "a.nc", np.linspace(280, 290, n), np.arange(n) / 24, units="K")
    assert f"has {n} bands of 1 months, expected twelve" in refused(
        tmp_path, "temperature", ConfigError, **ENTRY
    )
    assert f"has {n} bands that are moments in time, expected last_month_max" in refused(
        tmp_path, "temperature", ConfigError, **{**ENTRY, "months": False}
    )


def test_variables_are_named(tmp_path: Path) -> None:
    write_netcdf(tmp_path / "a.nc", KELVIN, YEAR, variables=("t2m", "tp"), units="K")
    assert "holds several variables: t2m, tp; say which with variable: t2m" in refused(
        tmp_path, "temperature", ConfigError, **{**ENTRY, "variable": None}
    )
    assert "has no variable 't'; it has t2m, tp" in refused(
        tmp_path, "temperature", ConfigError, **{**ENTRY, "variable": "t"}
    )
    write_netcdf(tmp_path / "a.nc", KELVIN, YEAR, units="K")
    assert means(tmp_path, variable=None) == [286, 287, 286.5]
    assert "has no variable 't'; it has t2m" in refused(
        tmp_path, "temperature", ConfigError, **{**ENTRY, "variable": "t"}
    )


def test_packed_values_and_their_fill(tmp_path: Path) -> None:
    said = {"scale_factor": 0.01, "add_offset": 10.0, "units": "degC"}
    values = [0, 100, 200, 300, 400, -1, 600, 700, 800, 900, 1000, 1100]
    write_netcdf(tmp_path / "a.nc", values, YEAR, dtype="i2", _FillValue=np.int16(-1), **said)
    # June is the fill value; July is 600 × 0.01 + 10 °C.
    assert means(tmp_path) == [None, 289.15, None]


@pytest.mark.parametrize(
    ("said", "june"),
    [
        ({"missing_value": np.float32(286)}, None),
        ({"_FillValue": np.float32(-1), "missing_value": np.float32(286)}, None),
        ({"valid_range": np.array([287, 300], "f4")}, None),
        ({"valid_min": np.float32(270), "valid_max": np.float32(285)}, None),
        ({"valid_min": np.float32(281)}, 286),
    ],
)
def test_every_attribute_that_means_no_data(
    tmp_path: Path, said: dict[str, Any], june: float | None
) -> None:
    write_netcdf(tmp_path / "a.nc", KELVIN, YEAR, units="K", **said)
    assert means(tmp_path)[0] == june


def test_longitudes_from_0_to_360(tmp_path: Path) -> None:
    write_netcdf(tmp_path / "a.nc", KELVIN, YEAR, lon=350.0, units="K")
    tile = Tile.at(-5.3, 44.3)
    assert middle(tmp_path, "temperature", tile=tile, **ENTRY)[4] == 287


@pytest.mark.parametrize(
    ("unit", "value", "july"),
    [
        ("mm/day", 3.0, 0.093),
        ("mm d-1", 3.0, 0.093),
        ("mm h-1", 0.125, 0.093),
        ("m s-1", 0.093 / 31 / 86400, 0.093),
        ("kg m-2 s-1", 93 / 31 / 86400, 0.093),
        ("mm month-1", 93.0, 0.093),
        ("mm", 93.0, 0.093),
        ("m", 0.093, 0.093),
    ],
)
def test_precipitation_is_a_sum_of_the_month(
    tmp_path: Path, unit: str, value: float, july: float
) -> None:
    write_netcdf(tmp_path / "a.nc", [value] * 12, YEAR, units=unit)
    found = middle(tmp_path, "precipitation", **ENTRY)
    june, july_found, year = found
    assert july_found == pytest.approx(july, rel=1e-6)
    rate = "month" not in unit and unit not in ("mm", "m")
    assert june == pytest.approx(july * (30 / 31 if rate else 1), rel=1e-6)
    assert year == pytest.approx(july * (365 / 31 if rate else 12), rel=1e-6)


def test_february_of_no_year_has_its_mean_length(tmp_path: Path) -> None:
    write_netcdf(tmp_path / "a.nc", [1.0] * 12, units="mm/day")
    found = middle(tmp_path, "precipitation", anchor="2021-02-10", **ENTRY)
    assert found == pytest.approx([0.031, 0.0282425, 0.3652425], rel=1e-6)


def test_rates_of_single_bands_take_the_anchors_month(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(1.0, 1.0, 1.0), units=["mm/day"] * 3)
    found = middle(tmp_path, "precipitation", anchor="2020-03-10")
    assert found == pytest.approx([0.029, 0.031, 0.366], rel=1e-6)
    dated = {"date": {"value": "2021-03-10"}}
    assert seen(tmp_path, "precipitation", anchor="2020-03-10", **dated).acquired == "2021-03"
    found = middle(tmp_path, "precipitation", anchor="2020-03-10", **dated)
    assert found == pytest.approx([0.028, 0.031, 0.365], rel=1e-6)


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("crs", [None, "EPSG:4326"])
def test_coordinates_of_two_dimensions_are_no_grid(
    tmp_path: Path, crs: str | None, numbered: bool
) -> None:
    with scipy.io.netcdf_file(tmp_path / "a.nc", "w") as file:
        for name, length in (("time", 12), ("y", 6), ("x", 4)):
            file.createDimension(name, length)
            if numbered and name != "time":
                file.createVariable(name, "i4", (name,))[:] = np.arange(length)
        for name, low in (("lat", 44.0), ("lon", 14.0)):
            place = file.createVariable(name, "f8", ("y", "x"))
            place[:] = low + np.arange(24).reshape(6, 4) / 10
        field = file.createVariable("t2m", "f4", ("time", "y", "x"))
        field[:] = 280.0
        field.coordinates, field.units = "lat lon", "K"
    sentence = refused(tmp_path, "temperature", FormatError, **{**ENTRY, "crs": crs})
    assert "says not where its pixels lie" in sentence
    assert "interpolating 2-D longitudes and latitudes to a grid" in sentence


@pytest.mark.parametrize(
    ("text", "month"),
    [
        ("March", (None, 3)),
        ("tmean Sep", (None, 9)),
        ("2020-11-01", (2020, 11)),
        ("202011_t2m", (2020, 11)),
        ("tas 20201130", (2020, 11)),
        ("1234", None),
        ("320299", None),
        ("2020-13", None),
        ("Marsh", None),
        ("Mar and Apr", None),
        (None, None),
    ],
)
def test_months_by_descriptions(text: str | None, month: tuple[int | None, int] | None) -> None:
    found = _of_text(text)
    assert (found and (found.year, found.month)) == month


@pytest.mark.parametrize(
    "names",
    [
        ["Nov", "Dec", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct"],
        [f"t2m_{month:02d}" for month in (11, 12, *range(1, 11))],
        [f"{2020 if month > 10 else 2021}{month:02d}" for month in (11, 12, *range(1, 11))],
    ],
)
def test_months_by_descriptions_order_a_geotiff(tmp_path: Path, names: list[str]) -> None:
    write_tif(tmp_path / "a.tif", layers(*KELVIN), descriptions=names)
    found = middle(tmp_path, "temperature", months=True)
    assert (found[1], found[4]) == (288, 289)


def test_months_of_grib() -> None:
    found = _of_grib({"GRIB_VALID_TIME": "  1551398400 sec UTC"})
    assert found is not None
    assert (found.year, found.month) == (2019, 3)
    assert _of_grib({}) is None
