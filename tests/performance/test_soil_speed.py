"""How long a table as long as that of WoSIS takes: 500,000 layers, 17 columns, 150 MB."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.labels.soil import soil_labels
from mmearth.curate.places import SoilPlaces

_ROWS = 500_000


def _write(path: Path) -> None:
    draw = np.random.default_rng(1)
    upper = draw.integers(-5, 40, _ROWS)
    columns: dict[str, object] = {
        "profile_id": np.arange(_ROWS) // 3,
        "layer_id": np.arange(_ROWS),
        "upper_depth": upper,
        "lower_depth": upper + draw.integers(1, 20, _ROWS),
        "value_avg": draw.uniform(0, 100, _ROWS).round(2),
        "positional_uncertainty": draw.choice(["Circa 100 m", "100 m - 1 km"], _ROWS),
        "longitude": draw.uniform(-180, 180, _ROWS).round(5),
        "latitude": draw.uniform(-60, 80, _ROWS).round(5),
    }
    columns |= {f"text_{i}": "sample pretreatment = sieved, 2 mm" for i in range(9)}
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)


@pytest.mark.performance
def test_a_table_as_long_as_wosis(tmp_path: Path) -> None:
    path = tmp_path / "w.tsv"
    _write(path)
    begin = time.perf_counter()
    labels = soil_labels(
        MMEARTH_BENCH.tasks["soil_organic_carbon"], SoilPlaces(path="w.tsv"), tmp_path
    )
    ours = time.perf_counter() - begin

    begin = time.perf_counter()
    frame = pd.read_csv(path, sep="\t")
    near = frame["positional_uncertainty"] == "Circa 100 m"
    kept = frame[(frame["upper_depth"] >= 0) & (frame["lower_depth"] <= 5) & near]
    theirs = time.perf_counter() - begin
    print(f"\n{_ROWS:,} layers, {path.stat().st_size / 1e6:.0f} MB: {ours:.2f} s", end="")
    print(f", pandas {theirs:.2f} s, {len(labels)} labels")
    assert [label.value for label in labels] == kept["value_avg"].tolist()
    assert ours < 5.0
