"""The audit finds what was planted, and nothing in an honest split."""

from __future__ import annotations

import re
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
    table = tmp_path / "mine.csv"
    table.write_text("task,tile,split\n" + "".join(f"{','.join(r.values())}\n" for r in rows))
    assert audit_table(table, 0.0) == [mine, other]
    assert "Biome imbalance: the share of a split's samples" in to_markdown([mine])
    table.write_text("tile,split\na,b,c\n")
    with pytest.raises(ConfigError, match=r"cannot be read as CSV .*expected Parquet, or CSV"):
        audit_table(table, 0.0)
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


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((2.9999, 56.2), (3.0001, 56.2)),  # zones 31 and 32: one box in degrees holds the other
        ((179.999, 10.0), (-179.992, 10.0)),  # only the first crosses the antimeridian
        ((5.9999, -10.0), (6.0001, -10.0)),  # zones 31 and 32, at their edge
        ((20.0, 0.003), (20.0, -0.003)),  # the two hemispheres of zone 34
    ],
)
def test_overlaps_across_zones(first: tuple[float, float], second: tuple[float, float]) -> None:
    found = _audit(_row(*first, "train"), _row(*second, "random_test"))
    assert found.overlaps == {"train and random_test": 1}
    assert len(found.violations) == 1


@pytest.mark.parametrize(("lon", "lat"), [(-70.3, -55.0), (8.2, 61.0), (179.999, -16.5)])
def test_neighbours_that_share_an_edge_share_no_ground(lon: float, lat: float) -> None:
    tile = Tile.at(lon, lat)
    for x, y in ((1280, -10), (1280, -640), (330, -1280), (1280, 0), (1280, 1280)):
        beside = Tile(tile.epsg, tile.left + x, tile.top + y)
        rows = [{"tile": tile.id, "split": "train"}, {"tile": beside.id, "split": "random_test"}]
        assert _audit(*rows).overlaps == {}
    inside = Tile(tile.epsg, tile.left + 1270, tile.top)
    rows = [{"tile": tile.id, "split": "train"}, {"tile": inside.id, "split": "random_test"}]
    assert _audit(*rows).overlaps == {"train and random_test": 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": None}, "column 'split' of soil_pH holds null; expected text"),
        ({"tile": 5}, "column 'tile' of soil_pH holds int64; expected text"),
        ({"biome": 14}, "has biomes 14 to 14; expected 0 to 13"),
        ({"biome": -1}, "has biomes -1 to -1"),
        ({"biome": "Tundra"}, "'biome' of soil_pH holds string; expected whole numbers"),
        ({"train_5": "no"}, "'train_5' of soil_pH holds string; expected true or false"),
        ({"sentinel2": "scene"}, "expected a struct with a list of source_ids"),
        ({"target": "high"}, "'target' of soil_pH holds string; expected numbers"),
        ({"split": ""}, "has the split ''"),
    ],
)
def test_columns_of_another_kind_are_one_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=re.escape(said)):
        _audit({**_row(10, 50, "train"), **changes})


def test_nulls_are_counted_in_the_sentence(tmp_path: Path) -> None:
    rows = [_row(10, 50, "train"), _row(12, 50, "val", train_5=None)]
    with pytest.raises(FormatError, match="'train_5' of soil_pH is null in 1 rows"):
        _audit(*rows)
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"task": ["a", None], "tile": ["x", "y"], "split": ["val"] * 2}), path)
    with pytest.raises(FormatError, match="'task' of mine is null in 1 rows"):
        audit_table(path, 0.0)


def test_categories_are_text() -> None:
    table = pa.Table.from_pylist([_row(10, 50, "train"), _row(12, 50, "val", biome=None)])
    column = table["split"].dictionary_encode()
    table = table.set_column(table.column_names.index("split"), "split", column)
    assert audit("soil_pH", table, 0.0).biomes["val"] == {"none": 1}
