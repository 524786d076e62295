"""Which layers and tasks are possible: each rule, and what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mmearth.catalog.layer import Band
from mmearth.catalog.layer_rules import impossible, impossible_task
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.make_tiny import OWN, classes


@pytest.mark.parametrize("catalogue", [OWN, MMEARTH_BENCH])
def test_what_is_published_and_what_tests_make_is_possible(catalogue: Any) -> None:
    assert [impossible(layer) for layer in catalogue.layers.values() if impossible(layer)] == []
    assert [impossible_task(t) for t in catalogue.tasks.values() if impossible_task(t)] == []


def _bands(valid: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {"bands": (Band("a", "m", valid, **more),)}


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("embedding", {"dtype": "float16"}, "dtype is 'float16', expected one of uint8, int8"),
        ("embedding", {"dtype": "int64"}, "dtype is 'int64'"),
        ("embedding", {"bands": ()}, "it has 0 bands, expected 1 to 1024"),
        ("embedding", {"bands": (Band("a", "m", (0, 1)),) * 2}, "two bands have one name"),
        ("embedding", {"bands": (Band(" ", "m", (0, 1)),)}, "or one has none"),
        ("embedding", {"nodata": 0.1}, "nodata 0.1 is no float32"),
        ("embedding", {"nodata": 1e39}, "nodata 1e+39 is no float32"),
        ("landsat", {"nodata": -1}, "nodata -1 is no uint16"),
        ("landsat", {"nodata": 0.5}, "nodata 0.5 is no uint16"),
        ("embedding", _bands((1, 1)), "band a: valid is 1 to 1, expected a lowest and a higher"),
        ("embedding", _bands((2, 1)), "band a: valid is 2 to 1"),
        ("embedding", _bands((0, 1e39)), "band a: valid is 0 to 1e+39, which float32 cannot hold"),
        ("landsat", _bands((0, 65536)), "which uint16 cannot hold"),
        ("landsat", _bands((0.5, 9)), "which uint16 cannot hold"),
        ("embedding", _bands((0, 1), scale=0.0), "band a: scale is 0, expected another number"),
        ("embedding", _bands((0, 1), native_m=0.0), "native_m or wavelength_nm is not above 0"),
        ("embedding", _bands((0, 1), wavelength_nm=-5.0), "is not above 0"),
        ("embedding", {"kind": "categorical"}, "float32; expected whole numbers"),
        ("embedding", {"classes": classes(1, 2)}, "it has classes, and is continuous; expected k"),
        ("soil_map", {"classes": ()}, "it has 0 classes, expected 1 to 65536"),
        ("soil_map", {"classes": classes(1, 7, 2)}, "its class codes do not rise"),
        ("soil_map", {"classes": classes(1, 2, 2, 7)}, "its class codes do not rise"),
        ("soil_map", {"classes": classes(2, 7)}, "valid is not 2 to 7, from the first class code"),
        ("soil_map", {"nodata": 2}, "nodata 2 is a class code; choose another"),
        (
            "soil_map",
            {"classes": tuple(replace(each, name="same") for each in classes(1, 2, 7))},
            "two classes have one name",
        ),
        (
            "soil_map",
            {"classes": tuple(replace(each, color="red") for each in classes(1, 2, 7))},
            "a class colour is not like #1f77b4",
        ),
    ],
)
def test_layers_that_cannot_be(name: str, changes: dict[str, Any], reason: str) -> None:
    found = impossible(replace(OWN.layers[name], **changes))
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("embedding", _bands((0.0, 0.3))),  # no float32, but a limit
        ("landsat", {"nodata": 9}),  # a value among others that means absent
        ("soil_map", {"nodata": 3}),  # between two codes
        ("soil_map", {"nodata": None}),
    ],
)
def test_layers_that_can_be(name: str, changes: dict[str, Any]) -> None:
    assert impossible(replace(OWN.layers[name], **changes)) is None


@pytest.mark.parametrize(
    ("name", "changes", "target", "reason"),
    [
        (
            "yields",
            {"name": "harvest"},
            {},
            "its target is named 'yields', expected the task's na",
        ),
        ("height", {"kind": "multilabel"}, {}, "it is multilabel, and its target has the level pi"),
        ("crop", {"kind": "regression"}, {}, "it is regression, and its target has 3 classes"),
        ("yields", {"kind": "classification"}, {}, "it is classification, and its target has 0 cl"),
        ("birds", {}, {"classes": classes(0, 2)}, "the classes of its target are not 0 and 1"),
        ("birds", {"kind": "classification"}, {}, "its target has 3 bands, expected 1"),
        ("texture", {}, {"level": "pixel"}, "its target has 3 bands, expected 1"),
        ("yields", {"metrics": ()}, {}, "metrics is empty, expected some of r2, rmse"),
        ("yields", {"metrics": ("miou",)}, {}, "metrics is miou, expected some of r2, rmse"),
        ("yields", {}, {"dtype": "complex64"}, "dtype is 'complex64'"),
    ],
)
def test_tasks_that_cannot_be(
    name: str, changes: dict[str, Any], target: dict[str, Any], reason: str
) -> None:
    task = OWN.tasks[name]
    found = impossible_task(replace(task, target=replace(task.target, **target), **changes))
    assert found is not None
    assert reason in found
