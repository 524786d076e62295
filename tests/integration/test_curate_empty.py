"""Builds without Sentinel-2, and builds of which little or nothing is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import Affine

from mmearth.catalog.schema import read_table
from mmearth.catalog.validate import validate_stac

# rasterio multiplies affine transforms in a way that affine has begun to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")
Run = Callable[..., tuple[int, str, str]]


def _config(directory: Path, places: str, **more: Any) -> Path:
    """Write a build of land cover that lies around 15° E, 45° N: one class, 20 km."""
    with rasterio.open(
        directory / "cover.tif",
        "w",
        driver="GTiff",
        width=2000,
        height=2000,
        count=1,
        dtype="uint8",
        crs="EPSG:32633",
        transform=Affine(10, 0, 490_000, 0, -10, 4_993_000),
    ) as dataset:
        dataset.write(np.full((1, 2000, 2000), 30, np.uint8))
    (directory / "places.csv").write_text(f"lon,lat,value,id\n{places}")
    entry = {"path": "cover.tif", "product": "ESA/WorldCover/v100"}
    points = {"path": "places.csv", "value": "value", "id": "id"}
    document = {
        "name": "case",
        "title": "Case",
        "recipe": "mmearth-bench-2026",  # its split rule leaves no place out
        "modalities": ["esa_worldcover"],
        "require": [],
        "source": {"kind": "files", "rasters": {"esa_worldcover": [entry]}},
        "tasks": {"custom": {"points": points}},
        **more,
    }
    path = directory / "case.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _build(config: Path, run_cli: Run, *more: str) -> tuple[int, str, str]:
    out = str(config.parent / "data")
    return run_cli("curate", "build", str(config), "-o", out, "--workers", "1", *more)


def test_a_place_that_no_file_covers_makes_no_sample(
    tmp_path: Path, run_cli: Run, stac_schemas: Path
) -> None:
    config = _config(tmp_path, "15,45,1,here\n30,45,2,far\n")
    code, _, stderr = _build(config, run_cli)
    assert (code, "is complete" in stderr) == (0, True), stderr
    assert "custom: 1 samples of 2 tiles" in stderr
    assert "1 without a sample: no layer: no file covers the tile with esa_worldcover" in stderr
    (row,) = read_table(tmp_path / "data/manifests/custom.parquet").to_pylist()
    assert (row["label_id"], str(row["date"])) == ("here", "2020-07-16")
    assert run_cli("packaging", "verify", str(tmp_path / "data"))[0] == 0
    assert validate_stac(tmp_path / "data", stac_schemas).problems == ()
    readme = (tmp_path / "data" / "README.md").read_text()
    assert "1 of 1 samples have no Sentinel-2 image" in readme
    assert _build(config, run_cli)[2].count("1 without a sample: no layer") == 1  # nothing to do


@pytest.mark.parametrize("require", [[], ["esa_worldcover"]])
def test_a_dataset_without_samples_is_not_sealed(
    require: list[str], tmp_path: Path, run_cli: Run
) -> None:
    config = _config(tmp_path, "30,45,1,far\n31,45,2,further\n", require=require)
    code, stdout, stderr = _build(config, run_cli, "--json")
    found = json.loads(stdout)
    lacking = "no esa_worldcover" if require else "no layer"
    assert found["dropped"] == {
        "custom": {f"{lacking}: no file covers the tile with esa_worldcover": 2}
    }
    assert (code, found["exit_code"], found["dataset_hash"]) == (3, 3, None)
    assert "is complete" not in stderr
    assert "is not sealed. It has no sample" in stderr
    assert not (tmp_path / "data" / "SHA256SUMS").exists()
    assert _build(config, run_cli)[0] == 3
    assert run_cli("packaging", "verify", str(tmp_path / "data"))[0] == 2


def test_a_task_without_samples_is_told(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "soil.csv").write_text("lon,lat,ph\n30,45,6\n")
    soil = {"points": {"path": "soil.csv", "value": "ph"}}
    custom = {"points": {"path": "places.csv", "value": "value", "id": "id"}}
    tasks = {"soil_pH": soil, "custom": custom}
    code, _, stderr = _build(_config(tmp_path, "15,45,1,here\n", tasks=tasks), run_cli)
    assert (code, "is complete" in stderr) == (3, True), stderr
    assert "soil_pH: 0 samples of 1 tiles (train 0," in stderr


def test_soil_without_sentinel2_has_the_date_that_is_asked_for(
    tmp_path: Path, run_cli: Run
) -> None:
    (tmp_path / "soil.tsv").write_text(
        "longitude\tlatitude\tvalue_avg\tupper_depth\tlower_depth\tprofile_id\n"
        "15\t45\t6.5\t0\t5\ta\n15.3\t45\t\t0\t5\tb\n"
    )
    config = _config(
        tmp_path,
        "",
        modalities=["geolocation", "month"],
        date="2021-08-01/2021-08-31",
        tasks={"soil_pH": {"soil": {"path": "soil.tsv", "uncertainty": None}}},
    )
    code, stdout, _ = run_cli("curate", "plan", str(config))
    assert (code, "kept 1 of 2 layers; 1 no value" in stdout) == (0, True)
    assert "dates:" not in stdout
    code, _, stderr = _build(config, run_cli)
    assert (code, "kept 1 of 2 layers; 1 no value" in stderr) == (0, True), stderr
    (row,) = read_table(tmp_path / "data/manifests/soil_pH.parquet").to_pylist()
    assert (str(row["date"]), row["month"]["acquired"]) == ("2021-08-16", "2021-08-16")
    # August: cos and sin of 4π/3.
    assert row["month"]["values"] == [pytest.approx(-0.5), pytest.approx(-(0.75**0.5))]


def test_the_plan_tells_what_is_not_in_its_table(tmp_path: Path, run_cli: Run) -> None:
    config = _config(tmp_path, "15,45,1,here\n")
    code, stdout, _ = run_cli("curate", "plan", str(config))
    assert code == 0
    assert "dates: none is asked for at 1 tiles; without a Sentinel-2 image it is" in stdout
    assert "2020-07-16" in stdout and "2020-02-15" in stdout
