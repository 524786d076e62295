"""What a raster says of itself is believed or contradicted, never ignored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from mmearth.catalog.errors import ConfigError, DataError, FormatError, MMEarthError, NoDataError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.source import Visit
from mmearth.tests.raster_files import (
    TILE,
    files_of,
    layers,
    middle,
    refused,
    seen,
    share,
    write_tif,
)

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

DAY = {"date": {"value": "2021-06-15"}}
VV = {"bands": {"asc_VV": 1}}
HEIGHT = {"bands": {"height": 1}}
ELEVATION = {"bands": {"elevation": 1}}
EUROSAT = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12", "B8A"]


def s2(first: float = 1500, dtype: str = "uint16") -> NDArray[Any]:
    """Return twelve bands of 1500, 1501 …."""
    return layers(*(first + i for i in range(12)), dtype=dtype)


# --- scale, offset and the processing baseline ---


@pytest.mark.parametrize("entry", [{}, {"offset": "auto"}, {"scale": 10_000}, {"unit": "1"}])
def test_sentinel2_tags_of_reflectance_apply_once(tmp_path: Path, entry: dict[str, Any]) -> None:
    write_tif(tmp_path / "a.tif", s2(), scales=[1e-4] * 12, offsets=[-0.1] * 12)
    # (1500 × 0.0001 - 0.1) × 10000
    assert middle(tmp_path, "sentinel2", **DAY, **entry)[:3] == [500, 501, 502]


def test_zero_is_no_data_where_an_offset_is_in_the_numbers(tmp_path: Path) -> None:
    values = s2()
    values[:, :40] = 0
    write_tif(tmp_path / "a.tif", values, scales=[1e-4] * 12, offsets=[-0.1] * 12)
    assert seen(tmp_path, "sentinel2", **DAY, clamp=True).valid_fraction == pytest.approx(92 / 128)
    write_tif(tmp_path / "a.tif", values)
    found = seen(tmp_path, "sentinel2", **DAY, offset=-1000, clamp=True)
    assert found.valid_fraction == pytest.approx(92 / 128)


def test_reflectance_without_a_word_is_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(*[0.25] * 12))
    sentence = refused(tmp_path, "sentinel2", DataError, **DAY)
    assert "the greatest value of sentinel2 is 0.25, which is reflectance" in sentence
    assert "write scale: 10000, or scale: auto" in sentence
    for entry in ({"scale": 10_000}, {"scale": "auto"}, {"unit": "reflectance"}):
        assert middle(tmp_path, "sentinel2", **DAY, **entry) == [2500] * 12


def test_percent_and_pictures_are_refused_without_a_word(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(*[25.25] * 12))
    assert "is 25.25, as of reflectance in percent, expected reflectance × 10000" in refused(
        tmp_path, "sentinel2", DataError, **DAY
    )
    assert middle(tmp_path, "sentinel2", **DAY, unit="percent") == [2525] * 12
    assert middle(tmp_path, "sentinel2", **DAY, unit="DN") == [25] * 12
    water = {"bands": {"B12": 1}, **DAY}
    assert middle(tmp_path, "sentinel2", **water)[11] == 25
    write_tif(tmp_path / "a.tif", layers(*[200] * 12, dtype="uint8"))
    assert "holds sentinel2 in uint8, which has no room for reflectance" in refused(
        tmp_path, "sentinel2", ConfigError, **DAY
    )
    assert middle(tmp_path, "sentinel2", **DAY, scale=50) == [10_000] * 12


def test_scale_auto_leaves_digital_numbers(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", s2(dtype="float32"))
    assert middle(tmp_path, "sentinel2", **DAY, scale="auto")[:2] == [1500, 1501]
    write_tif(tmp_path / "a.tif", layers(*[1] * 12, dtype="uint16"))  # whole numbers are no share
    assert "is 1, which is" in refused(tmp_path, "sentinel2", DataError, **DAY, scale="auto")


@pytest.mark.parametrize(
    ("name", "rest", "entry"), [("sentinel2", 500, DAY), ("sentinel1", -12, VV)]
)
def test_many_zeros_are_refused_until_the_entry_says_what_they_are(
    tmp_path: Path, name: str, rest: float, entry: dict[str, Any]
) -> None:
    values = layers(*[rest] * (12 if name == "sentinel2" else 1))
    values[:, :36] = 0
    write_tif(tmp_path / "a.tif", values)
    sentence = refused(tmp_path, name, DataError, **entry)
    assert f"{name} is 0 in 25% of the pixels; if that means no data, write nodata: 0" in sentence
    assert share(seen(tmp_path, name, **entry, nodata=0)) == 0.75
    assert share(seen(tmp_path, name, **entry, nodata=[])) == 1.0


@pytest.mark.parametrize(
    ("name", "tags", "day", "expected"),
    [
        ("a.tif", {}, "2022-01-24", 1500),
        ("a.tif", {}, "2022-01-25", 500),
        ("S2A_MSIL2A_20190615_N0500_R022.tif", {}, "2019-06-15", 500),  # processed again
        ("S2A_MSIL2A_20190615_N0212_R022.tif", {}, "2019-06-15", 1500),
        ("a.tif", {"PROCESSING_BASELINE": "05.09"}, "2019-06-15", 500),
        ("a.tif", {"s2:processing_baseline": "03.01"}, "2023-06-15", 1500),
        ("a.tif", {"earthsearch:boa_offset_applied": "True"}, "2023-06-15", 1500),
    ],
)
def test_offset_auto_follows_the_baseline(
    tmp_path: Path, name: str, tags: dict[str, str], day: str, expected: int
) -> None:
    write_tif(tmp_path / name, s2(), tags=tags)
    entry = {"path": name, "date": {"value": day}, "offset": "auto"}
    assert middle(tmp_path, "sentinel2", **entry)[0] == expected


def test_one_entry_spans_january_2022(tmp_path: Path) -> None:
    write_tif(tmp_path / "s2_20190615.tif", s2(700))
    write_tif(tmp_path / "s2_20230615.tif", s2(1700))
    pattern = r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    entry = {"path": "*.tif", "date": {"name": pattern}, "offset": "auto"}
    for day in ("2019-06-14", "2023-06-20"):
        assert middle(tmp_path, "sentinel2", anchor=day, **entry)[0] == 700
    assert "offset: auto needs date: then" in refused(
        tmp_path, "sentinel2", ConfigError, path="s2_20190615.tif", offset="auto"
    )


def test_a_baseline_that_the_name_tells_must_not_be_passed_over(tmp_path: Path) -> None:
    name = "S2A_MSIL2A_20220615T101031_N0400_R022_T33TTG.tif"
    write_tif(tmp_path / name, s2())
    write_tif(tmp_path / "tile_N0400_E015.tif", s2())
    assert middle(tmp_path, "sentinel2", path="tile_N0400_E015.tif", **DAY)[0] == 1500
    entry = {"path": name, **DAY}
    sentence = refused(tmp_path, "sentinel2", ConfigError, **entry)
    assert (
        "baseline 04.00 or later, whose numbers are 1000 too high; write offset: auto" in sentence
    )
    assert middle(tmp_path, "sentinel2", **entry, offset="auto")[0] == 500
    assert middle(tmp_path, "sentinel2", **entry, offset=0)[0] == 1500


def test_of_two_entries_the_date_decides_not_the_order(tmp_path: Path) -> None:
    write_tif(tmp_path / "2023.tif", s2(1700))
    write_tif(tmp_path / "2019.tif", s2(700))
    product = {"product": "COPERNICUS/S2_SR_HARMONIZED"}
    entries = [
        {"path": "2023.tif", "offset": -1000, "date": {"value": "2023-06-15"}, **product},
        {"path": "2019.tif", "date": {"value": "2019-06-15"}, **product},
    ]
    files = files_of(tmp_path, rasters={"sentinel2": entries})
    for anchor, expected in (
        ("2019-06-14", "2019-06-15"),
        ("2023-01-01", "2023-06-15"),
        ("2019-05-01/2019-07-01", "2019-06-15"),
        (None, "2023-06-15"),  # the first entry where nothing is asked for
    ):
        found = files.observe(Visit(TILE, ("sentinel2",), anchor))["sentinel2"]
        assert not isinstance(found, MMEarthError)
        assert (found.acquired, found.array[0, 64, 64]) == (expected, 700)


@pytest.mark.parametrize(
    ("name", "value", "rest", "entry"),
    [
        ("sentinel2", -9999, 500, DAY),
        ("sentinel1", -9999, -12, VV),
        ("eth_gch", 255, 12, HEIGHT),
        ("aster_gdem", -32768, 100, ELEVATION),
    ],
)
def test_clamping_makes_no_value_of_an_undeclared_no_data(
    tmp_path: Path, name: str, value: float, rest: float, entry: dict[str, Any]
) -> None:
    values = layers(*[rest] * (12 if name == "sentinel2" else 1), dtype="int32")
    values[:, :36] = value
    write_tif(tmp_path / "a.tif", values)
    if value in (255, -9999) and name != "sentinel2":  # what we store for no data ourselves
        assert share(seen(tmp_path, name, clamp=True, **entry)) == 0.75
    else:
        sentence = refused(tmp_path, name, DataError, clamp=True, **entry)
        assert f"found values {value:g} to" in sentence
        assert "nodata:" in sentence


# --- which band is which ---


def test_described_bands_are_taken_by_name(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(*range(301, 314)), descriptions=EUROSAT)
    # B8A is the thirteenth, B10 is left out.
    expected = [301, 302, 303, 304, 305, 306, 307, 308, 313, 309, 311, 312]
    assert middle(tmp_path, "sentinel2", **DAY) == expected


@pytest.mark.parametrize(
    "descriptions",
    [
        ["B02", "B03", "B04", "B08"],
        ["blue", "green", "red", "nir"],
        ["B2, central wavelength 490 nm", "B3_10m", "S2_B04_median", "Band 8"],
    ],
)
def test_spellings_of_bands(tmp_path: Path, descriptions: list[str]) -> None:
    write_tif(tmp_path / "a.tif", layers(301, 302, 303, 304), descriptions=descriptions)
    found = middle(tmp_path, "sentinel2", **DAY)
    assert [*found[1:4], found[7]] == [301, 302, 303, 304]
    assert [value for i, value in enumerate(found) if i not in (1, 2, 3, 7)] == [None] * 8


@pytest.mark.parametrize(
    ("name", "n", "descriptions", "sentence"),
    [
        ("sentinel2", 13, None, "has 13 bands without descriptions, expected 12: B1, .*B11: 12"),
        ("sentinel2", 12, [f"B{i}" for i in range(1, 13)], "not B8A of B1, .* with bands:"),
        ("sentinel2", 12, [*EUROSAT[:11], "B1"], "B1 twice of B1"),
        ("sentinel2", 4, ["blue", "green", "red", "index"], "not B1, B5"),
        ("sentinel1", 2, ["VV", "VH"], "described as VV, VH, expected 8.*{asc_VV: 1, asc_VH: 2}"),
        ("eth_gch", 2, ["what", "height"], "not uncertainty of height, uncertainty"),
        ("eth_gch", 1, None, "has 1 band without descriptions, expected 2.*{height: 1}"),
        ("temperature", 72, None, "has 72 bands without descriptions, expected 9.*give months:"),
        ("temperature", 744, None, "has 744 bands"),
        ("esa_worldcover", 2, None, "has 2 bands without descriptions, expected 1: label"),
    ],
)
def test_bands_that_are_not_those_expected(
    tmp_path: Path, name: str, n: int, descriptions: list[str] | None, sentence: str
) -> None:
    values = np.zeros((n, 4, 4), np.float32)
    said = {"descriptions": descriptions} if descriptions else {}
    write_tif(tmp_path / "a.tif", values, **said)
    dated = DAY if name == "sentinel2" else {}
    with pytest.raises(ConfigError, match=sentence):
        raise ConfigError(refused(tmp_path, name, ConfigError, **dated))


def test_bands_that_the_entry_names_win(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(*range(301, 314)), descriptions=EUROSAT)
    found = middle(tmp_path, "sentinel2", **DAY, bands={"B2": 1, "B3": "B10"})
    assert found[:4] == [None, 301, 310, None]


def test_orders_that_names_contradict(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(3, 12), descriptions=["SD", "canopy height"])
    assert middle(tmp_path, "eth_gch") == [12, 3]
    write_tif(tmp_path / "a.tif", layers(-12, -18), descriptions=["VH descending", "desc_VV"])
    assert middle(tmp_path, "sentinel1") == [None] * 4 + [-18, -12] + [None] * 2


def test_descriptions_that_name_nothing_leave_the_order(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(12, 3), descriptions=["bands", "bands"])
    assert middle(tmp_path, "eth_gch") == [12, 3]


def test_temperatures_out_of_order_are_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(*range(280, 289)))
    sentence = refused(tmp_path, "temperature", DataError)
    assert "last_month temperatures are maximum 280, mean 281, minimum 282 K" in sentence
    write_tif(tmp_path / "a.tif", layers(0.1, 0.4, 0.3))
    assert "precipitation of the month is above the year's" in refused(
        tmp_path, "precipitation", DataError
    )


# --- where it lies ---


@pytest.mark.parametrize("crs", [None, "EPSG:4326"])
@pytest.mark.parametrize("grid", [Affine.identity(), Affine.scale(1, -1)])
def test_a_raster_without_a_grid(tmp_path: Path, crs: str | None, grid: Affine) -> None:
    with pytest.warns(NotGeoreferencedWarning):
        write_tif(tmp_path / "a.tif", layers(12, 3), transform=grid)
    sentence = refused(tmp_path, "eth_gch", FormatError, crs=crs)
    assert "a.tif says not where its pixels lie: expected a grid, found none" in sentence


def test_a_raster_of_control_points(tmp_path: Path) -> None:
    corners = [(0, 0), (136, 0), (0, 136), (136, 136)]
    points = [GroundControlPoint(r, c, 499_960 + 10 * c, 5e6 - 10 * r) for r, c in corners]
    write_tif(tmp_path / "a.tif", layers(12, 3), transform=None, gcps=points)
    assert "found only ground control points or a sensor model; make one first" in refused(
        tmp_path, "eth_gch", FormatError
    )


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"crs": 'LOCAL_CS["mine",UNIT["metre",1]]'}, "a CRS that is no map of the Earth"),
        ({"crs": "EPSG:4978"}, "local or geocentric"),
        ({"crs": "EPSG:4326"}, "reaches from 499960 to 501320° E"),
        (
            {"crs": "EPSG:4326", "transform": Affine(0.001, 0, 45, 0, -0.001, 115)},
            "114.864 to 115° N; expected degrees on the Earth: its CRS or its grid is wrong",
        ),
        ({"transform": Affine(0, 0, 500_000, 0, 0, 5_000_000)}, "whose pixels have no area"),
        ({"transform": Affine(10, 0, 1e30, 0, -10, 1e30)}, "outside what its CRS can show"),
    ],
)
def test_a_raster_that_lies_nowhere(tmp_path: Path, said: dict[str, Any], sentence: str) -> None:
    write_tif(tmp_path / "a.tif", layers(12, 3), **said)
    assert sentence in refused(tmp_path, "eth_gch", FormatError)


def test_a_crs_that_is_told_counts_and_stays_in_provenance(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(12, 3), crs="EPSG:32634")
    assert "no file covers" in refused(tmp_path, "eth_gch", NoDataError)
    found = seen(tmp_path, "eth_gch", crs="EPSG:32633")
    assert (found.source_ids, found.valid_fraction) == (("a.tif#crs=EPSG:32633",), 1.0)
    write_tif(tmp_path / "a.tif", layers(12, 3))
    assert seen(tmp_path, "eth_gch", crs="EPSG:32633").source_ids == ("a.tif",)
    assert "crs: 'mine' is not known" in refused(tmp_path, "eth_gch", ConfigError, crs="mine")


def test_every_band_file_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "scene").mkdir()
    for band in ("B01", "B02"):
        write_tif(tmp_path / "scene" / f"{band}.tif", layers(500))
    write_tif(tmp_path / "scene" / "B03.tif", layers(500), crs=None)
    files = {f"B{i}": f"B0{i}.tif" for i in (1, 2, 3)}
    entry = {"path": "scene", "files": files, **DAY}
    assert "B03.tif has no CRS" in refused(tmp_path, "sentinel2", FormatError, **entry)
    write_tif(tmp_path / "scene" / "B03.tif", layers(500), crs="EPSG:32634")
    assert "B03.tif lies elsewhere than B01.tif" in refused(
        tmp_path, "sentinel2", ConfigError, **entry
    )
    write_tif(tmp_path / "scene" / "B03.tif", layers(500, 501))
    assert "B03.tif has 2 bands, expected the one of B3" in refused(
        tmp_path, "sentinel2", ConfigError, **entry
    )
    write_tif(tmp_path / "scene" / "B03.tif", layers(500), descriptions=["B4"])
    assert "describes its band as 'B4', expected B3; correct files:" in refused(
        tmp_path, "sentinel2", ConfigError, **entry
    )


@pytest.mark.parametrize("path", ["a[1].tif", "s[2]/b.tif", "s[2]/*.tif", "a[[]1].tif", "?[1]*"])
def test_brackets_in_a_path(tmp_path: Path, path: str) -> None:
    (tmp_path / "s[2]").mkdir()
    write_tif(tmp_path / "a[1].tif", layers(12, 3))
    shutil.copy(tmp_path / "a[1].tif", tmp_path / "s[2]" / "b.tif")
    assert middle(tmp_path, "eth_gch", path=path) == [12, 3]


# --- units ---


@pytest.mark.parametrize(
    ("units", "entry", "expected"),
    [
        (("m", "degree"), {}, [1000, 5]),
        (("m", "degree"), {"unit": "m"}, [1000, 5]),
        (("US survey foot", "degrees"), {}, [304.8006096, 5]),
        (("ft", "rad"), {}, [304.8, 5 * 180 / np.pi]),
        (("ft", "rad"), {"unit": {"elevation": "m", "slope": "deg"}}, [1000, 5]),
        (("parsec", "deg"), {"unit": "m"}, [1000, 5]),
    ],
)
def test_each_band_has_its_own_unit(
    tmp_path: Path, units: tuple[str, str], entry: dict[str, Any], expected: list[float]
) -> None:
    write_tif(tmp_path / "a.tif", layers(1000, 5), units=units)
    if expected[1] > 90:
        sentence = refused(tmp_path, "aster_gdem", DataError, **entry)
        assert "slope: found values 286.479 to 286.479 deg" in sentence
        return
    assert middle(tmp_path, "aster_gdem", **entry) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("unit", "entry", "sentence"),
    [
        ("parsec", {}, "says that its elevation is in 'parsec', expected m, mm, cm"),
        ("K", {}, "say what it is with unit:"),
        ("m", {"unit": {"height": "m"}}, "unit: names 'height'; expected of elevation, slope"),
        ("m", {"unit": {"elevation": "K"}}, "is in 'K', expected m, mm"),
        ("ft", {"offset": 43.0}, "is in 'ft', and offset: moves it; say in which unit with unit:"),
    ],
)
def test_a_unit_that_is_not_understood(
    tmp_path: Path, unit: str, entry: dict[str, Any], sentence: str
) -> None:
    write_tif(tmp_path / "a.tif", layers(1000), units=(unit,))
    assert sentence in refused(tmp_path, "aster_gdem", ConfigError, **ELEVATION, **entry)


def test_a_vertical_crs_in_feet_is_believed(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(1000), crs="EPSG:32633+6360")  # NAVD88 height (ftUS)
    assert middle(tmp_path, "aster_gdem", **ELEVATION)[0] == pytest.approx(304.8006096)


@pytest.mark.parametrize(
    ("said", "entry"),
    [
        ({"descriptions": ["Gamma0_VV_linear"]}, {}),
        ({"tags": {"TIFFTAG_IMAGEDESCRIPTION": "Gamma0_VV_linear"}}, {}),
        ({"tags": {"UNITS": "linear"}}, {}),
        ({"units": ["linear power"]}, {}),
        ({}, {"unit": "linear"}),
    ],
)
def test_linear_power_becomes_decibels(
    tmp_path: Path, said: dict[str, Any], entry: dict[str, Any]
) -> None:
    write_tif(tmp_path / "a.tif", layers(0.08), **said)
    assert middle(tmp_path, "sentinel1", **VV, **entry)[0] == pytest.approx(-10.9691, abs=1e-4)


def test_amplitude_and_power_of_nothing(tmp_path: Path) -> None:
    values = layers(0.1)
    values[0, :36] = [[0.0], [-0.1], *[[np.inf]] * 34]
    write_tif(tmp_path / "a.tif", values)
    found = seen(tmp_path, "sentinel1", **VV, unit="amplitude", clamp=True)
    assert found.array[0, 64, 64] == pytest.approx(-20.0)
    assert np.all(found.array[0, :32] == -9999)


def test_power_that_is_negative_is_none(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(-12), tags={"DESCRIPTION": "along a power line"})
    sentence = refused(tmp_path, "sentinel1", DataError, **VV)
    assert "asc_VV is said to be power, and most of it is negative: it is dB" in sentence
    assert middle(tmp_path, "sentinel1", **VV, unit="dB")[0] == -12


def test_power_without_a_word_is_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(0.08))
    sentence = refused(tmp_path, "sentinel1", DataError, **VV)
    assert "the least value of sentinel1 is 0.08, which is power, expected dB" in sentence
    assert middle(tmp_path, "sentinel1", **VV, unit="dB")[0] == pytest.approx(0.08)
    write_tif(tmp_path / "a.tif", layers(80), descriptions=["Intensity_VV"])
    assert "asc_VV is in 'intensity', expected dB, linear" in refused(
        tmp_path, "sentinel1", ConfigError, **VV
    )


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(3, dtype="complex64"))
    assert "holds complex numbers; expected real ones: convert" in refused(
        tmp_path, "sentinel1", FormatError, **VV
    )


# --- no data ---


@pytest.mark.parametrize("nodata", [0, [0, -9999], [-9999, 0.0]])
def test_no_data_of_the_entry_is_added_to_the_files_own(tmp_path: Path, nodata: Any) -> None:
    values = layers(12, dtype="int16")
    values[:, 4:36], values[:, 36:68] = 0, -9999
    write_tif(tmp_path / "a.tif", values, nodata=-9999)
    assert share(seen(tmp_path, "eth_gch", **HEIGHT, nodata=nodata)) == 0.5
    assert share(seen(tmp_path, "eth_gch", **HEIGHT)) == 0.75


@pytest.mark.parametrize("nodata", [-9999, 0.5, 1e9, float("inf")])
def test_no_data_that_cannot_occur_is_refused(tmp_path: Path, nodata: float) -> None:
    write_tif(tmp_path / "a.tif", layers(12, dtype="uint16"))
    sentence = refused(tmp_path, "eth_gch", ConfigError, **HEIGHT, nodata=nodata)
    assert f"nodata: {nodata:g} cannot occur in a band of uint16; correct nodata:" in sentence


def test_no_data_is_rounded_to_the_bands_type(tmp_path: Path) -> None:
    values = layers(12)
    values[:, 4:68] = np.float32(-3.4e38)
    write_tif(tmp_path / "a.tif", values)
    assert share(seen(tmp_path, "eth_gch", **HEIGHT, nodata=-3.4e38)) == 0.5


def test_a_mask_does_not_hide_the_no_data_value(tmp_path: Path) -> None:
    values = layers(12, dtype="uint16")
    values[:, 4:36] = 0
    path = write_tif(tmp_path / "a.tif", values, nodata=0)
    mask = np.full((136, 136), 255, np.uint8)
    mask[36:68] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert share(seen(tmp_path, "eth_gch", **HEIGHT)) == 0.5


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_an_alpha_band_is_a_mask_and_no_band(tmp_path: Path, dtype: str) -> None:
    values = layers(100, 255, dtype=dtype)
    values[1, 4:36] = 0
    write_tif(tmp_path / "a.tif", values, alpha="YES")
    found = seen(tmp_path, "aster_gdem", derive_slope=True)
    assert np.all(found.array[0, :32] == -9999)
    assert np.all(found.array[0, 32:] == 100)
    assert "has 1 band without descriptions, expected 2: elevation, slope" in refused(
        tmp_path, "aster_gdem", ConfigError
    )


@pytest.mark.parametrize(
    ("name", "entry", "sentence"),
    [
        ("esa_worldcover", {"scale": 2}, "scale is for numbers, and these are class codes"),
        ("dynamic_world", {"clamp": True}, "clamp is for numbers"),
        ("dynamic_world", {"product": "io-lulc", "stand_in": "x"}, "codes of 'io-lulc' are not"),
        ("dynamic_world", {"classes": {3: 9}}, "has no class 9; expected 0 to 8 in classes:"),
        ("sentinel1", {"scale": "auto"}, "auto is for scale and offset of sentinel2"),
        ("temperature", {"months": True, "bands": {"month_mean": 1}}, "leave out bands:"),
    ],
)
def test_an_entry_that_cannot_be_meant(
    tmp_path: Path, name: str, entry: dict[str, Any], sentence: str
) -> None:
    document = {"path": "a.tif", "product": MMEARTH_BENCH.layers[name].product, **entry}
    with pytest.raises(ValueError, match=sentence):
        files_of(tmp_path, rasters={name: [document]})


# --- slope ---


@pytest.mark.parametrize(
    ("crs", "step", "turn"),
    [
        ("EPSG:32633", 30.0, 0.0),
        ("EPSG:32633", 30.0, 25.0),
        ("EPSG:4326", 1 / 3600, 0.0),
        ("EPSG:3857", 30.0, 0.0),
        ("EPSG:2263", 100.0, 0.0),  # in US survey feet
    ],
)
def test_slope_is_taken_on_the_elevations_own_grid(
    tmp_path: Path, crs: str, step: float, turn: float
) -> None:
    from rasterio.warp import transform

    [x], [y] = transform("EPSG:32633", crs, [TILE.left + 640.0], [TILE.top - 640.0])
    grid = Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(step, -step)
    grid = grid @ Affine.translation(-100, -100)
    across, down = grid @ np.meshgrid(np.arange(200) + 0.5, np.arange(200) + 0.5)
    east, north = transform(crs, "EPSG:32633", across.ravel(), down.ravel())
    plane = 0.3 * np.subtract(east, TILE.left) + 0.4 * np.subtract(north, TILE.top) + 2000
    values = plane.reshape(1, 200, 200).astype("float32")
    write_tif(tmp_path / "a.tif", values, crs=crs, transform=grid)
    # hypot(0.3, 0.4) = 0.5
    found = seen(tmp_path, "aster_gdem", derive_slope=True).array[1]
    assert np.allclose(found, np.degrees(np.arctan(0.5)), atol=0.003)


def test_a_checkered_elevation_has_no_slope_between_its_pixels(tmp_path: Path) -> None:
    # Steps of 60 m between pixels of 30 m: Horn's gradient of a checkerboard is 0 on its own grid.
    values = 500.0 + 60.0 * (np.indices((60, 60)).sum(axis=0) % 2)
    grid = Affine(30.0, 0.0, TILE.left - 240.0, 0.0, -30.0, TILE.top + 240.0)
    write_tif(tmp_path / "a.tif", values[None].astype("float32"), transform=grid)
    assert np.abs(seen(tmp_path, "aster_gdem", derive_slope=True).array[1]).max() < 1e-3
