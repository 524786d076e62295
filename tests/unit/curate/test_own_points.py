"""Points of one's own tasks: values, classes, labels and splits in the columns of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.task import Task
from mmearth.curate.labels.points import point_labels
from mmearth.curate.places import PointsPlaces
from mmearth.curate.source import Label
from mmearth.tests.own_config import GRID, task_of

CROP = task_of(classes={1: "winter wheat", 2: "maize", -3: "rice"})
TEXTURE = task_of(outputs=["sand", "silt", "clay"], unit="%", valid=[0, 100])
BIRDS = task_of(labels=["Owl", "jay", "tit"])


def _labels(directory: Path, task: Task, text: str, **keys: Any) -> list[Label]:
    """Return the labels of rows, each of them `column,column …` after its place."""
    head, *rows = text.splitlines()
    lines = [f"lon,lat,{head}", *(f"{8 + i},50,{row}" for i, row in enumerate(rows))]
    (directory / "p.csv").write_text("\n".join(lines) + "\n")
    split = keys.pop("split", None)
    config = PointsPlaces.model_validate({"path": "p.csv", **keys})
    return point_labels(task, config, directory, GRID, split)


def _names(directory: Path, task: Task, text: str, **keys: Any) -> list[tuple[str, ...] | None]:
    return [label.labels for label in _labels(directory, task, text, **keys)]


def test_one_value_is_the_label_s_own(tmp_path: Path) -> None:
    task = task_of(unit="t/ha", valid=[0, 20])
    assert _labels(tmp_path, task, "y\n3.5\n\n7", value="y") == [
        Label(8.0, 50.0, 3.5),
        Label(9.0, 50.0, None),
        Label(10.0, 50.0, 7.0),
    ]


def test_several_values_go_by_the_outputs_and_not_by_the_table(tmp_path: Path) -> None:
    keys = ["s", "u", "c"]
    found = _labels(tmp_path, TEXTURE, "c,s,u\n10,60,30\n,60,30\n1,2,97", values=keys)
    assert [label.values for label in found] == [(60.0, 30.0, 10.0), None, (2.0, 97.0, 1.0)]
    assert {label.value for label in found} == {None}


def test_several_values_may_have_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lon;lat;s;u;c\n8,5;50;60,5;30;9,5\n")
    config = PointsPlaces(path="p.csv", values=("s", "u", "c"))
    assert point_labels(TEXTURE, config, tmp_path, GRID) == [
        Label(8.5, 50.0, values=(60.5, 30.0, 9.5))
    ]


def test_a_row_with_some_of_its_values_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    _labels(tmp_path, TEXTURE, "s,u,c\n60,30,10\n60,,10\n,,", values=["s", "u", "c"])
    assert "tasks.own: p.csv: 1 rows have some of 3 values: they count as without" in caplog.text


def test_a_class_by_name_by_code_and_by_a_code_with_a_point(tmp_path: Path) -> None:
    cells = ["Winter_Wheat", " winter  wheat ", "1", "2.0", "maize", "-3", "-3.0", "", "NA"]
    found = _names(tmp_path, CROP, "\n".join(["crop", *cells]), value="crop")
    wheat, maize, rice = ("winter wheat",), ("maize",), ("rice",)
    assert found == [wheat, wheat, wheat, maize, maize, rice, rice, None, None]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("3", "line 2, column 'crop': found '3', and '3' is no class of the task; expected one of"),
        ("2.5", "'2.5' is no class"),
        ("Maiz", "'Maiz' is no class of the task .did you mean 'maize'"),
        ("0", "'0' is no class"),
    ],
)
def test_what_is_no_class(cell: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        _labels(tmp_path, CROP, f"crop\n{cell}", value="crop")


def test_rows_that_contradict_each_other_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "p.csv").write_text("lon,lat,c\n8,50,1\n8,50,2\n9,50,1\n9,50,1\n7,50,\n7,50,2\n")
    point_labels(CROP, PointsPlaces(path="p.csv", value="c"), tmp_path, GRID)
    assert "1 places have several classes, such as 8 50: maize, winter wheat; one" in caplog.text


@pytest.mark.parametrize(
    "cell",
    [
        "tit;OWL",
        '"tit,owl"',
        "tit|owl",
        '"[""tit"", ""owl""]"',
        "\"['owl', 'tit']\"",
        "owl;;tit;owl",
    ],
)
def test_labels_as_lists(cell: str, tmp_path: Path) -> None:
    text = f"b\n{cell}\n[]\n\njay"
    found = _names(tmp_path, BIRDS, text, labels="b")
    assert found == [("Owl", "tit"), (), None, ("jay",)]


def test_a_column_per_label(tmp_path: Path) -> None:
    text = "TIT,owl,jay\n1,0,true\nno,YES,f\n0,0,0\n1.0,0.0,n\n,,\n1,,0"
    found = _names(tmp_path, BIRDS, text, labels=["TIT", "owl", "jay"])
    # The last row does not say whether there was an owl.
    assert found == [("jay", "tit"), ("Owl",), (), ("tit",), None, None]


def test_codes_and_marks_of_a_table_with_decimal_commas(tmp_path: Path) -> None:
    """As pandas writes whole numbers of a column with a gap."""
    text = "lon;lat;crop;owl;jay;tit\n8,5;50;2,0;1,0;0,0;0,0\n9,5;50;;;;\n"
    (tmp_path / "p.csv").write_text(text)
    for task, keys, expected in (
        (CROP, {"value": "crop"}, "maize"),
        (BIRDS, {"labels": ["owl", "jay", "tit"]}, "Owl"),
    ):
        config = PointsPlaces.model_validate({"path": "p.csv", **keys})
        found = point_labels(task, config, tmp_path, GRID)
        assert [label.labels for label in found] == [(expected,), None]


def test_columns_where_only_presence_is_marked(tmp_path: Path) -> None:
    found = _names(tmp_path, BIRDS, "jay,owl\nx,\n,X\n,\nx,x", labels=["jay", "owl"])
    assert found == [("jay",), ("Owl",), None, ("Owl", "jay")]


def test_rows_of_one_place_are_one_list(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lon,lat,b\n8,50,tit\n9,50,\n8,50,owl\n8,50,\n")
    config = PointsPlaces(path="p.csv", labels="b")
    found = [label.labels for label in point_labels(BIRDS, config, tmp_path, GRID)]
    assert found == [("Owl", "tit"), None, ("Owl", "tit"), ("Owl", "tit")]


@pytest.mark.parametrize(
    ("labels", "text", "said"),
    [
        ("b", "b\nowl;yay", "'yay' is no label of the task .did you mean 'jay'"),
        (["jay", "owl"], "jay,owl\n1,2", "column 'owl': found '2', expected 1 or 0, true or false"),
        (["jay", "kite"], "jay,kite\n1,0", "column 'kite' is named like no label of the task"),
        (["jay", "JAY"], "jay,JAY\n1,0", "'JAY' is named like a second 'jay'"),
        (["jay", "owl"], "jay\n1", "has no column 'owl'"),
    ],
)
def test_what_are_no_labels(labels: Any, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        _labels(tmp_path, BIRDS, text, labels=labels)


def test_rows_without_a_target_are_left_out_where_it_must_be_there(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"optional": False}
    number, crop = task_of(**keys), task_of(classes=["a", "b"], **keys)
    birds, two = task_of(labels=["a", "b"], **keys), task_of(outputs=["a", "b"], **keys)
    assert [x.value for x in _labels(tmp_path, number, "v\n\n2", value="v")] == [2.0]
    assert _names(tmp_path, crop, "v\n\nb", value="v") == [("b",)]
    assert _names(tmp_path, birds, "v\n\n[]", labels="v") == [()]
    found = _labels(tmp_path, two, "a,b\n1,\n1,2", values=["a", "b"])
    assert [x.values for x in found] == [(1.0, 2.0)]
    with pytest.raises(ConfigError, match=r"no usable row among 1 \(1 no value\)"):
        _labels(tmp_path, number, "v\n\n", value="v")


@pytest.mark.parametrize("cell", ["-9999", "-99999", "-32768", "-3.4028235e+38", "-3.40282306e38"])
def test_numbers_that_stand_for_none(cell: str, tmp_path: Path) -> None:
    two = task_of(outputs=["a", "b"])
    with pytest.raises(ConfigError, match=r"column 'b': .*no value; empty such cells") as told:
        _labels(tmp_path, two, f"a,b\n1,2\n1,{cell}", values=["a", "b"])
    assert "line 3" in str(told.value)
    with pytest.raises(ConfigError, match="empty such cells"):  # optional or not
        _labels(tmp_path, task_of(optional=False), f"v\n1\n{cell}", value="v")


def test_a_range_tells_a_value_from_none(tmp_path: Path) -> None:
    deep = task_of(unit="m", valid=[-11000, -5000])
    with pytest.raises(ConfigError, match="empty such cells"):
        _labels(tmp_path, deep, "v\n-9999", value="v")
    found = _labels(tmp_path, task_of(valid=[0, 9], optional=False), "v\n-9999\n5", value="v")
    assert [label.value for label in found] == [-9999.0, 5.0]  # which the plan counts as invalid


@pytest.mark.parametrize(
    ("task", "keys", "said"),
    [
        (CROP, {"values": ["v"]}, "tasks.own.points: values: holds no target of own; .* value:"),
        (CROP, {"labels": "v"}, "labels: holds no target of own; expected value:"),
        (TEXTURE, {"value": "v"}, "value: holds no target of own; expected values:"),
        (TEXTURE, {"values": ["v", "v", "v"]}, "names 1 columns, expected 3: sand, silt, clay"),
        (
            TEXTURE,
            {"values": ["v"]},
            "names 1 columns, expected 3: sand, silt, clay, in this order",
        ),
        (BIRDS, {"species": "v"}, "species: holds no target of own; expected labels:"),
        (BIRDS, {"value": "v"}, "expected labels:"),
        (
            task_of(),
            {"value": "v", "labels": "v"},
            "labels: holds no target of own; expected value",
        ),
        (task_of(level="pixel"), {"value": "v"}, "expected no column of a target"),
        (task_of(optional=False), {}, r"value: must name the column of .*p\.csv with own"),
        (task_of(labels=["a"], optional=False), {}, "labels: must name the column"),
        (task_of(outputs=["a", "b"], optional=False), {}, "values: must name the column"),
    ],
)
def test_the_wrong_key_for_a_kind(
    task: Task, keys: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        _labels(tmp_path, task, "v\n1", **keys)


def test_a_class_that_reads_as_an_empty_cell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="target: 'None' stands for an empty cell in tables"):
        _labels(tmp_path, task_of(classes=["None", "low"]), "c\nlow", value="c")


def test_points_in_another_crs(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lon,lat,c\n500000,5000000,1\n")
    config = PointsPlaces(path="p.csv", value="c")
    with pytest.raises(ConfigError, match="no degrees: say crs: with the EPSG code"):
        point_labels(CROP, config, tmp_path, GRID)
    told = config.model_copy(update={"crs": "EPSG:32633"})
    (found,) = point_labels(CROP, told, tmp_path, GRID)
    assert found.lon == pytest.approx(15.0, abs=1e-9)
    assert found.lat == pytest.approx(45.153, abs=0.001)


def test_the_table_s_own_splits(tmp_path: Path) -> None:
    words = ["train", "Training", "VAL", "validation", "dev", "test", "geographic_test"]
    rows = "\n".join(f"1,{word}" for word in words)
    found = _labels(tmp_path, task_of(), f"v,s\n{rows}", value="v", split="s")
    assert [label.split for label in found] == [
        *("train", "train", "val", "val", "val", "random_test", "geographic_test")
    ]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            "trainn",
            "line 3, column 's': found 'trainn' .did you mean 'train'.*; expected one of train",
        ),
        ("", "line 3, column 's': found None; expected one of train, val, random_test, geographic"),
        ("2", r"found '2'; expected one of .*test \(random_test\) and validation \(val\)"),
    ],
)
def test_what_is_no_split(cell: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        _labels(tmp_path, task_of(), f"v,s\n1,train\n1,{cell}", value="v", split="s")
