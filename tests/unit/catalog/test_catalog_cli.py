"""`mmearth catalog …`: tables, JSON and exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmearth.catalog.published import MMEARTH_BENCH

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def copy(small_dataset: Path, tmp_path: Path) -> Path:
    """A small dataset that a test may spoil."""
    return Path(shutil.copytree(small_dataset, tmp_path / "copy"))


def test_modalities_are_listed_in_order(run_cli: Run) -> None:
    code, out, _ = run_cli("catalog", "modalities")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == list(MMEARTH_BENCH.layers)
    assert "65535" in next(line for line in out.splitlines() if line.startswith("sentinel2"))


def test_modalities_as_json_have_bands_and_classes(run_cli: Run) -> None:
    code, out, _ = run_cli("catalog", "modalities", "--json")
    assert code == 0
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert list(found) == list(MMEARTH_BENCH.layers)
    assert [band["name"] for band in found["sentinel2"]["bands"]][:2] == ["B1", "B2"]
    assert found["sentinel1"]["bands"][0]["unit"] == "dB"
    assert len(found["ecoregion"]["classes"]) == 846
    assert found["esa_worldcover"]["classes"][9]["name"] == "Mangroves"


def test_tasks_are_listed(run_cli: Run) -> None:
    code, out, _ = run_cli("catalog", "tasks")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == list(MMEARTH_BENCH.tasks)
    code, out, _ = run_cli("catalog", "tasks", "--json")
    units = [entry["target"]["bands"][0]["unit"] for entry in json.loads(out)]
    assert units == ["Mg/ha", "g/kg", "g/kg", "1", "1"]


def test_a_good_dataset_validates(run_cli: Run, small_dataset: Path) -> None:
    pytest.importorskip("mlcroissant")
    code, out, _ = run_cli("catalog", "validate", str(small_dataset), "--json")
    found = json.loads(out)
    assert code == 0
    assert found["problems"] == []
    items = list((small_dataset / "stac").rglob("items/*/*.json"))
    assert found["n_objects"] == len(items) + 3 + 1 + 1  # collections, catalogue, croissant
    assert any("archive" in url for url in found["not_checked"])


def test_a_spoiled_item_ends_in_code_4(run_cli: Run, copy: Path) -> None:
    item = min((copy / "stac").rglob("items/*/*.json"))
    item.write_text("{}")
    code, out, _ = run_cli("catalog", "validate", str(copy))
    assert code == 4
    assert f"{item}: type is None" in out
    assert "not checked, its schema is not at hand" in out
    assert out.splitlines()[-1].endswith("1 problems")


def test_a_wrong_schemas_directory_is_a_usage_error(run_cli: Run, small_dataset: Path) -> None:
    code, _, err = run_cli("catalog", "validate", str(small_dataset), "--schemas", "nowhere")
    assert code == 2
    assert "nowhere" in err


def test_audit_writes_a_report(run_cli: Run, small_dataset: Path, tmp_path: Path) -> None:
    report = tmp_path / "audit.md"
    code, out, _ = run_cli("catalog", "audit", str(small_dataset), "-o", str(report), "--json")
    assert code == 0
    assert [entry["task"] for entry in json.loads(out)] == ["biomass", "soil_pH", "species"]
    assert report.read_text(encoding="utf-8").startswith("# Audit of splits")


def test_an_impossible_buffer_is_a_violation(run_cli: Run, small_dataset: Path) -> None:
    code, out, _ = run_cli("catalog", "audit", str(small_dataset), "--buffer-m", "20000000")
    assert code == 4
    assert "violation" in out


def test_stac_can_be_written_again_and_changes_nothing(run_cli: Run, copy: Path) -> None:
    before = json.loads((copy / "dataset.json").read_bytes())["dataset_hash"]
    shutil.rmtree(copy / "stac")
    code, out, _ = run_cli("catalog", "stac", str(copy), "--json")
    assert code == 0
    assert json.loads(out)["dataset_hash"] == before
    assert json.loads(out)["catalog"] == str(copy / "stac" / "catalog.json")


def test_stac_of_no_dataset_is_refused(run_cli: Run, tmp_path: Path) -> None:
    code, _, err = run_cli("catalog", "stac", str(tmp_path))
    assert code == 2
    assert "holds no complete dataset" in err
