"""The example script runs as it stands."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_training_learns_something(place: Path) -> None:
    script = [sys.executable, ROOT / "examples" / "train_soil.py", "data/demo"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        script, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    errors = [float(found) for found in re.findall(r"squared error (\S+)", run.stdout)]
    assert len(errors) == 8 and errors[-1] < min(1.0, errors[0])


def study(tmp_path: Path, places: int, jobs: int, **changed: Any) -> dict[tuple[str, str], Row]:
    """Run the study of adaptation with fewer places or changes of its matrix; return its rows."""
    build = yaml.safe_load((ROOT / "examples" / "adaptation-study.yaml").read_text())
    build["tasks"]["soil_pH"]["labels"]["count"] = places
    matrix = yaml.safe_load((ROOT / "examples" / "adaptation-study-benchmark.yaml").read_text())
    matrix |= {"dataset": str(tmp_path / "data" / "haze")}
    matrix["training"] |= changed.pop("training", {})
    matrix |= changed
    matrix["encoders"] = [str(ROOT / name) for name in matrix["encoders"]]
    for name, document in (("build", build), ("benchmark", matrix)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    script = [sys.executable, ROOT / "examples" / "adaptation_study.py", "out", "--jobs", str(jobs)]
    script += ["--build", "build.yaml", "--benchmark", "benchmark.yaml"]
    run = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    ElementTree.parse(tmp_path / "out" / "study.svg")
    lines = (tmp_path / "out" / "study.md").read_text().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {
        (name, encoder): Row(*map(float, re.findall(r"-?\d\.\d+", f"{r2} {difference}")))
        for name, encoder, r2, difference, *_ in cells
    }


class Row(NamedTuple):
    """A line of study.md."""

    before: float
    after: float
    difference: float
    low: float = math.nan
    high: float = math.nan


def test_the_study_of_adaptation_in_little(tmp_path: Path) -> None:
    encoders = [f"examples/study_encoders.py:{name}" for name in ("Sentinel2", "Everything")]
    shorter = {"epochs": 3, "warmup_epochs": 1}
    found = study(tmp_path, 500, 1, encoders=encoders, seeds=[41], training=shorter)
    assert "".join(name[0] for name, _ in found) == "01223445566"
    of = {name: row for (name, _), row in found.items() if name[0] < "4"}
    assert of["0 haze − clean"].difference < -0.1
    assert of["1 haze undone − clean"].difference == 0
    assert of["2 TTT-MMR − JT"].difference > 0
    assert of["2 TTT-MMR-Geo − JT"].difference > 0


@pytest.mark.performance
@pytest.mark.timeout(3600)
def test_a_quarter_of_the_study_of_adaptation(tmp_path: Path) -> None:
    found = study(tmp_path, 1800, 2, seeds=[41, 42, 43])
    for (name, encoder), row in found.items():
        sys.stdout.write(f"\n{name}, {encoder}: {row}")
        if name[0] == "0":
            assert row.difference < 0
        elif name[0] == "1":
            assert abs(row.difference) < 1e-3
        elif name[0] == "2":
            assert row.difference > 0
        elif name[0] == "3":
            assert row.difference < found["2 TTT-MMR-Geo − JT", encoder].difference
