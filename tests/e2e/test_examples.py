"""The documented examples run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmearth.cli import root

ROOT = Path(__file__).resolve().parents[2]
_CONFIG = """
name: demo
title: Enough places for the examples
source: {kind: synthetic, seed: 7}
tasks:
  soil_pH: {labels: {count: 60}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with data/demo, as the examples expect it."""
    from mmearth.build import Options, build

    path = tmp_path_factory.mktemp("examples")
    (path / "demo.yaml").write_text(_CONFIG)
    how = Options(2, "threads", None, False)
    assert build(path / "demo.yaml", path / "data" / "demo", how, lambda *_: None).exit_code == 0
    return path


def test_training_learns_something(place: Path) -> None:
    script = [sys.executable, ROOT / "examples" / "train_soil.py", "data/demo"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        script, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    errors = [float(found) for found in re.findall(r"squared error (\S+)", run.stdout)]
    assert len(errors) == 8 and errors[-1] < min(1.0, errors[0])


def _blocks(kind: str, page: str = "loaders.md") -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def test_the_page_about_loaders_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "model.yaml").write_text(_blocks("yaml")[0])
    found = {"__name__": "loaders"}
    blocks = _blocks("python")
    assert len(blocks) >= 7
    for block in blocks:
        exec(compile(block, "docs/loaders.md", "exec"), found)


def test_the_page_about_test_time_training_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "test-time-training.md"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fields.geojson").write_text(_blocks("geojson", page)[0])
    (tmp_path / "fields.yaml").write_text(_blocks("yaml", page)[0])
    for line in _blocks("sh", page)[0].splitlines():
        done = CliRunner().invoke(root, line.removeprefix("mmearth ").split())
        assert done.exit_code == 0, done.output
    found: dict[str, Any] = {"__name__": "fields"}
    for block in _blocks("python", page):
        exec(compile(block, f"docs/{page}", "exec"), found)
    assert "tensor" in capsys.readouterr().out
    assert 1 <= found["ttt"].steps <= 5 and 0 <= found["k"] <= 5
