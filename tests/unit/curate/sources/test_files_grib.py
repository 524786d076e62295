"""Months of GRIB files, which GDAL reads in units of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.tests.raster_files import middle, refused

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

_TEMPERATURE, _PRECIPITATION = (0, 0), (1, 8)
"""Category and number of WMO's table 4.2."""
_SURFACE = "2 0 96 0 0 0 1 0 0 0 0 1 0 0 0 0 2 255 255 255 255 255 255"
"""Rest of template 4.0: at the surface."""
_YEAR = [f"2021-{month:02d}-01" for month in range(1, 13)]
_ENTRY: dict[str, Any] = {"path": "a.grib2", "months": True}


def _write(path: Path, what: tuple[int, int], values: Iterable[float], days: Sequence[str]) -> None:
    """Write a message a day around the tile; GDAL takes temperatures in degrees Celsius."""
    messages = b""
    for value, day in zip(values, days, strict=True):
        one, copy = path.with_name("one.tif"), path.with_name("one.grib2")
        grid = {"height": 10, "width": 10, "transform": from_origin(10, 50, 1, 1)}
        with rasterio.open(
            one, "w", driver="GTiff", count=1, dtype="float64", crs="EPSG:4326", **grid
        ) as dataset:
            dataset.write(np.full((1, 10, 10), value))
        rasterio.shutil.copy(
            one,
            copy,
            driver="GRIB",
            DISCIPLINE=0,
            IDS=f"CENTER=98 SIGNF_REF_TIME=0 REF_TIME={day}T00:00:00Z PROD_STATUS=0 TYPE=0",
            PDS_PDTN=0,
            PDS_TEMPLATE_NUMBERS=f"{what[0]} {what[1]} {_SURFACE}",
            DATA_ENCODING="IEEE_FLOATING_POINT",
        )
        messages += copy.read_bytes()
    path.write_bytes(messages)


def test_degrees_celsius_become_kelvin(tmp_path: Path) -> None:
    _write(tmp_path / "a.grib2", _TEMPERATURE, range(12), _YEAR)
    found = middle(tmp_path, "temperature", **_ENTRY)
    assert found[1] == pytest.approx(273.15 + 5)  # June, before the anchor's July
    assert found[4] == pytest.approx(273.15 + 6)
    assert found[7] == pytest.approx(273.15 + 5.5)


def test_kilograms_a_square_metre_are_millimetres(tmp_path: Path) -> None:
    _write(tmp_path / "a.grib2", _PRECIPITATION, range(1, 13), _YEAR)
    assert middle(tmp_path, "precipitation", **_ENTRY) == pytest.approx([0.006, 0.007, 0.078])


def test_moments_that_may_be_ends(tmp_path: Path) -> None:
    _write(tmp_path / "a.grib2", _TEMPERATURE, range(12), [*_YEAR[1:], "2022-01-01"])
    assert "say stamps: start, or stamps: end" in refused(
        tmp_path, "temperature", ConfigError, **_ENTRY
    )
    found = middle(tmp_path, "temperature", **_ENTRY, stamps="end")
    assert found[4] == pytest.approx(273.15 + 6)


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    path = tmp_path / "a.grib2"
    _write(path, _TEMPERATURE, range(12), _YEAR)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "has 6 bands of 6 months, expected twelve" in refused(
        tmp_path, "temperature", ConfigError, **_ENTRY
    )
    path.write_bytes(data[:-300])
    assert "cannot be opened as a raster" in refused(tmp_path, "temperature", FormatError, **_ENTRY)
