"""A label's target, in the one form that tables have."""

from __future__ import annotations

from typing import Any

import pytest

from mmearth.curate.source import Label, label_target
from mmearth.tests.make_tiny import OWN


@pytest.mark.parametrize(
    ("name", "given", "plain"),
    [
        ("yields", {"value": 5.4}, 5.4),
        ("texture", {"values": (60.5, 0.1, 39.4)}, {"sand": 60.5, "silt": 0.1, "clay": 39.4}),
        ("texture", {"values": (1.0, None, 2.0)}, None),  # half a target is none
        ("crop", {"labels": ("class 7",)}, "class 7"),
        ("crop", {"labels": ()}, None),
        ("birds", {"labels": ("swift", "rook", "swift")}, ["rook", "swift"]),  # the task's order
        ("birds", {"labels": ()}, []),
        ("height", {}, None),
    ],
)
def test_each_kind(name: str, given: dict[str, Any], plain: Any) -> None:
    assert label_target(OWN.tasks[name], Label(10, 50, **given)) == plain


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("texture", {"values": (1.0, 2.0)}),
        ("texture", {"values": (1.0, 2.0, 3.0, 4.0)}),
        ("crop", {"labels": ("class 1", "class 2")}),
        ("birds", {"labels": ("wren", "dodo")}),
    ],
)
def test_a_target_of_another_task(name: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"argument|values|not in"):
        label_target(OWN.tasks[name], Label(10, 50, **given))
