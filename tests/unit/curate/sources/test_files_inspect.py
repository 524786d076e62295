"""What `inspect_raster` tells of an entry before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.tile import Tile
from mmearth.curate.sources.files.config import Rasters
from mmearth.curate.sources.files.inspect import Inspection, inspect_raster
from mmearth.tests.raster_files import TILE, files_of, layers, write_netcdf, write_tif

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

DAY = {"date": {"value": "2021-06-15"}}


def facts(root: Path, name: str, tiles: tuple[Tile, ...] = (TILE,), **entry: Any) -> Inspection:
    """Return what is told of one entry."""
    document = {"path": "a.tif", "product": MMEARTH_BENCH.layers[name].product, **entry}
    files = files_of(root, rasters={name: [document]})
    return inspect_raster(files, name, Rasters.model_validate(document), tiles)


def test_what_is_found_and_how(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(1000, 5), units=("ft", "degree"), nodata=-1)
    found = facts(tmp_path, "aster_gdem")
    assert (found.files, found.problems, found.dates, found.warnings) == (("a.tif",), (), (), ())
    assert [(b.ours, b.file, b.number, b.how, b.unit, b.nodata) for b in found.bands] == [
        ("elevation", "a.tif", 1, "number", "ft", (-1.0,)),
        ("slope", "a.tif", 2, "number", "degree", (-1.0,)),
    ]
    assert found.footprint == pytest.approx((15.0, 45.14, 15.017, 45.152), abs=0.05)
    assert found.window is not None
    elevation, slope = found.window.bands
    assert (elevation.name, elevation.valid, elevation.share) == ("elevation", (-500, 9000), 1.0)
    assert (elevation.low, elevation.middle, elevation.high) == pytest.approx([304.8] * 3)
    assert slope.high == 5
    assert found.window.tile == TILE
    assert found.window.observation.source_ids == ("a.tif",)


def test_the_window_is_the_first_tile_that_is_reached(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(12, 3))
    far = Tile(32633, 600_000, 5_000_000)
    for tiles in ((far, TILE), (far,), ()):
        window = facts(tmp_path, "eth_gch", tiles).window
        assert window is not None
        assert window.bands[0].high == 12


def test_what_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(*range(13)))
    found = facts(tmp_path, "sentinel2", **DAY)
    assert (found.files, found.window, found.footprint) == ((), None, None)
    [problem] = found.problems
    assert "has 13 bands without descriptions" in problem
    [nothing] = facts(tmp_path, "sentinel2", path="b.tif", **DAY).problems
    assert "b.tif matches no file" in nothing
    write_tif(tmp_path / "a.tif", layers(*[0.5] * 12))
    found = facts(tmp_path, "sentinel2", **DAY)
    assert (found.files, found.dates) == (("a.tif",), ("2021-06-15",))
    assert "which is reflectance" in found.problems[0]
    assert "give date:" in facts(tmp_path, "sentinel2", scale="auto").problems[0]


@pytest.mark.parametrize(
    ("name", "values", "said", "entry", "warning"),
    [
        ("sentinel2", [1500] * 12, {}, DAY, "offset: no value is below 1500, as where"),
        ("sentinel2", [0] * 11 + [700], {}, DAY, "nodata: 92% of the values are 0"),
        (
            "eth_gch",
            [12, 3],
            {"descriptions": ["mean", "spread"]},
            {},
            "bands: taken in order, described as mean, spread",
        ),
        (
            "eth_gch",
            [12, 3],
            {"descriptions": ["SD", "height"]},
            {"bands": {"height": 1}},
            "bands: height is band 1, which is described as 'SD'",
        ),
        ("eth_gch", [12, 3], {"crs": "EPSG:32634"}, {"crs": "EPSG:32633"}, "crs: EPSG:32633 is"),
        ("eth_gch", [12, 3], {}, {}, None),
        ("precipitation", [0.002, 0.003, 0.03], {}, {}, "unit: the year has 0.03 m; monthly"),
    ],
)
def test_what_is_suspicious_names_its_key(
    tmp_path: Path,
    name: str,
    values: list[float],
    said: dict[str, Any],
    entry: dict[str, Any],
    warning: str | None,
) -> None:
    write_tif(tmp_path / "a.tif", layers(*values), **said)
    found = facts(tmp_path, name, **entry)
    assert found.problems == ()
    if warning is None:
        assert found.warnings == ()
    else:
        [told] = found.warnings
        assert told.startswith(warning)


def test_files_of_several_kinds(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(12, 3))
    write_tif(tmp_path / "b.tif", layers(12, 3), units=("ft", "ft"))
    [told] = facts(tmp_path, "eth_gch", path="*.tif").warnings
    assert told == "bands: the files are of 2 kinds, by their bands, units or scales"


def test_months_of_a_climatology(tmp_path: Path) -> None:
    write_netcdf(tmp_path / "a.nc", range(281, 293), units="K")
    entry = {"path": "a.nc", "variable": "t2m", "crs": "EPSG:4326", "months": True}
    found = facts(tmp_path, "temperature", **entry)
    assert [(band.ours, band.number) for band in found.bands[:2]] == [("1", 1), ("2", 2)]
    assert found.window is not None
    assert found.window.bands[4].high == 287  # July, where nothing tells a date
