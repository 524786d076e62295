"""Which planned tiles make a sample, of which date, and why the others make none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mmearth.catalog.errors import DataError, FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Sample
from mmearth.catalog.schema import OBSERVATIONS, read_table, tiles_schema, write_table
from mmearth.catalog.tile import Tile
from mmearth.packaging.inputs import Row, TaskInputs, count_reasons, load_sample, read_inputs

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
    assert {sample.tile["tile"]: sample.date for sample in found.samples} == {
        NORTH.id: "2019-03-16",
        SOUTH.id: "2020-02-15",
        other.id: "2019-03-09",
    }


def test_the_date_is_that_of_the_visit_where_several_tasks_ask(tmp_path: Path) -> None:
    tiles = [("biomass", NORTH, "2020-06-01"), ("soil_pH", NORTH, "2018-01-01")]
    found = _inputs(tmp_path, tiles, [_row(NORTH, "biome")])
    assert [sample.date for sample in found.samples] == ["2020-06-01"]


def test_a_tile_without_any_layer_makes_no_sample(tmp_path: Path) -> None:
    rows = [
        _row(NORTH, "esa_worldcover", "missing", reason="no file covers the tile"),
        _row(SOUTH, "esa_worldcover"),
    ]
    tiles = [("soil_pH", NORTH, None), ("soil_pH", SOUTH, None)]
    found = _inputs(tmp_path, tiles, rows)
    assert found.dropped == {NORTH.id: "no layer: no file covers the tile"}
    assert [sample.tile["tile"] for sample in found.samples] == [SOUTH.id]
    assert _inputs(tmp_path, tiles[:1], []).dropped == {NORTH.id: "no layer: nothing was collected"}


def test_a_tile_without_a_required_layer_makes_no_sample(tmp_path: Path) -> None:
    rows = [_row(NORTH, "biome"), _row(NORTH, "sentinel2", "failed", reason="damaged")]
    tiles = [("soil_pH", NORTH, None), ("soil_pH", SOUTH, None)]
    assert _inputs(tmp_path, tiles, rows, ("sentinel2",)).dropped == {
        NORTH.id: "no sentinel2: damaged",
        SOUTH.id: "no sentinel2: it was not collected",
    }


def test_reasons_are_counted_by_what_is_missing() -> None:
    reasons = [
        "no sentinel2: none of 3 is clear",
        "no sentinel2: none of 4 is clear",
        "no layer: x",
    ]
    dropped = dict(enumerate([*reasons, reasons[1], reasons[2]]))
    assert count_reasons({str(i): reason for i, reason in dropped.items()}) == {
        "no sentinel2: none of 4 is clear": 3,
        "no layer: x": 2,
    }
    assert count_reasons({}) == {}


def test_no_sample_is_made_of_nothing() -> None:
    task = replace(SOIL, optional=True)
    sample = Sample(NORTH, "2020-06-01", task, "train", None)
    with pytest.raises(DataError, match="it has no modality; expected at least one") as caught:
        sample.check()
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
    (planned,) = _inputs(tmp_path, [("soil_pH", NORTH, None)], [_row(NORTH, "biome")]).samples
    lacking = replace(planned, tile={**planned.tile, "target": None}, observations={})
    with pytest.raises(FormatError, match=f"no target for tile {NORTH.id} of soil_pH; plan it"):
        load_sample(tmp_path, MMEARTH_BENCH, SOIL, lacking)
