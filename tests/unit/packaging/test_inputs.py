"""Which planned tiles make a sample, of which date, and why the others make none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mmearth.catalog.errors import DataError, FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Sample
from mmearth.catalog.schema import OBSERVATIONS, read_table, tiles_schema, write_table
from mmearth.catalog.store import StoreReader
from mmearth.catalog.tile import Tile
from mmearth.packaging.inputs import TaskInputs, count_reasons, cut, read_inputs
from mmearth.packaging.jobs import Planned, Row
from mmearth.packaging.pack import load_sample, look
from mmearth.packaging.verify_values import Expected

NORTH, SOUTH = Tile(32633, 500_000, 5_000_000), Tile(32733, 500_000, 5_000_000)
SOIL = MMEARTH_BENCH.tasks["soil_pH"]


def _inputs(
    root: Path,
    tiles: list[tuple[str, Tile, str | None]],
    observations: list[dict[str, Any]],
    require: tuple[str, ...] = (),
) -> TaskInputs:
    """Return what `soil_pH` is packed from: (task, tile, date) rows and what was collected."""
    common = {"split": "train", "target": 6.0, "train_5": False, "train_50": False, "cell": "a"}
    planned = [
        {
            **{"task": task, "tile": tile.id, "epsg": tile.epsg, "left": tile.left},
            **{"top": tile.top, "lon": tile.lon, "lat": tile.lat, "date": date},
            **common,
        }
        for task, tile, date in tiles
    ]
    schema = tiles_schema(MMEARTH_BENCH.tasks.values())
    write_table(pa.Table.from_pylist(planned, schema), root / "tiles.parquet", schema)
    table = pa.Table.from_pylist(observations, OBSERVATIONS)
    write_table(table, root / "observations.parquet", OBSERVATIONS)
    return read_inputs(root, MMEARTH_BENCH, SOIL, require)


def _days(found: TaskInputs) -> dict[str, str]:
    """Return the anchor date by tile."""
    tiles, days = (found.samples[name].to_pylist() for name in ("tile", "day"))
    return dict(zip(tiles, days, strict=True))


def _row(tile: Tile, modality: str, state: str = "done", **more: Any) -> dict[str, Any]:
    return {"tile": tile.id, "modality": modality, "state": state, "source_ids": [], **more}


def test_the_image_decides_the_date_then_the_label_then_the_season(tmp_path: Path) -> None:
    other = Tile(32633, 600_000, 5_000_000)
    found = _inputs(
        tmp_path,
        [
            ("soil_pH", NORTH, "2019-03-01/2019-03-31"),
            ("soil_pH", SOUTH, None),
            ("soil_pH", other, "2019-03-01"),
        ],
        [
            _row(NORTH, "biome"),
            _row(NORTH, "sentinel2", "missing", reason="cloudy"),
            _row(SOUTH, "biome"),
            _row(other, "sentinel2", acquired="2019-03-09"),
        ],
    )
    assert _days(found) == {
        NORTH.id: "2019-03-16",
        SOUTH.id: "2020-02-15",
        other.id: "2019-03-09",
    }


def test_the_date_is_that_of_the_visit_where_several_tasks_ask(tmp_path: Path) -> None:
    tiles = [("biomass", NORTH, "2020-06-01"), ("soil_pH", NORTH, "2018-01-01")]
    found = _inputs(tmp_path, tiles, [_row(NORTH, "biome")])
    assert list(_days(found).values()) == ["2020-06-01"]


def test_a_tile_without_any_layer_makes_no_sample(tmp_path: Path) -> None:
    rows = [
        _row(NORTH, "esa_worldcover", "missing", reason="no file covers the tile"),
        _row(SOUTH, "esa_worldcover"),
    ]
    tiles = [("soil_pH", NORTH, None), ("soil_pH", SOUTH, None)]
    found = _inputs(tmp_path, tiles, rows)
    assert found.dropped == {"no layer: no file covers the tile": 1}
    assert list(_days(found)) == [SOUTH.id]
    assert _inputs(tmp_path, tiles[:1], []).dropped == {"no layer: nothing was collected": 1}
    assert _days(_inputs(tmp_path, tiles[:1], [])) == {}


def test_a_tile_without_a_required_layer_makes_no_sample(tmp_path: Path) -> None:
    rows = [_row(NORTH, "biome"), _row(NORTH, "sentinel2", "failed", reason="damaged")]
    for tile, why in ((NORTH, "damaged"), (SOUTH, "it was not collected")):
        found = _inputs(tmp_path, [("soil_pH", tile, None)], rows, ("sentinel2",))
        assert found.dropped == {f"no sentinel2: {why}": 1}


def test_of_several_things_that_a_tile_lacks_the_first_is_named(tmp_path: Path) -> None:
    rows = [
        _row(NORTH, "biome", "missing", reason="at sea"),
        _row(NORTH, "sentinel2", "missing", reason="cloudy"),
    ]
    tiles = [("soil_pH", NORTH, None)]
    for require, why in ((("sentinel2", "biome"), "cloudy"), (("biome", "sentinel2"), "at sea")):
        assert _inputs(tmp_path, tiles, rows, require).dropped == {f"no {require[0]}: {why}": 1}


def test_shards_are_cut_by_size_within_a_split() -> None:
    table = pa.table({"split": ["train"] * 5 + ["val"] * 2, "nbytes": [4, 4, 4, 9, 1, 20, 1]})
    assert [(name, part["nbytes"].to_pylist()) for name, part in cut(SOIL, table, 8)] == [
        ("shards/soil_pH/train-000000.tar", [4, 4]),
        ("shards/soil_pH/train-000001.tar", [4, 9]),
        ("shards/soil_pH/train-000002.tar", [1]),
        ("shards/soil_pH/val-000000.tar", [20]),
        ("shards/soil_pH/val-000001.tar", [1]),
    ]
    assert list(cut(SOIL, table.slice(0, 0), 8)) == []


def test_a_sample_has_the_size_of_its_members_in_a_tar(tmp_path: Path) -> None:
    rows = [
        _row(NORTH, "biome"),
        _row(NORTH, "esa_worldcover", bytes=1025),
        _row(NORTH, "sentinel2", "missing", reason="cloudy"),
        _row(SOUTH, "aster_gdem"),
    ]
    tiles = [("soil_pH", NORTH, None), ("soil_pH", SOUTH, None)]
    samples = _inputs(tmp_path, tiles, rows).samples
    # 4,096 for the JSON; 1,025 is three blocks of 512 and a header; of a length that nobody says,
    # 2 bands of 128 × 128 float32 and 128 bytes of header are 257 blocks.
    nbytes = dict(zip(samples["tile"].to_pylist(), samples["nbytes"].to_pylist(), strict=True))
    assert nbytes == {NORTH.id: 4096 + 4 * 512, SOUTH.id: 4096 + 258 * 512}


def test_reasons_are_counted_by_what_is_missing() -> None:
    reasons = [
        "no sentinel2: none of 3 is clear",
        "no sentinel2: none of 4 is clear",
        "no layer: x",
    ]
    assert count_reasons(Counter([*reasons, reasons[1], reasons[2]])) == {
        "no sentinel2: none of 4 is clear": 3,
        "no layer: x": 2,
    }
    assert count_reasons({}) == {}


def test_no_sample_is_made_of_nothing() -> None:
    task = replace(SOIL, optional=True)
    sample = Sample(NORTH, "2020-06-01", task, "train", None)
    expected = Expected.of(MMEARTH_BENCH, task)
    with pytest.raises(DataError, match="it has no modality; expected at least one") as caught:
        look(sample, expected)
    assert caught.value.__notes__ == [f"sample {NORTH.id}_20200601, task soil_pH"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tile": "32633_1_2_3"}, "32633_1_2_3.*; build it again"),
        ({"cell": None}, f"tile {NORTH.id} has no cell; build it again"),
        ({"left": 0}, f"tile {NORTH.id} is said to be at 32633, 0, 5000000 and in split 'train'"),
        ({"split": "exam"}, "in split 'exam'; expected its own grid and one of"),
    ],
)
def test_a_plan_that_cannot_be_ours(tmp_path: Path, change: Row, sentence: str) -> None:
    _inputs(tmp_path, [("soil_pH", NORTH, None)], [_row(NORTH, "biome")])
    table = read_table(tmp_path / "tiles.parquet")
    changed = pa.Table.from_pylist([table.to_pylist()[0] | change], table.schema)
    write_table(changed, tmp_path / "tiles.parquet", table.schema)
    with pytest.raises(FormatError, match=sentence):
        read_inputs(tmp_path, MMEARTH_BENCH, SOIL, ())


def test_a_planned_tile_without_its_target(tmp_path: Path) -> None:
    planned = Planned("key", "2020-06-01", 0, {"tile": NORTH.id, "target": None}, {})
    with (
        StoreReader(tmp_path) as reader,
        pytest.raises(FormatError, match=f"no target for tile {NORTH.id} of soil_pH; plan it"),
    ):
        load_sample(MMEARTH_BENCH, SOIL, reader, planned)
