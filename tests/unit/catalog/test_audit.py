"""The audit finds what was planted, and nothing in an honest split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmearth.catalog.audit import audit, audit_table, to_markdown
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.tile import Tile


def _row(lon: float, lat: float, split: str, **changes: Any) -> dict[str, Any]:
    tile = Tile.at(lon, lat)
    row = {
        "key": f"{tile.id}_20200704",
        "tile": tile.id,
        "split": split,
        "train_5": False,
        "train_50": False,
        "lon": tile.lon,
        "lat": tile.lat,
        "biome": 6,
        "target": 5.0,
        "sentinel2": {"source_ids": [f"scene {tile.id}"]},
    }
    return {**row, **changes}


def _audit(*rows: dict[str, Any], buffer_m: float = 0.0) -> Any:
    return audit("soil_pH", pa.Table.from_pylist(list(rows)), buffer_m)


def test_honest_split() -> None:
    found = _audit(
        _row(10.0, 50.0, "train", train_50=True, target=4.0),
        _row(11.0, 50.0, "train", target=6.0),
        _row(10.0, 51.0, "random_test", biome=8),
        buffer_m=5_000.0,
    )
    assert found.violations == ()
    assert found.counts["train"] == 2
    # One degree of latitude at 50° is 111.2 km on the sphere.
    assert found.distances[0].least == pytest.approx(111.2, abs=0.2)
    assert found.imbalance["random_test"] == 1.0
    assert found.targets["train"] == {"mean": 5.0, "std": 1.0}
    assert "no violation" in to_markdown([found])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([_row(10, 50, "train"), _row(10, 50, "val")], "is in train and in val"),
        ([_row(10, 50, "train", train_5=True)], "in train_5 and not in train_50"),
        ([_row(10, 50, "val", train_50=True)], "in train_50 and not in train"),
        (
            [_row(10, 50, "train"), _row(10.01, 50, "random_test")],
            "share ground between train and random_test",
        ),
        ([_row(10, 50, "train"), _row(10.05, 50, "geographic_test")], "nearer than 5 km"),
    ],
)
def test_planted_violations(rows: list[dict[str, Any]], said: str) -> None:
    found = _audit(*rows, buffer_m=5_000.0)
    assert any(said in text for text in found.violations), found.violations
    assert said in to_markdown([found])


def test_shared_scenes_are_reported_and_no_violation() -> None:
    scene = {"source_ids": ["S2A_1"]}
    found = _audit(_row(10, 50, "train", sentinel2=scene), _row(12, 50, "val", sentinel2=scene))
    assert found.shared_scenes == {"val": 1}
    assert found.violations == ()


def test_any_table_of_tiles_and_splits(tmp_path: Path) -> None:
    rows = [
        {"task": task, "tile": Tile.at(lon, 50).id, "split": split}
        for task, lon, split in (("mine", 10, "train"), ("mine", 10, "val"), ("other", 10, "val"))
    ]
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    mine, other = audit_table(path, 0.0)
    assert (mine.task, len(mine.violations), other.violations) == ("mine", 1, ())
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        audit_table(tmp_path / "nowhere.parquet", 0.0)


def test_label_imbalance_of_a_multi_label_task() -> None:
    rows = [_row(10, 50, "train", species=["a", "b"]), _row(12, 50, "val", species=["a"])]
    found = audit("species", pa.Table.from_pylist(rows), 0.0)
    # Train has a and b in equal parts, val only a: half of the mass is elsewhere.
    assert found.label_imbalance["val"] == 0.5


def test_wrong_tables_are_refused() -> None:
    with pytest.raises(FormatError, match=r"has the split .test."):
        _audit(_row(10, 50, "test"))
    with pytest.raises(FormatError, match="no column 'tile'"):
        audit("soil_pH", pa.Table.from_pylist([{"key": "a"}]), 0.0)
