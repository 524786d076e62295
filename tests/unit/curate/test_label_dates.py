"""Dates of tables: what a cell may hold, and what a plan makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.curate.config import BuildConfig, load_config
from mmearth.curate.declared import TargetConfig, own_task
from mmearth.curate.labels.dates import asked_date
from mmearth.curate.labels.points import point_labels
from mmearth.curate.places import PointsPlaces
from mmearth.curate.plan import make_plan
from mmearth.curate.sources.synthetic import Synthetic


@pytest.mark.parametrize(
    ("cell", "asked"),
    [
        (" 2020-06-01 ", "2020-06-01"),
        ("2020-06-01T10:20Z", "2020-06-01"),
        ("2020-06-01 00:00:00", "2020-06-01"),
        ("2020-06-01T10:20:30.123456", "2020-06-01"),
        ("2020-06-01 10:20:30+02:00", "2020-06-01"),
        ("2020/06/01", "2020-06-01"),
        ("2020/06/01 23:59:59+02", "2020-06-01"),
        ("2020-05-01/2020-06-30", "2020-05-01/2020-06-30"),
        ("2020-05-01T00:00:00Z/2020-06-30T23:59:59Z", "2020-05-01/2020-06-30"),
        ("2020-05-01/2020-05-31,2020-08-01/2020-08-31",) * 2,
    ],
)
def test_what_a_cell_asks_for(cell: str, asked: str) -> None:
    assert asked_date(cell) == asked


@pytest.mark.parametrize(
    "cell", ["June", "2020-06", "01/06/2020", "2020-06-01garbage", "2020", "2020/6/1"]
)
def test_another_cell_is_refused(cell: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"lon,lat,day\n10,50,{cell}\n")
    points = PointsPlaces(path="t.csv", date="day")
    with pytest.raises(ConfigError, match=r"t\.csv.*expected a date YYYY-MM-DD, or intervals"):
        point_labels(own_task("custom", TargetConfig()), points, tmp_path, DEFAULT_GRID)


def _config(base: Path, date: str) -> BuildConfig:
    (base / "p.csv").write_text("lon,lat,ph,day\n10,50,6,2019-03-01/2019-03-31\n20,50,7,\n")
    (base / "c.yaml").write_text(
        f"name: a\ntitle: a\n{date}\nrecipe: mmearth-bench-2026\nsource: {{kind: synthetic}}\n"
        "tasks: {soil_pH: {points: {path: p.csv, value: ph, date: day}}}\n"
    )
    return load_config(base / "c.yaml")


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("", None),
        ("date: 2021-04-05", "2021-04-05"),  # YAML makes a date of it
        ("date: 2021-04-05/2021-05-05", "2021-04-05/2021-05-05"),
    ],
)
def test_the_configurations_date_is_for_labels_without(
    date: str, expected: str | None, tmp_path: Path
) -> None:
    config = _config(tmp_path, date)
    plan = make_plan(config, Synthetic(), tmp_path)
    assert plan.table["date"].to_pylist() == ["2019-03-01/2019-03-31", expected]
    assert plan.tasks[0].n_undated == (expected is None)


def test_a_configuration_without_a_date_has_the_hash_it_had(tmp_path: Path) -> None:
    without, dated = _config(tmp_path, "").sha256, _config(tmp_path, "date: 2021-04-05").sha256
    assert _config(tmp_path, "date: null").sha256 == without != dated


def test_a_wrong_date_of_the_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found the date 'summer'; expected YYYY-MM-DD"):
        _config(tmp_path, "date: summer")
