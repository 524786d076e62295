"""mlcroissant reads records of a build with their arrays, labels and byte ranges."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmearth.catalog import croissant
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.validate import validate_croissant
from mmearth.packaging.build import build
from mmearth.tests.make_tiny import OWN, make_tiny, own_task

mlcroissant = pytest.importorskip("mlcroissant")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def dataset(small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The small dataset; shards are unpacked into a folder of the test."""
    from mlcroissant._src.operation_graph.operations import extract

    monkeypatch.setattr(extract, "EXTRACT_PATH", type(extract.EXTRACT_PATH)(tmp_path))
    logging.getLogger("absl").setLevel(logging.ERROR)
    return mlcroissant.Dataset(jsonld=str(small_dataset / "croissant.json"))


@pytest.mark.parametrize("name", ["sentinel2", "biomass"])
def test_a_record_has_its_array(small_dataset: Path, dataset: Any, name: str) -> None:
    rows = {
        row["key"]: row
        for row in pq.read_table(small_dataset / "manifests/biomass.parquet").to_pylist()
        if row[name]["byte_length"]
    }
    of = f"biomass-{name}"
    found = {record[f"{of}/key"].decode(): record for record in dataset.records(of)}
    assert found.keys() == rows.keys()
    for key, record in found.items():
        row = rows[key]
        data = (small_dataset / row["shard"]).read_bytes()[row[name]["byte_offset"] :]
        assert record[f"{of}/array"] == data[: row[name]["byte_length"]]
        array = np.load(io.BytesIO(record[f"{of}/array"]))
        assert array.shape == ((12, 128, 128) if name == "sentinel2" else (128, 128))
        assert record[f"{of}/split"].decode() == row["split"]


def test_a_record_says_where_its_bytes_are(small_dataset: Path, dataset: Any) -> None:
    rows = pq.read_table(small_dataset / "manifests/biomass.parquet").to_pylist()
    found = list(dataset.records("biomass"))
    for row, record in zip(rows, found, strict=True):
        ours = record["biomass/sentinel1"]
        assert ours["biomass/sentinel1/byte_offset"] == row["sentinel1"]["byte_offset"]
        assert record["biomass/biomass"]["biomass/biomass/mean"] == row["biomass"]["mean"]
    assert {record["biomass/split"].decode() for record in found} == {row["split"] for row in rows}


@pytest.mark.parametrize(
    "names",
    [
        ["pH (H2O)", "pH [H2O]", "a, b"],
        ['say "x"', "it's", "back\\slash"],
        ["größe", "1st", "x.y/z"],
        ["where", "mean", "sha256"],
    ],
)
def test_outputs_of_any_name_are_fields(tmp_path: Path, names: list[str]) -> None:
    task = own_task("soil", "regression", dict.fromkeys(names, (0.0, 100.0)))
    layer = OWN.layers["embedding"]
    root, catalogue = tmp_path / "odd", Catalogue(OWN.grid, {layer.name: layer}, {"soil": task})
    card = make_tiny(root, 4, catalogue)
    build(root, card)
    croissant.build(root, card)
    assert validate_croissant(root).problems == ()
    (row, *_) = pq.read_table(root / "manifests/soil.parquet").to_pylist()
    loaded = mlcroissant.Dataset(jsonld=str(root / "croissant.json"))
    (soil,) = (each for each in loaded.metadata.record_sets if each.uuid == "soil")
    (target,) = (field for field in soil.fields if field.uuid == "soil/soil")
    (record, *_) = loaded.records("soil")
    found = {part.name: record["soil/soil"][part.uuid] for part in target.sub_fields}
    assert found == row["soil"]
    assert {part.description for part in target.sub_fields} == {f"{name}, 1" for name in names}
