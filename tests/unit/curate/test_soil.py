"""Soil profiles: the published rules, columns by name, real tables, and what was left out."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.config import BuildConfig
from mmearth.curate.labels.soil import Counts, read_layers, soil_labels
from mmearth.curate.places import SoilPlaces
from mmearth.curate.plan import make_plan
from mmearth.curate.source import Label
from mmearth.curate.sources.synthetic import Synthetic

_HEADER = (
    "profile_id\tlayer_id\tupper_depth\tlower_depth\tvalue_avg\tpositional_uncertainty"
    "\tlongitude\tlatitude"
)
_NEAR = "Circa 100 m"


def _write(path: Path, *rows: tuple[Any, ...]) -> None:
    lines = [_HEADER, *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _places(**keys: Any) -> SoilPlaces:
    return SoilPlaces.model_validate({"path": "w.tsv", **keys})


def test_the_published_rules_on_the_columns_of_wosis(tmp_path: Path) -> None:
    _write(
        tmp_path / "w.tsv",
        (1, 10, 0, 5, 21.5, _NEAR, 33.01, -3.06),  # kept: both depths are still inside
        (1, 11, 2, 4, 20.5, _NEAR, 33.01, -3.06),  # kept: another layer of the same profile
        (1, 12, 0, 5.5, 9, _NEAR, 33.01, -3.06),  # too deep
        (2, 20, -3, 0, 400, _NEAR, 8.5, 50.25),  # litter above the ground
        (2, 21, 0, 4, 31, "100 m - 1 km", 8.5, 50.25),  # uncertain
        (3, 30, 0, 5, "", _NEAR, 8.5, 50.25),  # not measured
        (4, 40, 0, "NA", 12, _NEAR, 8.5, 50.25),  # no depth
        (5, 50, 0, 5, 12, _NEAR, "", 50.25),  # no place
        (6, 60, 0, 5, 12, _NEAR, 8.5, 95),  # off the Earth
        (7, 70, 0, 5, "trace", _NEAR, 8.5, 50.25),  # text
        (8, 80, 20, 30, "trace", "", "", ""),  # many reasons, counted once
    )
    assert soil_labels(MMEARTH_BENCH.tasks["soil_organic_carbon"], _places(), tmp_path) == [
        Label(33.01, -3.06, 21.5, None, None, "1"),
        Label(33.01, -3.06, 20.5, None, None, "1"),
    ]
    layers, counts = read_layers(tmp_path / "w.tsv", _places())
    assert counts == Counts(
        malformed=0,
        no_number=2,
        no_place=1,
        off_earth=1,
        no_value=1,
        no_depth=1,
        too_shallow=1,
        too_deep=1,
        uncertain=1,
        kept=2,
    )
    assert counts.rows == 11
    assert layers.value.tolist() == [21.5, 20.5]


def test_stray_quotes_move_no_value_to_another_profile(tmp_path: Path) -> None:
    names = ['"Loma" alta', "plain", '"El Alto', "b", '"Rio', "c"]
    rows = [(i, name, 0, 5, i + 3, _NEAR, 14 + i, 45) for i, name in enumerate(names, 1)]
    _write(tmp_path / "w.tsv", *rows)
    found = soil_labels(MMEARTH_BENCH.tasks["soil_pH"], _places(), tmp_path)
    expected = [(str(i), 14.0 + i, i + 3.0) for i in range(1, 7)]
    assert [(x.label_id, x.lon, x.value) for x in found] == expected


def test_a_column_of_dates(tmp_path: Path) -> None:
    days = ["2020-06-01", "", "2019-05-01/2019-06-30", "2018-07-02T10:00:00Z"]
    rows = "".join(f"8,50,{day},5\n" for day in days)
    (tmp_path / "d.csv").write_text("longitude,latitude,day,value_avg\n" + rows)
    none = dict.fromkeys(("upper", "lower", "uncertainty", "id"))
    config = _places(path="d.csv", date="day", **none)
    found = [label.date for label in soil_labels(MMEARTH_BENCH.tasks["soil_pH"], config, tmp_path)]
    assert found == ["2020-06-01", None, "2019-05-01/2019-06-30", "2018-07-02"]
    (tmp_path / "d.csv").write_text("longitude,latitude,day,value_avg\n8,50,01/06/2020,5\n")
    with pytest.raises(ConfigError, match="line 2, column 'day': found '01/06/2020', expected a d"):
        soil_labels(MMEARTH_BENCH.tasks["soil_pH"], config, tmp_path)


def test_what_was_left_out_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _write(tmp_path / "w.tsv", (1, 1, 0, 5, 5, _NEAR, 1, 2), (2, 2, 0, 9, 5, _NEAR, 1, 2))
    with caplog.at_level(logging.INFO, logger="mmearth"):
        soil_labels(MMEARTH_BENCH.tasks["soil_pH"], _places(), tmp_path)
    assert caplog.messages == ["tasks.soil_pH: w.tsv: kept 1 of 2 layers; 1 too deep"]
    rows = [(i, i, 0, 5, 5, _NEAR, 1, 2) for i in range(200)]
    _write(tmp_path / "w.tsv", *rows, (7, 7, 0, 5, "<5", _NEAR, 1, 2), (1, 2))
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="mmearth"):
        soil_labels(MMEARTH_BENCH.tasks["soil_pH"], _places(), tmp_path)
    assert [message.removeprefix(f"{tmp_path}/") for message in caplog.messages] == [
        "w.tsv: 1 rows have not the 8 cells of the header, first at line 203",
        "w.tsv, line 202, column 'value_avg': found '<5', where a number is expected",
        "tasks.soil_pH: w.tsv: kept 200 of 202 layers; 1 malformed, 1 no number",
    ]


def test_columns_unit_depths_and_accuracy_of_another_table(tmp_path: Path) -> None:
    rows = ["x,y,top,bottom,oc,metres", "1.5,2.5,0,20,0.32,100.0", "3,4,0,20,0.5,250", "5,6,0,9,1,"]
    (tmp_path / "own.csv").write_text("\n".join(rows))
    config = _places(
        path="own.csv",
        lon="x",
        lat="y",
        upper="top",
        lower="bottom",
        value="oc",
        scale=10,
        uncertainty="metres",
        max_uncertainty_m=100,
        deepest_cm=20,
        id=None,
    )
    assert soil_labels(MMEARTH_BENCH.tasks["soil_organic_carbon"], config, tmp_path) == [
        Label(1.5, 2.5, 3.2)
    ]
    every = config.model_copy(update={"uncertainty": None, "upper": None, "lower": None})
    assert [
        label.value for label in soil_labels(MMEARTH_BENCH.tasks["soil_pH"], every, tmp_path)
    ] == [3.2, 5.0, 10.0]


def test_the_plan_keeps_one_layer_a_profile_and_possible_values(tmp_path: Path) -> None:
    _write(
        tmp_path / "w.tsv",
        (1, 1, 0, 2, 5.5, _NEAR, 2, 47),
        (1, 2, 2, 5, 6.5, _NEAR, 2, 47),
        (2, 3, 0, 5, 55, _NEAR, 10, 51),  # pH goes up to 14
        (3, 4, 0, 5, 7.5, _NEAR, 10, 51),
    )
    document = {
        "name": "w",
        "title": "W",
        "recipe": "mmearth-bench-2026",
        "source": {"kind": "synthetic", "seed": 7},
        "tasks": {"soil_pH": {"soil": {"path": "w.tsv"}}},
    }
    plan = make_plan(BuildConfig.model_validate(document), Synthetic(7), tmp_path)
    report = plan.tasks[0]
    assert (report.n_places, report.n_invalid, report.n_overlapping) == (4, 1, 1)
    found = dict(zip(*(plan.table[c].to_pylist() for c in ("label_id", "target")), strict=True))
    # Of tiles with as many conflicts the first in the table goes, as published.
    assert found == {"1": 6.5, "3": 7.5}


@pytest.mark.parametrize(
    ("row", "keys", "said"),
    [
        (
            (1, 1, 0, 5, 5, _NEAR, 8, 50),
            {"lon": "X"},
            r"has no column 'X' for lon:; its columns are profile",
        ),
        (
            (1, 1, 0, 5, "low", _NEAR, 8, 50),
            {},
            r"found 'low', expected .* column with value:",
        ),
        ((1, 1, 0, 5, 5, _NEAR, "8,500", 50), {}, r"line 2, column 'longitude': found '8,500'"),
        (
            (1, 1, 0, 5, 5, _NEAR, 50, 108),
            {},
            r"x 50 and y 108; write lon: latitude and",
        ),
        (
            (1, 1, 0, 5, 5, _NEAR, 443000, 5532000),
            {},
            r"x 443000 and y 5532000; .* say crs:",
        ),
        ((1, 1, 0, 30, 5, _NEAR, 8, 50), {}, r"no usable layer: kept 0 of 1 layers; 1 too deep"),
        ((1, 1, 0, 5, "", _NEAR, 8, 50), {}, r"no usable layer: kept 0 of 1 layers; 1 no value"),
    ],
)
def test_tables_that_cannot_be_used(
    row: tuple[Any, ...], keys: dict[str, str], said: str, tmp_path: Path
) -> None:
    _write(tmp_path / "w.tsv", row)
    with pytest.raises(ConfigError, match=said):
        soil_labels(MMEARTH_BENCH.tasks["soil_pH"], _places(**keys), tmp_path)


def test_a_few_places_off_the_earth_are_counted_and_no_more(tmp_path: Path) -> None:
    good = [(i, i, 0, 5, 5, _NEAR, i, 47) for i in range(3)]
    bad = [(9, 9, 0, 5, 5, _NEAR, lon, lat) for lon, lat in ((47, 120), (361, 1))]
    _write(tmp_path / "w.tsv", *good, *bad)
    _, counts = read_layers(tmp_path / "w.tsv", _places())
    assert (counts.off_earth, counts.kept) == (2, 3)


@pytest.mark.parametrize("task", ["biomass", "species"])
def test_other_tasks_take_no_profiles(task: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"tasks.{task}: a table of soil profiles gives one num"):
        soil_labels(MMEARTH_BENCH.tasks[task], _places(), tmp_path)


@pytest.mark.parametrize(
    ("task", "column"),
    [("soil_organic_carbon", "ORCDRC"), ("soil_nitrogen", "NTO"), ("soil_pH", "PHIHOX")],
)
def test_africa_soil_profiles(task: str, column: str, real_data: Path) -> None:
    name = "soil/afsis_east_south_africa.csv"
    config = _places(
        path=name,
        lon="LONWGS84",
        lat="LATWGS84",
        upper="UHDICM",
        lower="LHDICM",
        value=column,
        uncertainty=None,
        deepest_cm=20,
        id="SOURCEID",
    )
    labels = soil_labels(MMEARTH_BENCH.tasks[task], config, real_data)
    frame = pd.read_csv(real_data / name)
    frame = frame[(frame["UHDICM"] >= 0) & (frame["LHDICM"] <= 20)].dropna(subset=[column])
    assert [label.value for label in labels] == frame[column].tolist()
    assert [label.lon for label in labels] == frame["LONWGS84"].tolist()
    assert [label.label_id for label in labels] == frame["SOURCEID"].tolist()
    assert len(labels) > 5000


def test_carbon_in_per_cent(real_data: Path) -> None:
    name = "soil/soilksatdb_oc_ph.csv"
    config = _places(
        path=name,
        lon="longitude_decimal_degrees",
        lat="latitude_decimal_degrees",
        upper="hzn_top",
        lower="hzn_bot",
        value="oc_v",
        scale=10,
        uncertainty="location_accuracy_max",
        max_uncertainty_m=250,
        deepest_cm=15,
        id="site_key",
    )
    layers, counts = read_layers(real_data / name, config)
    frame = pd.read_csv(real_data / name)
    exact = frame[
        (frame["hzn_top"] >= 0)
        & (frame["hzn_bot"] <= 15)
        & (frame["location_accuracy_max"] <= 250)
        & frame["oc_v"].notna()
    ]
    assert (counts.rows, counts.kept) == (len(frame), len(exact))
    assert counts.kept > 50
    assert math.isclose(layers.value.mean(), exact["oc_v"].mean() * 10, rel_tol=1e-12)
    assert layers.ids == exact["site_key"].tolist()


def test_the_examples_of_the_documentation(real_data: Path) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"
    section = (
        page.read_text(encoding="utf-8").split("## Places from soil profiles")[1].split("\n## ")[0]
    )
    wosis, others = (
        yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", section, re.S)
    )
    build = {"name": "w", "title": "W", "source": {"kind": "synthetic", "seed": 7}}
    tasks = BuildConfig.model_validate(build | wosis).tasks
    assert [t.soil and t.soil.path for t in tasks.values()] == [
        f"wosis_202312_{code}.tsv" for code in ("nitkjd", "orgc", "phaq")
    ]
    plan = make_plan(BuildConfig.model_validate(build | others), Synthetic(7), real_data / "soil")
    places = {report.task: report.n_places for report in plan.tasks}
    assert places == {"soil_nitrogen": 6020, "soil_organic_carbon": 143}
    # The greatest: 14.5 g/kg of nitrogen and 34.11 % of carbon.
    assert max(row["target"] for row in plan.table.to_pylist()) <= 341.1
