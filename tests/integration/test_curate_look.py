"""`mmearth curate plan` opens what it will read, and says what is suspicious."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import yaml
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import Affine

from mmearth.catalog.ecoregions import BIOMES

# rasterio multiplies affine transforms in a way that affine has begun to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")
Run = Callable[..., tuple[int, str, str]]
S2 = {"path": "s2.tif", "product": "COPERNICUS/S2_SR_HARMONIZED", "date": {"value": "2020-06-01"}}
SCENE = np.arange(100, 1300, 100, dtype=np.uint16)


def _write(path: Path, bands: NDArray[Any], left: int = 496_000, **more: Any) -> None:
    """Write 8 km, each band of one value, around 15° E, 45° N."""
    profile = {"crs": "EPSG:32633", "transform": Affine(10, 0, left, 0, -10, 4_987_000), **more}
    size: dict[str, Any] = {"width": 800, "height": 800, "count": bands.size}
    with rasterio.open(path, "w", driver="GTiff", dtype=bands.dtype, **size, **profile) as dataset:
        dataset.write(np.broadcast_to(bands[:, None, None], (bands.size, 800, 800)))


def _config(base: Path, rasters: dict[str, Any], **more: Any) -> Path:
    if not (base / "p.csv").exists():
        (base / "p.csv").write_text("lon,lat,v,day\n15,45,1.5,2020-06-03\n15.02,45.01,2.5,\n")
    document = {
        "name": "case",
        "title": "Case",
        "recipe": "mmearth-bench-2026",  # its split rule leaves no place out
        "modalities": ["sentinel2", "geolocation"],
        "source": {"kind": "files", "rasters": rasters, **more.pop("source", {})},
        "tasks": {"custom": {"points": {"path": "p.csv", "value": "v", "date": "day"}}},
        **more,
    }
    path = base / "case.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _plan(config: Path, run_cli: Run, *more: str) -> tuple[int, str, str]:
    """Return exit code and both outputs, their lines joined."""
    code, out, err = run_cli("curate", "plan", config, *more)
    return code, " ".join(out.split()), " ".join(err.split())


def test_a_good_file_is_a_short_block(tmp_path: Path, run_cli: Run) -> None:
    _write(tmp_path / "s2.tif", SCENE, nodata=0)
    config = _config(tmp_path, {"sentinel2": [S2]})
    code, out, err = run_cli("curate", "plan", config, "--strict")
    assert (code, err) == (0, "")
    block = out[out.index("sentinel2:") :].splitlines()[:5]
    assert block[:3] == [
        "sentinel2: s2.tif (COPERNICUS/S2_SR_HARMONIZED)",
        "  1 file, 14.949 to 15.051° E, 44.964 to 45.036° N, of 2020-06-01; near 2 of 2 tiles",
        "  B1 to B12 = bands 1 to 12 by number, DN, no data 0",
    ]
    assert block[3].startswith("  as stored at 32633_")
    assert "of 2020-06-01: B1 100, B2 200," in block[3]
    assert "B12 1200 (valid 0 to 65534)" in " ".join(block)
    assert (
        "custom: points p.csv\n  2 places, 15 to 15.02° E, 45 to 45.01° N; 1 of them dated" in out
    )
    assert "1.5 / 2 / 2.5 in 2 values" in out
    assert max(map(len, out.splitlines())) <= 115  # the table is the widest


@pytest.mark.parametrize(
    ("bands", "profile", "said"),
    [
        (SCENE[:3], {}, "cannot be used: sentinel2: s2.tif has 3 bands"),
        (SCENE, {"crs": None}, "cannot be used: sentinel2: s2.tif has no CRS"),
        (SCENE / 1e4, {}, "cannot be used: sentinel2: s2.tif"),
        (None, {}, "cannot be used: sentinel2: s2.tif matches no file; correct path: or root:"),
    ],
)
def test_what_the_build_cannot_use_is_said(
    bands: NDArray[Any] | None, profile: dict[str, Any], said: str, tmp_path: Path, run_cli: Run
) -> None:
    if bands is not None:
        _write(tmp_path / "s2.tif", bands, **profile)
    config = _config(tmp_path, {"sentinel2": [S2]})
    code, _, err = _plan(config, run_cli)
    assert (code, said in err) == (3, True), err
    assert _plan(config, run_cli, "--strict")[0] == 2
    code, _, _ = run_cli("curate", "build", config, "-o", tmp_path / "data", "--workers", "1")
    assert code == 3  # as the plan foretold


def test_files_that_reach_no_tile_are_suspicious(tmp_path: Path, run_cli: Run) -> None:
    _write(tmp_path / "s2.tif", SCENE, left=596_000)
    config = _config(tmp_path, {"sentinel2": [S2]})
    code, out, err = _plan(config, run_cli)
    assert (code, "near 0 of 2 tiles" in out) == (0, True)
    assert "look at sentinel2: none of the 2 tiles lies within its files" in err
    assert "none will make a sample" in err
    assert _plan(config, run_cli, "--strict")[0] == 2


def test_images_of_another_year_are_suspicious(tmp_path: Path, run_cli: Run) -> None:
    _write(tmp_path / "s2.tif", SCENE)
    (tmp_path / "p.csv").write_text("lon,lat,v,day\n15,45,1.5,2018-06-03\n")
    _, _, err = _plan(_config(tmp_path, {"sentinel2": [S2]}), run_cli)
    assert "date: its nearest image is of 2020-06-01, and the labels ask for 2018-06-03;" in err


def test_an_earlier_entry_answers_for_its_tiles(tmp_path: Path, run_cli: Run) -> None:
    _write(tmp_path / "s2.tif", SCENE)
    _write(tmp_path / "far.tif", SCENE + 1000, left=596_000)
    entries = [{**S2, "path": "far.tif", "offset": -1000}, {**S2, "path": "*.tif"}]
    (tmp_path / "p.csv").write_text("lon,lat,v,day\n15,45,1.5,\n16.3,45,2.5,\n")
    code, out, err = _plan(_config(tmp_path, {"sentinel2": entries}), run_cli, "--strict")
    # The second entry reaches both tiles, and would be 1000 too high at the first entry's.
    assert (code, err) == (0, "")
    assert out.count("B1 100, B2 200") == 2


def test_what_is_not_named_or_not_wanted(tmp_path: Path, run_cli: Run) -> None:
    _write(tmp_path / "s2.tif", SCENE)
    rasters = {"sentinel2": [S2]}
    code, out, err = _plan(
        _config(tmp_path, rasters, modalities=["esa_worldcover", "month"], require=[]), run_cli
    )
    assert code == 0
    assert "no file is named for esa_worldcover: missing everywhere" in out
    assert "look at sentinel2: its files are not read" in err
    more: dict[str, Any] = {"modalities": ["sentinel2", "eth_gch"], "require": ["eth_gch"]}
    code, _, err = _plan(_config(tmp_path, rasters, **more), run_cli)
    assert (code, "eth_gch: it is required, and source: names no file for it" in err) == (3, True)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([BIOMES[3], "N/A"], None),
        ([BIOMES[3], "Jungle"], "field: 1 names are no classes: 'Jungle'; check field:"),
    ],
)
def test_polygons(names: list[str], said: str | None, tmp_path: Path, run_cli: Run) -> None:
    boxes = [shapely.box(10, 40, 20, 50), shapely.box(30, 40, 40, 50)]
    gpd.GeoDataFrame({"B": names}, geometry=boxes, crs=4326).to_file(tmp_path / "b.gpkg")
    entry = {"path": "b.gpkg", "field": "B", "product": "RESOLVE/ECOREGIONS/2017"}
    config = _config(
        tmp_path, {}, source={"polygons": {"biome": entry}}, modalities=["biome"], require=[]
    )
    code, out, err = _plan(config, run_cli, "--strict")
    assert "2 polygons, 10 to 40° E, 40 to 50° N; B names 1 classes" in out
    assert f": 3, {BIOMES[3]}" in out
    assert (code, err) == (0, "") if said is None else (code, said in err) == (2, True)
    (tmp_path / "b.gpkg").unlink()
    code, _, err = _plan(config, run_cli)
    assert (code, "cannot be used: biome: b.gpkg is not there" in err) == (3, True), err


def test_json_has_it_all_and_look_draws_it(tmp_path: Path, run_cli: Run) -> None:
    _write(tmp_path / "s2.tif", SCENE)
    entries = [S2, {**S2, "path": "no.tif"}]
    config = _config(tmp_path, {"sentinel2": entries})
    code, out, _ = run_cli("curate", "plan", config, "--json", "--look", tmp_path / "png")
    found = json.loads(out)
    assert code == 3
    first, second = found["files"]["rasters"]
    assert (first["path"], first["files"], first["dates"]) == ("s2.tif", ["s2.tif"], ["2020-06-01"])
    assert first["bands"][11]["ours"] == "B12"
    assert first["window"]["bands"][11]["middle"] == 1200
    assert (second["window"], second["files"]) == (None, [])
    assert found["tasks"][0]["facts"]["high"] == 2.5
    assert found["problems"] == ["sentinel2: no.tif matches no file; correct path: or root:"]
    assert found["pictures"] == [str(tmp_path / "png" / "sentinel2.png")]
    with Image.open(tmp_path / "png" / "sentinel2.png") as sheet:
        # A constant window is grey, not black, and says its value below.
        assert sheet.getpixel((100, 150)) == (127, 127, 127)
