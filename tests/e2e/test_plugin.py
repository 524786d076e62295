"""The package of docs/your-own.md, installed from a folder: its source builds, its encoder runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmearth.tests.e2e.test_pages import ROOT, write_files

Ask = Callable[..., str]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Run mmearth where the package is installed, in a folder without its files."""
    source, site, here = (tmp_path / name for name in ("source", "site", "here"))
    source.mkdir()
    here.mkdir()
    write_files(ROOT / "docs" / "your-own.md", source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [*pip, "--no-compile", "--no-build-isolation", "--target", site, source],
        check=True,
        capture_output=True,
    )
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mmearth", *arguments],
            cwd=here,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for name in ("hills.yaml", "matrix.yaml"):
        text = (source / name).read_text(encoding="utf-8")
        for place, plugged in (
            ('"hills.py:Hills"', "hills"),
            ('"patches.py:Patches"', "patches"),
            ('"gently.py:fine_tune_gently"', "gently"),
            ("[FT, gently]", "[gently]"),
        ):
            text = text.replace(place, plugged)
        assert ".py" not in text
        (here / name).write_text(text, encoding="utf-8")
    return run


def test_a_package_brings_a_source_an_encoder_and_a_method(ask: Ask, tmp_path: Path) -> None:
    told = json.loads(ask("doctor", "--offline", "--json"))["plugins"]
    assert [(each["name"], each["package"], each["problem"]) for each in told] == [
        ("hills", "hills 1.0", None),
        ("patches", "hills 1.0", None),
        ("gently", "hills 1.0", None),
    ]
    encoders = json.loads(ask("benchmark", "list", "--json"))
    assert encoders[-1] == {
        **{"name": "patches", "title": "patches:Patches", "weights": "none"},
        "state": "of hills 1.0",
    }
    ask("curate", "build", "hills.yaml", "-o", "data/hills", "--workers", "2")
    observed = pq.read_table(tmp_path / "here" / "data" / "hills" / "observations.parquet")
    assert set(observed["source"].to_pylist()) == {"hills 1", None}  # none where there are no hills
    ask("benchmark", "run", "matrix.yaml", "-o", "runs")
    results = pq.read_table(tmp_path / "here" / "runs" / "results.parquet").to_pylist()
    runs = {(row["encoder"], row["method"]) for row in results}
    assert runs == {("patches", "gently"), ("baseline", "mean")}
