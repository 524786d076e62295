"""Files that cannot be used: one sentence each, and the other tiles go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from numpy.typing import NDArray
from rasterio.transform import Affine

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import read_table
from mmearth.catalog.store import PACKS

# rasterio multiplies affine transforms in a way that affine has begun to deprecate.
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")
Run = Callable[..., tuple[int, str, str]]
_PLACES = {"west": (14.0, 42.0), "east": (16.0, 42.0)}  # both in UTM zone 33, 165 km apart


def _write(
    path: Path, place: str, array: NDArray[np.generic], crs: str | None = "EPSG:32633"
) -> None:
    """Write a raster of 3 km around a place, all of one value a band."""
    left, top = {"west": (417_000, 4_652_000), "east": (581_000, 4_652_000)}[place]
    profile: dict[str, Any] = {"driver": "GTiff", "width": 300, "height": 300, "count": array.size}
    with rasterio.open(
        path, "w", dtype=array.dtype, crs=crs, transform=Affine(10, 0, left, 0, -10, top), **profile
    ) as dataset:
        dataset.write(np.broadcast_to(array[:, None, None], (array.size, 300, 300)))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two places with Sentinel-2 and a canopy each."""
    for place in _PLACES:
        _write(tmp_path / f"s2_{place}.tif", place, np.arange(100, 1300, 100, dtype=np.uint16))
        _write(tmp_path / f"gch_{place}.tif", place, np.array([12.0, 3.0], dtype=np.float32))
    rows = [f"{lon},{lat},6.5" for lon, lat in _PLACES.values()]
    (tmp_path / "soil.csv").write_text("\n".join(["lon,lat,ph", *rows]))
    rasters = {
        "sentinel2": [
            {
                "path": "s2_*.tif",
                "product": MMEARTH_BENCH.layers["sentinel2"].product,
                "date": {"value": "2020-06-01"},
            }
        ],
        "eth_gch": [{"path": "gch_*.tif", "product": MMEARTH_BENCH.layers["eth_gch"].product}],
    }
    document = {
        "name": "own",
        "title": "Own files",
        "recipe": "mmearth-bench-2026",
        "modalities": ["sentinel2", "eth_gch", "geolocation"],
        "source": {"kind": "files", "rasters": rasters},
        "tasks": {"soil_pH": {"points": {"path": "soil.csv", "value": "ph"}}},
    }
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _build(config: Path, run_cli: Run, *more: str) -> tuple[int, str, str]:
    # One worker: rasterio silences its own warnings in a way that a second thread may undo.
    out = str(config.parent / "data")
    return run_cli("curate", "build", str(config), "-o", out, "--workers", "1", *more)


def _states(config: Path) -> dict[tuple[str, str], str]:
    rows = read_table(config.parent / "data" / "observations.parquet").to_pylist()
    return {(row["tile"], row["modality"]): row["state"] for row in rows}


def test_whole_files_build(config: Path, run_cli: Run) -> None:
    code, _, stderr = _build(config, run_cli)
    assert code == 0, stderr
    assert set(_states(config).values()) == {"done"}
    assert len(_states(config)) == 6


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("corrupt", "gch_east.tif"),
        ("truncated", "gch_east.tif"),
        ("no crs", "CRS"),
        ("wrong unit", "found values 1200 to 1200 m, expected 0 to 254; check unit:"),
    ],
)
def test_one_bad_file_does_not_stop_the_others(
    fault: str, said: str, config: Path, run_cli: Run
) -> None:
    path = config.parent / "gch_east.tif"
    whole = path.read_bytes()
    if fault == "corrupt":
        path.write_bytes(b"no raster at all")
    elif fault == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif fault == "no crs":
        _write(path, "east", np.array([12.0, 3.0], dtype=np.float32), crs=None)
    else:
        _write(path, "east", np.array([1200.0, 300.0], dtype=np.float32))  # centimetres
    code, _, stderr = _build(config, run_cli)
    assert code == 3, stderr
    assert "Traceback" not in stderr
    assert "1 observations failed: see `mmearth curate failures" in stderr
    states = _states(config)
    assert sorted(states.values()) == ["done"] * 5 + ["failed"]
    code, stdout, _ = run_cli("curate", "failures", str(config.parent / "data"), "--json")
    failure = json.loads(stdout)
    assert code == 0
    assert (failure["modality"], failure["tries"], failure["permanent"]) == ("eth_gch", 1, True)
    assert said in failure["reason"]
    assert "\n" not in failure["reason"]
    # Both tiles are samples all the same: only Sentinel-2 is required.
    assert read_table(config.parent / "data" / "manifests" / "soil_pH.parquet").num_rows == 2


def test_a_failure_stays_until_it_is_retried(config: Path, run_cli: Run) -> None:
    _write(config.parent / "gch_east.tif", "east", np.array([1200.0, 300.0], dtype=np.float32))
    out = str(config.parent / "data")
    assert _build(config, run_cli)[0] == 3
    assert _build(config, run_cli)[0] == 3
    assert json.loads(run_cli("curate", "failures", out, "--json")[1])["tries"] == 1
    assert json.loads(run_cli("curate", "retry", out, "--json")[1]) == {"pending": 1}
    assert "failed for now" in run_cli("curate", "status", out)[1]
    assert _build(config, run_cli)[0] == 3
    assert json.loads(run_cli("curate", "failures", out, "--json")[1])["tries"] == 2


def test_a_missing_root_or_file_is_said_before_anything_starts(config: Path, run_cli: Run) -> None:
    good = yaml.safe_load(config.read_text())
    good["source"]["root"] = "elsewhere"
    config.write_text(yaml.safe_dump(good))
    code, _, stderr = _build(config, run_cli)
    assert code == 2
    assert "elsewhere is no directory; correct root:" in stderr
    assert not (config.parent / "data" / PACKS).exists()


def test_a_tile_without_its_required_modality_is_no_sample(config: Path, run_cli: Run) -> None:
    (config.parent / "s2_east.tif").unlink()
    code, stdout, stderr = _build(config, run_cli, "--json")
    assert code == 0, stderr
    facts = json.loads(stdout)
    assert facts["samples"] == {"soil_pH": 1}
    assert list(facts["dropped"]["soil_pH"].values()) == [1]
    assert facts["states"]["eth_gch"] == {"done": 1, "missing": 1}


def test_a_build_in_which_nothing_works_still_says_what_happened(
    config: Path, run_cli: Run
) -> None:
    for place in _PLACES:
        (config.parent / f"s2_{place}.tif").write_bytes(b"no raster")
    code, stdout, stderr = _build(config, run_cli, "--json")
    assert code == 3, stderr
    assert "Traceback" not in stderr
    assert json.loads(stdout)["samples"] == {"soil_pH": 0}
