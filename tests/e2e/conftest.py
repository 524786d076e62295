"""One dataset for all examples and pages."""

from __future__ import annotations

from pathlib import Path

import pytest

_CONFIG = """
name: demo
title: Enough places for the examples
source: {kind: synthetic, seed: 7}
tasks:
  soil_pH: {labels: {count: 60}}
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with data/demo, as the examples expect it."""
    from mmearth.build import Options, build

    path = tmp_path_factory.mktemp("examples")
    (path / "demo.yaml").write_text(_CONFIG)
    how = Options(2, "threads", None, False)
    assert build(path / "demo.yaml", path / "data" / "demo", how, lambda *_: None).exit_code == 0
    return path
