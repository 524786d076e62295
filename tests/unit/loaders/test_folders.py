"""Folders called `column=value` in any part of a path are folders, and change no column."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import mmearth
from mmearth.catalog.schema import read_table
from mmearth.loaders.fetch.cache import Cache
from mmearth.packaging.verify import verify
from mmearth.tests.range_server import serving

FOLDERS = ("split=val", "target=5", "lat=3", "month=3", "run=7", "sentinel2=1/train_5=true")
ASKED = "SELECT * EXCLUDE (geometry) FROM soil_pH ORDER BY key"


@pytest.fixture(scope="module")
def expected(small_dataset: Path) -> object:
    dataset = mmearth.open(small_dataset)
    return dataset.sql(ASKED), dataset.select("soil_pH").counts


def linked(source: Path, to: Path) -> Path:
    return Path(shutil.copytree(source, to, copy_function=os.link))


@pytest.mark.parametrize("folder", FOLDERS)
def test_of_a_dataset(small_dataset: Path, tmp_path: Path, folder: str, expected: object) -> None:
    root = linked(small_dataset, tmp_path / folder / "demo")
    dataset = mmearth.open(root)
    assert (dataset.sql(ASKED), dataset.select("soil_pH").counts) == expected
    val = dataset.select("soil_pH", "val")
    assert val.counts.split == {"val": val.count}
    name = "manifests/soil_pH.parquet"
    assert read_table(root / name).equals(read_table(small_dataset / name))


def test_of_the_dataset_itself(small_dataset: Path, tmp_path: Path, expected: object) -> None:
    root = linked(small_dataset, tmp_path / "split=val")
    dataset = mmearth.open(root)
    assert (dataset.sql(ASKED), dataset.select("soil_pH").counts) == expected
    assert verify(root) == []


def test_of_the_cache(small_dataset: Path, tmp_path: Path, expected: object) -> None:
    with serving(small_dataset) as server:
        for folder in FOLDERS:
            dataset = mmearth.open(server.url, Cache(tmp_path / folder / "cache"))
            assert (dataset.sql(ASKED), dataset.select("soil_pH").counts) == expected
