"""Hugging Face's `datasets` loads every task, split and shard of a build, with the network off."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmearth.catalog.card import write_readme
from mmearth.catalog.catalogue import read_catalogue
from mmearth.packaging.build import build
from mmearth.tests.make_tiny import OWN, make_tiny

datasets = pytest.importorskip("datasets")
TASKS = ("biomass", "soil_pH", "species")
SPLITS = {"train": "train", "val": "validation"}
SPLITS |= {"random_test": "random_test", "geographic_test": "geographic_test"}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def _expected(root: Path, task: str, chosen: str | None = None) -> dict[str, list[str]]:
    """Split of theirs → keys, from the manifest; of `train` only those that a column chooses."""
    found: dict[str, list[str]] = {}
    for row in pq.read_table(root / f"manifests/{task}.parquet").to_pylist():
        if row["split"] != "train" or chosen is None or row[chosen]:
            found.setdefault(SPLITS[row["split"]], []).append(row["key"])
    return found


def _features(root: Path, task: str) -> Any:
    return datasets.Features.from_dict(
        json.loads((root / f"huggingface/{task}/shards.json").read_text())
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_splits_of_a_table_are_the_real_ones(
    small_dataset: Path, tmp_path: Path, task: str
) -> None:
    names = datasets.get_dataset_config_names(str(small_dataset))
    for name, chosen in ((task, None), (f"{task}-50", "train_50"), (f"{task}-5", "train_5")):
        expected = _expected(small_dataset, task, chosen)
        if "train" not in expected:
            assert name not in names
            continue
        loaded = datasets.load_dataset(str(small_dataset), name, cache_dir=str(tmp_path))
        assert {split: table["key"][:] for split, table in loaded.items()} == expected


def test_a_table_holds_the_target_and_not_those_of_other_tasks(
    small_dataset: Path, tmp_path: Path
) -> None:
    table = datasets.load_dataset(
        str(small_dataset), "biomass", split="train", cache_dir=str(tmp_path)
    )
    manifest = pq.read_table(small_dataset / "manifests/biomass.parquet").to_pylist()
    means = {row["key"]: row["biomass"]["mean"] for row in manifest}
    assert {row["key"]: row["biomass"]["mean"] for row in table} == {
        key: means[key] for key in table["key"]
    }
    assert not {"species", "target"} & set(table.column_names)
    assert "byte_offset" not in table.features["sentinel2"]


@pytest.mark.parametrize("task", TASKS)
def test_every_shard_loads_although_samples_lack_members(small_dataset: Path, task: str) -> None:
    features, catalogue = _features(small_dataset, task), read_catalogue(small_dataset)
    rows = pq.read_table(small_dataset / f"manifests/{task}.parquet").to_pylist()
    layers = [layer.name for layer in catalogue.pixel_layers]
    assert any(not row[name]["present"] for row in rows for name in layers) or task != "biomass"
    for shard in sorted({row["shard"] for row in rows}):
        files = {"train": str(small_dataset / shard)}
        samples = datasets.load_dataset(
            "webdataset", data_files=files, features=features, split="train", streaming=True
        )
        expected = [row for row in rows if row["shard"] == shard]
        for row, sample in zip(expected, samples, strict=True):
            assert sample["json"]["key"] == row["key"]
            assert {name for name in layers if sample[f"{name}.npy"] is not None} == {
                name for name in layers if row[name]["present"]
            }
            for name in ("sentinel2", "dynamic_world", *(["biomass"] if task == "biomass" else [])):
                if row[name].get("present", True):
                    at, n = row[name]["byte_offset"], row[name]["byte_length"]
                    array = np.load(io.BytesIO((small_dataset / shard).read_bytes()[at : at + n]))
                    assert sample[f"{name}.npy"].shape == array.shape
                    np.testing.assert_array_equal(sample[f"{name}.npy"], array)


def test_shards_of_layers_and_tasks_of_ones_own_load(tmp_path: Path) -> None:
    root = tmp_path / "own"
    card = make_tiny(root, 6, OWN)
    build(root, card)
    write_readme(root, card)
    for task in OWN.tasks:
        files = {"train": str(root / f"shards/{task}/*.tar")}
        samples = datasets.load_dataset(
            "webdataset",
            data_files=files,
            features=_features(root, task),
            split="train",
            cache_dir=str(tmp_path / "cache"),
        )
        assert len(samples) == 6
        assert samples[0]["json"]["modalities"]["zone"][0] in {-3, 5, 70_000}
        loaded = datasets.load_dataset(str(root), task, cache_dir=str(tmp_path / "cache"))
        assert sum(map(len, loaded.values())) == 6


def test_the_lines_of_the_readme_run(small_dataset: Path, tmp_path: Path) -> None:
    blocks = (small_dataset / "README.md").read_text(encoding="utf-8").split("```python\n")
    (lines,) = (each.partition("```")[0] for each in blocks if "load_dataset" in each)
    lines += "print(*sorted(table), len(list(samples['train'])))\n"
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", lines],
        cwd=small_dataset,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = _expected(small_dataset, "biomass")
    assert done.stdout.split() == [*sorted(expected), str(len(expected["train"]))]
