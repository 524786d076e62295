"""Sentences of refusals that no other test meets: what was found, what was expected, what to do."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmearth.build import Options, build
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.config import load_config
from mmearth.curate.labels.gedi.files import find_granules
from mmearth.curate.labels.points import point_labels
from mmearth.curate.places import PointsPlaces
from mmearth.tests.raster_files import layers, refused, write_tif

# rasterio 1.4 multiplies transforms in a way that affine 3 is about to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

_HEAD = "name: a\ntitle: a\ntasks: {soil_pH: {labels: {count: 2}}}\n"
_FILES = _HEAD + "source: {kind: files, rasters: {%s: [{path: a.tif, %s}]}}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            _FILES % ("sentinel2", "product: Landsat"),
            "product 'Landsat' is not 'COPERNICUS/S2_SR_HARMONIZED'; if it shall be used all the "
            "same, say why with stand_in:",
        ),
        (
            _FILES % ("eth_gch", "product: a, stand_in: b, scale: 0"),
            "scale: 0 would make all values one; correct it",
        ),
        (
            _FILES % ("eth_gch", "product: a, stand_in: b, classes: {1: 2}"),
            "classes is for class codes, and eth_gch has none; leave it out",
        ),
        (
            _HEAD + "modalities: []\nsource: {kind: synthetic, seed: 1}\n",
            "expected one modality at least: a sample needs something to be seen",
        ),
        (
            _HEAD + "source: {kind: earthengine, quirks: {cloudless: true}}\n",
            "'cloudless' is no quirk; expected some of ",
        ),
        (
            "name: a\ntitle: a\nsource: {kind: synthetic, seed: 1}\ntasks: {biomass: {gedi: "
            "{granules: ['*.h5'], first: 2021-01-01, last: 2020-01-01}}}\n",
            "first: 2021-01-01 lies after last: 2020-01-01",
        ),
    ],
)
def test_a_configuration(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as found:
        load_config(path)
    assert sentence in str(found.value)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"crs": "EPSG:1"}, "crs: 'EPSG:1' is not known; expected such as EPSG:32633"),
        ({"bands": {"height": 7}}, "has no band 7; it has 2 bands, without names; correct bands:"),
        (
            {"date": {"tag": "day", "file": "*.json"}},
            "has 2 files *.json for date.file; expected one",
        ),
        ({"unit": {"depth": "m"}}, "a.tif: unit: names 'depth'; expected of height, uncertainty"),
    ],
)
def test_a_raster(entry: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", layers(10, 2))
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    assert sentence in refused(tmp_path, "eth_gch", ConfigError, **entry)


def test_places_without_species(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("lon,lat\n15,45\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"give species: \(a column\) or ranges: \(polygons\)"):
        point_labels(
            MMEARTH_BENCH.tasks["species"], PointsPlaces(path="a.csv"), tmp_path, DEFAULT_GRID
        )


def test_an_archive_without_granules(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(FormatError, match="holds no HDF5 file among 1; expected GEDI granules"):
        find_granules(("a.zip",), tmp_path)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (
            {"scheduler": "tcp://127.0.0.1:1"},
            r"--scheduler needs Dask: pip install 'mmearth\[dask\]'",
        ),
        ({"budget_eecu": 1.0}, "synthetic .* charges nothing; leave --budget-eecu out"),
    ],
)
def test_a_build_that_cannot_begin(
    how: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    path = tmp_path / "config.yaml"
    path.write_text(_HEAD + "source: {kind: synthetic, seed: 1}\n", encoding="utf-8")
    options = replace(Options(1, "threads", None, False), **how)
    with pytest.raises(ConfigError, match=sentence):
        build(path, tmp_path / "out", options, lambda *_: None)
