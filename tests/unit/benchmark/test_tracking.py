"""Curves go where a run says, and decide no number."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.intervals import Score
from mmearth.benchmark.matrix import Cell, setting
from mmearth.benchmark.tracking import TRACKERS, finish, track, trackers
from mmearth.catalog.errors import ConfigError

CELL = Cell("soil_pH", "convnextv2_tiny", "FT", 100, 41)


def test_epochs_and_scores_are_lines_of_a_table(tmp_path: Path) -> None:
    loggers = trackers(["csv"], tmp_path, CELL)
    for epoch in range(3):
        track(loggers, {"loss": 1.0 / (epoch + 1), "validation": 0.1 * epoch}, epoch)
    finish(loggers, {"random_test": [Score("r2", 0.5, 0.4, 0.6, 20)]}, 3)
    lines = (tmp_path / "tracked/version_0/metrics.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5
    assert set(lines[0].split(",")) == {"loss", "validation", "step", "random_test/r2"}
    assert "0.5" in lines[4].split(",")


def test_a_package_that_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightning.pytorch.loggers", None)
    with pytest.raises(ConfigError, match="the tracker wandb cannot be made"):
        trackers(["wandb"], tmp_path, CELL)


def test_trackers_are_no_part_of_a_runs_name() -> None:
    configs = [
        BenchmarkConfig(dataset="d", encoders=("convnextv2_tiny",), trackers=names)
        for names in ((), tuple(TRACKERS))
    ]
    assert len({setting(config, "hash", CELL).config_hash for config in configs}) == 1


def test_the_file_of_a_users_encoder_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    cell = Cell("soil_pH", f"{path}:Mine", "FT", 100, 41)
    config = BenchmarkConfig(dataset="d", encoders=(cell.encoder,))
    hashes = set()
    for text in ("width = 1", "width = 2", "width = 1"):
        path.write_text(text, encoding="utf-8")
        hashes.add(setting(config, "hash", cell).config_hash)
    assert len(hashes) == 2
