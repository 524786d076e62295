"""The example script runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

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
