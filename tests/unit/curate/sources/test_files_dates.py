"""When a file was acquired: told by the entry, a tag, a name or a JSON document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.sample import Observation
from mmearth.catalog.tile import Tile
from mmearth.curate.source import Outcome, Visit
from mmearth.tests.raster_files import files_of

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

TILE = Tile(32633, 500_000, 5_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory with one scene, its tags and two documents."""
    scene = tmp_path / "S2A_20170617T113321"
    scene.mkdir()
    with rasterio.open(
        scene / "image.tif",
        "w",
        driver="GTiff",
        count=12,
        height=128,
        width=128,
        dtype="uint16",
        crs="EPSG:32633",
        transform=Affine(10.0, 0.0, TILE.left, 0.0, -10.0, TILE.top),
    ) as dataset:
        dataset.write(np.full((12, 128, 128), 500, np.uint16))
        dataset.update_tags(datetime="2020-04-08T14:37:29.000000000", odd="8 April")
    (scene / "a_metadata.json").write_text('{"acquisition_date": "2018-04-21 11:43:49"}')
    (scene / "list.json").write_text('["2018-04-21"]')
    return tmp_path


def sentinel2(root: Path, date: dict[str, Any] | None) -> Outcome:
    """Return Sentinel-2 of the scene with a date."""
    entry = {"path": "*/image.tif", "product": "COPERNICUS/S2_SR_HARMONIZED", "date": date}
    files = files_of(root, rasters={"sentinel2": [entry]})
    return files.observe(Visit(TILE, ("sentinel2",), "2019-01-01"))["sentinel2"]


PATTERN = r"_(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})T"


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ({"value": "2021-07-23"}, "2021-07-23"),
        ({"tag": "datetime"}, "2020-04-08"),
        ({"tag": "datetime", "file": "im*.tif"}, "2020-04-08"),
        ({"name": PATTERN}, "2017-06-17"),
        ({"json_key": "acquisition_date", "file": "*_metadata.json"}, "2018-04-21"),
    ],
)
def test_each_kind_of_date(root: Path, date: dict[str, Any], expected: str) -> None:
    found = sentinel2(root, date)
    assert isinstance(found, Observation), found
    assert found.acquired == expected


@pytest.mark.parametrize(
    ("date", "sentence"),
    [
        ({"tag": "acquired"}, r"image\.tif has no 'acquired' to read the date from"),
        ({"tag": "odd"}, r"odd holds '8 April'; expected a date that begins YYYY-MM-DD"),
        ({"json_key": "date", "file": "list.json"}, "holds no keys; expected a JSON object"),
        ({"name": PATTERN.replace("_", "%")}, "finds no date in 'S2A_20170617T113321/image.tif'"),
        ({"tag": "datetime", "file": "LULC.tif"}, r"has 0 files LULC\.tif .* expected one"),
        ({"json_key": "date", "file": "a_*.json"}, r"a_metadata\.json has no 'date'"),
        ({"json_key": "date", "file": "*.tif"}, "is not JSON"),
    ],
)
def test_a_date_that_is_not_there(root: Path, date: dict[str, Any], sentence: str) -> None:
    found = sentinel2(root, date)
    assert isinstance(found, ConfigError), found
    with pytest.raises(ConfigError, match=sentence):
        raise found


def test_sentinel2_must_have_a_date(root: Path) -> None:
    found = sentinel2(root, None)
    assert isinstance(found, ConfigError)
    assert "sentinel2 fixes the anchor date; give date:" in str(found)


@pytest.mark.parametrize(
    ("date", "sentence"),
    [
        ({}, "exactly one of value, tag, name, json_key; found"),
        ({"value": "2020-04-08", "tag": "datetime"}, r"found \['value', 'tag'\]"),
        ({"value": "April"}, "valid date"),
        ({"json_key": "date"}, "json_key needs file:"),
        ({"pattern": "x"}, "Extra inputs"),
        ({"name": "("}, "is no regular expression"),
        ({"name": r"_(?P<year>\d{4})"}, "needs groups year, month and day"),
    ],
)
def test_a_date_that_cannot_be_meant(root: Path, date: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        sentinel2(root, date)
