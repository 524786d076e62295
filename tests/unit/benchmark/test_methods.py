"""Methods by name and by place, and how the matrix treats those of other packages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmearth.benchmark.config import METHODS as NAMES
from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.matrix import cells, setting
from mmearth.benchmark.methods import METHODS, method
from mmearth.catalog.errors import ConfigError


def test_the_names_of_the_configuration_are_those_of_the_table() -> None:
    assert tuple(METHODS) == NAMES
    assert method("JT") is METHODS["JT"]


def test_a_place_leads_to_a_function() -> None:
    assert method("json:dumps") is json.dumps
    with pytest.raises(ConfigError, match="the method json:nothing cannot be imported"):
        method("json:nothing")
    with pytest.raises(ConfigError, match="the method sys:maxsize is int, expected Job"):
        method("sys:maxsize")


def test_runs_of_a_method_depend_on_its_file_and_on_the_percentage(tmp_path: Path) -> None:
    place = f"{tmp_path}/mine.py:train"
    (tmp_path / "mine.py").write_text("def train(job): ...\n")
    document = {"dataset": "d", "tasks": ["soil_pH"], "encoders": ["convnextv2_tiny"]}
    more = {"methods": [place, "JT"], "fractions": [5, 100], "seeds": [1], "baselines": []}
    config = BenchmarkConfig.model_validate({**document, **more})
    found = cells(config)
    assert [(cell.method, cell.fraction) for cell in found] == [
        (place, 5),
        (place, 100),
        ("JT", 100),
    ]
    before = [setting(config, "hash", cell).config_hash for cell in found]
    (tmp_path / "mine.py").write_text("def train(job): return 1\n")
    after = [setting(config, "hash", cell).config_hash for cell in found]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]
