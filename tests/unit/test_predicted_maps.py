"""Maps of predictions hold what was predicted, whatever type the target has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio

from mmearth.benchmark.predict import Made
from mmearth.catalog.layer_rules import DTYPES
from mmearth.catalog.task import Task
from mmearth.predicted_maps import map_columns
from mmearth.tests.make_tiny import OWN, classes, own_task

KEY = "32632_640000_5000000_test"


def _mapped(task: Task, seeds: list[float], out: Path) -> tuple[dict[str, Any], list[Any]]:
    """Map constant predictions, one a seed; return the table's row, and map and mosaic."""
    made = []
    size = OWN.grid.pixels
    for number, value in enumerate(seeds):
        folder = out / str(number)
        folder.mkdir(parents=True)
        values = np.full((1, size, size), value, np.float32)
        more = {name: np.zeros(1) for name in ("before", "after")}
        key, steps = np.array([KEY]), np.zeros(1, np.int32)
        np.savez(folder / "000000.npz", key=key, values=values, steps=steps, **more)
        made.append(Made(folder))
    asked: Any = SimpleNamespace(catalogue=OWN)
    columns = map_columns(asked, task, made, out)
    row = {name: column[0].as_py() for name, column in columns.items()}
    read = []
    for path in (row["map"], "maps/32632.vrt"):
        with rasterio.open(out / path) as opened:
            read.append(opened.read(1, masked=True))
    return row, read


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [-1.6, 2.25, 300.5])
def test_a_regression_is_neither_cut_nor_wrapped(tmp_path: Path, dtype: str, value: float) -> None:
    nodata = -9999.0 if dtype.startswith("float") else 127.0
    task = own_task("h", "regression", {"m": (0, 100)}, level="pixel", dtype=dtype, nodata=nodata)
    row, maps = _mapped(task, [value - 1, value + 1], tmp_path)
    for found in maps:
        assert not np.ma.is_masked(found) and np.allclose(found, value)
    assert row["prediction"] == pytest.approx(value)
    assert row["spread"] == pytest.approx(2**0.5)


@pytest.mark.parametrize("dtype", [name for name in DTYPES if not name.startswith("float")])
def test_classes_are_their_codes(tmp_path: Path, dtype: str) -> None:
    facts = {"kind": "categorical", "level": "pixel", "classes": classes(1, 2, 7)}
    task = own_task("c", "classification", {"class": (1, 7)}, dtype=dtype, nodata=0, **facts)
    row, maps = _mapped(task, [2, 2, 1], tmp_path)
    assert all(found.dtype == dtype and (found == 7).all() for found in maps)
    assert (row["prediction"], row["spread"]) == (None, pytest.approx(1 / 3))
