"""Splits that a table has already: kept as they are, whatever a rule would do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.splits import given
from mmearth.catalog.tile import tiles_at
from mmearth.curate.plan import Plan, make_plan
from mmearth.curate.sources.synthetic import Synthetic
from mmearth.tests.own_config import GRID, config_of


def _plan(base: Path, rows: list[str]) -> Plan:
    (base / "p.csv").write_text("\n".join(["lon,lat,v,s", *rows]))
    task = {"points": {"path": "p.csv", "value": "v"}, "split": {"column": "s"}}
    return make_plan(config_of(grid={"pixels": 32}, tasks={"own": task}), Synthetic(), base)


def test_every_place_keeps_its_split_in_africa_too(tmp_path: Path) -> None:
    # The rule would deal 20° E 0° N to the geographic test, and leave out what lies near it.
    rows = ["20,0.5,1,train", "20.01,0.5,2,test", "10,50,3,validation", "11,50,4,geographic_test"]
    plan = _plan(tmp_path, rows)
    table = plan.table.to_pydict()
    found = {value: split for value, split in zip(table["target"], table["split"], strict=True)}
    assert found == {1.0: "train", 2.0: "random_test", 3.0: "val", 4.0: "geographic_test"}
    (report,) = plan.tasks
    assert (report.n_buffer, report.splits["random_test"]) == (0, 1)


def test_places_that_overlap_are_left_out_still(tmp_path: Path) -> None:
    plan = _plan(tmp_path, ["8,50,1,train", "8.001,50,2,test", "9,50,3,test"])
    assert plan.tasks[0].n_overlapping == 1
    assert len(plan.table) == 2


def test_a_split_that_is_none_stops_the_plan(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 3, column 's': found 'holdout'"):
        _plan(tmp_path, ["8,50,1,train", "9,50,2,holdout"])


def test_subsets_of_train_are_shares_of_it_and_one_holds_the_other() -> None:
    lons = np.linspace(-170, 170, 4000)
    tiles = tiles_at(lons, np.full(4000, 50.0), GRID)
    split = ["train" if i % 2 else "val" for i in range(4000)]
    found = given(tiles, split, 1)
    train = found.split == "train"
    assert found.split.tolist() == split
    assert not (found.train_50 & ~train).any() and not (found.train_5 & ~found.train_50).any()
    assert 950 < np.count_nonzero(found.train_50) < 1050
    assert 70 < np.count_nonzero(found.train_5) < 130
    again, other = given(tiles, split, 1), given(tiles, split, 2)
    assert np.array_equal(found.train_50, again.train_50)
    assert not np.array_equal(found.train_50, other.train_50)
