"""The example script runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.performance  # forty seconds of a core
def test_the_study_of_adaptation_in_little(tmp_path: Path) -> None:
    build = yaml.safe_load((ROOT / "examples" / "adaptation-study.yaml").read_text())
    build["tasks"]["soil_pH"]["labels"]["count"] = 40
    matrix = yaml.safe_load((ROOT / "examples" / "adaptation-study-benchmark.yaml").read_text())
    matrix |= {"dataset": str(tmp_path / "data" / "haze"), "seeds": [41]}
    matrix["encoders"] = [str(ROOT / name) for name in matrix["encoders"][::2]]
    matrix["training"] |= {"epochs": 1}
    for name, document in (("build", build), ("benchmark", matrix)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    script = [sys.executable, ROOT / "examples" / "adaptation_study.py", "out", "--jobs", "1"]
    script += ["--build", "build.yaml", "--benchmark", "benchmark.yaml"]
    run = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    rows = (tmp_path / "out" / "study.md").read_text().splitlines()[2:]
    assert "".join(row[2] for row in rows) == "012234455"
    clean, undone = re.findall(r"(\S+) → (\S+)", rows[1])[0]
    assert clean == undone  # the oracle gives the clean score back
