"""The plan: which places become tiles, and why the others do not."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import tiles_schema
from mmearth.catalog.splits import LEFT_OUT, SPLITS, default
from mmearth.catalog.tile import Tile
from mmearth.curate.config import BuildConfig
from mmearth.curate.jobs import wanted
from mmearth.curate.plan import Plan, TaskPlan, make_plan
from mmearth.curate.sources.synthetic import Synthetic


def _config(tasks: dict[str, Any], **more: Any) -> BuildConfig:
    document = {"name": "a", "title": "a", "source": {"kind": "synthetic"}, "tasks": tasks, **more}
    return BuildConfig.model_validate(document)


def _soil(rows: list[str], base: Path, **more: Any) -> Plan:
    (base / "p.csv").write_text("\n".join(["lon,lat,ph", *rows]))
    points = {"path": "p.csv", "value": "ph"}
    config = _config({"soil_pH": {"points": points}}, recipe="mmearth-bench-2026", **more)
    return make_plan(config, Synthetic(), base)


def test_every_place_is_accounted_for(tmp_path: Path) -> None:
    rows = ["10,50,6", "10.001,50,6", "20,50,77", "20,85,6", "20,-81,6", "30,50,5", "30,50,7"]
    report = _soil(rows, tmp_path).tasks[0]
    assert report.n_places == 7
    assert report.n_beyond_utm == 2  # 85° N and 81° S
    assert report.n_invalid == 1  # pH 77
    assert report.n_overlapping == 2  # 70 m apart, and twice the same
    assert sum(report.splits.values()) == 2


def test_a_row_says_all_about_its_tile(tmp_path: Path) -> None:
    plan = _soil(["10,50,6.5"], tmp_path)
    assert plan.table.schema.equals(tiles_schema([MMEARTH_BENCH.tasks["soil_pH"]]))
    row = plan.table.to_pylist()[0]
    # 10° E, 50° N is 571.7 km east and 5539.1 km north in zone 32; the tile is centred there.
    assert row["tile"] == f"32632_{row['left']}_{row['top']}"
    assert abs(row["left"] + 640 - 571_667) <= 10
    assert abs(row["top"] - 640 - 5_539_111) <= 10
    assert (row["task"], row["target"]) == ("soil_pH", 6.5)
    assert row["split"] in SPLITS


def test_nothing_that_could_be_a_tile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of its 2 places .*between -80 and 84 degrees"):
        _soil(["0,89,6", "0,-89,6"], tmp_path)
    with pytest.raises(ConfigError, match=r"found values like 65, expected .*check the unit"):
        _soil(["10,50,65", "11,50,71"], tmp_path)


def test_the_default_rule_does_not_depend_on_the_order_of_places(tmp_path: Path) -> None:
    config = _config({"species": {"labels": {"count": 60}}})
    labels = list(Synthetic().labels(MMEARTH_BENCH.tasks["species"], 60, 42))
    rows = [f"{label.lon},{label.lat},6" for label in labels]
    points = {"soil_pH": {"points": {"path": "p.csv", "value": "ph"}}}
    found = []
    for seed in (1, 2):
        random.Random(seed).shuffle(rows)
        (tmp_path / "p.csv").write_text("\n".join(["lon,lat,ph", *rows]))
        plan = make_plan(_config(points), Synthetic(), tmp_path)
        found.append(
            dict(zip(*plan.table.select(["tile", "split"]).to_pydict().values(), strict=True))
        )
    both = found[0].keys() & found[1].keys()
    assert len(both) > 40
    assert all(found[0][tile] == found[1][tile] for tile in both)
    assert make_plan(config, Synthetic(), tmp_path).table.num_rows > 40


def test_the_table_is_sorted_and_repeats(tmp_path: Path) -> None:
    config = _config({"species": {"labels": {"count": 9}}, "biomass": {"labels": {"count": 9}}})
    plan = make_plan(config, Synthetic(3), tmp_path)
    keys = list(zip(*plan.table.select(["task", "tile"]).to_pydict().values(), strict=True))
    assert keys == sorted(keys)
    assert plan.table.equals(make_plan(config, Synthetic(3), tmp_path).table)


def test_tiles_of_several_tasks_are_visited_once(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lon,lat,ph,day\n10,50,6,2020-07-02\n")
    (tmp_path / "q.csv").write_text("lon,lat,day\n10,50,2020-06-01\n30,50,\n")
    config = _config(
        {
            "soil_pH": {"points": {"path": "p.csv", "value": "ph", "date": "day"}},
            "biomass": {"points": {"path": "q.csv", "date": "day"}},
        },
        modalities=["sentinel2", "biome"],
        recipe="mmearth-bench-2026",
    )
    everything = wanted(config, make_plan(config, Synthetic(), tmp_path))
    visits = list(everything.planned())
    assert [names for _, names, _ in visits] == [("sentinel2", "biome", "biomass")] * 2
    # biomass stands before soil_pH, and the tile at 10° E in zone 32 before the one at 30° E.
    assert [date for _, _, date in visits] == ["2020-06-01", None]
    assert [tile for tile, _, _ in visits] == everything.tiles["tile"].to_pylist()


def test_tiles_that_the_buffer_leaves_out_for_nothing_are_counted(tmp_path: Path) -> None:
    generator = random.Random(4)
    places = [(generator.uniform(0, 20), generator.uniform(45, 55)) for _ in range(200)]

    def planned(places: list[tuple[float, float]]) -> TaskPlan:
        rows = [f"{lon},{lat},6" for lon, lat in places]
        (tmp_path / "p.csv").write_text("\n".join(["lon,lat,ph", *rows]))
        points = {"points": {"path": "p.csv", "value": "ph"}}
        return make_plan(_config({"soil_pH": points}), Synthetic(), tmp_path).tasks[0]

    split = default([Tile.at(*place) for place in places], 42).split
    lon, lat = places[int(np.flatnonzero(split == LEFT_OUT)[0])]
    # No other tile is there: it is left out for a test that nobody made.
    alone = planned([(lon, lat)])
    assert (alone.n_buffer, alone.n_far_buffer) == (1, 1)
    # 4 km around it there is a place in the block that is kept for tests.
    ring = [
        (lon + 0.04 / 0.65 * math.cos(angle), lat + 0.04 * math.sin(angle))
        for angle in np.linspace(0.0, 2 * math.pi, 24)
    ]
    tests = default([Tile.at(*place) for place in ring], 42).split == "random_test"
    beside = planned([(lon, lat), ring[int(np.flatnonzero(tests)[0])]])
    assert (beside.n_buffer, beside.n_far_buffer, beside.splits["random_test"]) == (1, 0, 1)
