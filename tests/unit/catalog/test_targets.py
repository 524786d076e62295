"""Targets as plain values, columns and arrays: each kind of task, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmearth.catalog.errors import FormatError
from mmearth.catalog.targets import (
    TARGET_MEMBER,
    plain_target,
    target_array,
    target_field,
)
from mmearth.catalog.task import Task
from mmearth.tests.make_tiny import OWN

NUMBERS = {"sand": 60.5, "silt": 0.1, "clay": 39.4}
KINDS: list[tuple[str, Any, Any, str, pa.DataType | None]] = [
    # task, array, plain value, column, its type
    ("yields", [5.4], 5.4, "target", pa.float64()),
    (
        "texture",
        [60.5, 0.1, 39.4],
        NUMBERS,
        "texture",
        pa.struct([(name, pa.float64()) for name in NUMBERS]),
    ),
    ("crop", [7], "class 7", "crop", pa.string()),
    ("birds", [0, 1, 1], ["rook", "swift"], "birds", None),
    ("birds", [0, 0, 0], [], "birds", pa.list_(pa.string())),
]


@pytest.mark.parametrize(("name", "values", "plain", "column", "kind"), KINDS)
def test_there_and_back(
    name: str, values: Any, plain: Any, column: str, kind: pa.DataType | None
) -> None:
    task = OWN.tasks[name]
    array = np.array(values, task.dtype)
    assert plain_target(task, array) == plain  # 0.1 and not 0.10000000149011612, of float32
    found = target_array(task, plain)
    assert found is not None
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    task.check(found)
    assert target_field(task).name == task.column == column
    if kind is not None:
        assert target_field(task).type == kind


@pytest.mark.parametrize("name", OWN.tasks)
def test_no_target_is_none_everywhere(name: str) -> None:
    task = OWN.tasks[name]
    assert plain_target(task, None) is None
    assert target_array(task, None) is None


@pytest.mark.parametrize("name", ["height", "landcover"])
def test_pixels_are_members(name: str) -> None:
    task = OWN.tasks[name]
    assert (task.shape, target_field(task).type) == ((32, 32), TARGET_MEMBER)
    assert plain_target(task, np.ones(task.shape, task.dtype)) is None


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("yields", "much"),
        ("yields", {}),
        ("texture", 5.0),
        ("texture", {"sand": 1.0, "silt": 2.0}),
        ("texture", {**NUMBERS, "sand": None}),
        ("crop", "class 3"),
        ("crop", 7),
        ("birds", ["dodo"]),
        ("birds", 3),
        ("birds", [[]]),
    ],
)
def test_a_value_of_another_task_is_refused(name: str, plain: Any) -> None:
    with pytest.raises(FormatError, match=rf"^{name}: .* is no target of it"):
        target_array(OWN.tasks[name], plain)


def test_a_published_task_has_the_columns_it_had(published: dict[str, Task]) -> None:
    columns = {name: task.column for name, task in published.items()}
    soils = dict.fromkeys(("soil_nitrogen", "soil_organic_carbon", "soil_pH"), "target")
    assert columns == {"biomass": "biomass", **soils, "species": "species"}
