"""A classic NetCDF file that is not what its header says is found out before GDAL reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mmearth.catalog.errors import FormatError
from mmearth.curate.sources.files.classic import fault_of_classic
from mmearth.tests.raster_files import refused, write_netcdf


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("records", [False, True])
def test_a_whole_file_has_no_fault(tmp_path: Path, version: int, records: bool) -> None:
    with scipy.io.netcdf_file(tmp_path / "a.nc", "w", version=version) as file:
        file.title = "three"
        file.createDimension("time", None if records else 3)
        file.createDimension("x", 5)
        for name, dtype in (("time", "f8"), ("a", "i2"), ("b", "i1")):
            over = ("time",) if name == "time" else ("time", "x")
            variable = file.createVariable(name, dtype, over)
            variable[:] = np.ones(3 if name == "time" else (3, 5))
            variable.units = "m"
    assert fault_of_classic(tmp_path / "a.nc") is None


def test_other_files_are_none_of_its_business(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "b").write_bytes(b"")
    assert fault_of_classic(tmp_path / "a") is fault_of_classic(tmp_path / "b") is None


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        # The length of the dimension lat and of its name, of the list of dimensions, its kind, and
        # the dimensions of the variable lat.
        (b"lat\0\0\0\0\x0a", b"lat\0\x7f\0\0\x0a", "'lat' of [2130706442] reaches beyond its end"),
        (b"\0\0\0\x0a\0\0\0\x04", b"\0\0\0\x0a\x7f\0\0\x04", "a list begins with 10, 2130706436"),
        (b"\0\0\0\x0a\0\0\0\x04", b"\0\0\0\x0e\0\0\0\x04", "a list begins with 14, 4"),
        (b"\0\0\0\x03lat\0", b"\0\xff\0\x03lat\0", "damaged: it ends within a list"),
        (b"lat\0\0\0\0\x01", b"lat\0\0\0\x04\x01", "damaged: a variable of 1025 dimensions"),
    ],
)
def test_a_header_that_is_wrong(tmp_path: Path, place: bytes, value: bytes, sentence: str) -> None:
    path = write_netcdf(tmp_path / "a.nc", [120.0], [0.0], units="m")
    data = path.read_bytes()
    assert place in data
    path.write_bytes(data.replace(place, value, 1))
    entry = {"path": "a.nc", "variable": "t2m", "crs": "EPSG:4326", "bands": {"height": 1}}
    found = refused(tmp_path, "eth_gch", FormatError, **entry)
    assert sentence in found
    assert "cannot be opened as a raster" in found
    path.write_bytes(data[:-300])
    assert "reaches beyond its end" in refused(tmp_path, "eth_gch", FormatError, **entry)
    path.write_bytes(data[:60])
    assert "its header is damaged" in refused(tmp_path, "eth_gch", FormatError, **entry)
