"""mlcroissant reads records of a build with their arrays, labels and byte ranges."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

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
