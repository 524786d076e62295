"""A matrix is run, killed, run again, shared by ranks: always the same results."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mmearth.benchmark.cli import _tell
from mmearth.benchmark.config import BenchmarkConfig, load_config
from mmearth.benchmark.matrix import Cell, cells, parse_shard, shard_of
from mmearth.benchmark.results import COST, read_results
from mmearth.benchmark.run import Step, plan, run
from mmearth.benchmark.training import learning_rate
from mmearth.catalog.errors import ConfigError
from mmearth.cli import root
from mmearth.loaders.dataset import open_dataset
from mmearth.tests.make_tiny import make_sealed

pytestmark = pytest.mark.timeout(600)
METHODS = ["LP", "FT", "JT", "TTT-MMR", "TTT-MMR-Geo"]
TRAINING = {"epochs": 2, "batch_size": 8, "lr": 2e-3, "warmup_epochs": 1}


def _config(place: Path, **keys: Any) -> dict[str, Any]:
    return {
        "dataset": str(place),
        "tasks": ["biomass", "species"],
        "encoders": ["convnextv2_tiny_multimodal"],
        "methods": METHODS,
        "seeds": [41],
        "training": TRAINING,
        "adaptation": {"max_steps": 2, "batch_size": 2},
        **keys,
    }


def _quiet(step: Step) -> None:
    pass


def _numbers(out: Path) -> list[dict[str, Any]]:
    rows = read_results(out / "results.parquet").to_pylist()
    return [{k: repr(v) for k, v in row.items() if k not in COST} for row in rows]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples or more of every task and split."""
    return make_sealed(tmp_path_factory.mktemp("tiny"), 60)


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    run(BenchmarkConfig(**_config(dataset)), out, _quiet)
    return out


def test_every_run_has_its_rows(dataset: Path, finished: Path) -> None:
    config = BenchmarkConfig(**_config(dataset))
    rows = read_results(finished / "results.parquet").to_pylist()
    found = {(row["task"], row["method"], row["split"]) for row in rows}
    methods = [*METHODS, "mean", "neighbours", "boosting"]
    splits = ["random_test", "geographic_test"]
    assert found == {(t, m, s) for t in config.tasks for m in methods for s in splits}
    assert plan(config, finished) == []
    for row in rows:
        assert row["value"] != row["value"] or row["low"] <= row["value"] <= row["high"]
        assert (row["steps"] is not None) == row["method"].startswith("TTT")
    for folder in (finished / "runs").iterdir():
        assert {path.name for path in (folder / "predictions").iterdir()} == {
            "random_test.parquet",
            "geographic_test.parquet",
        }


def test_the_report_is_written(finished: Path) -> None:
    done = CliRunner().invoke(root, ["benchmark", "report", str(finished)])
    assert done.exit_code == 0, done.output
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "TTT-MMR-Geo" in page and "biomass" in page
    assert "http://" not in page.replace("http://www.w3.org", "")  # self-contained


def test_a_second_run_makes_nothing(dataset: Path, finished: Path) -> None:
    before = (finished / "results.parquet").read_bytes()
    said: list[Step] = []
    run(BenchmarkConfig(**_config(dataset)), finished, said.append)
    assert said == [Step(0, 0)]
    assert (finished / "results.parquet").read_bytes() == before


COMMAND = [sys.executable, "-m", "mmearth", "benchmark", "run"]


def test_killed_and_run_again_it_is_the_same(dataset: Path, finished: Path, tmp_path: Path) -> None:
    config = tmp_path / "matrix.yaml"
    config.write_text(yaml.safe_dump(_config(dataset)))
    command = [*COMMAND, str(config), "-o", str(tmp_path / "out")]
    for i in range(4):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
            time.sleep(6.0 + 3.7 * i)
            process.kill()
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert _numbers(tmp_path / "out") == _numbers(finished)


def test_two_ranks_find_what_one_finds(dataset: Path, finished: Path, tmp_path: Path) -> None:
    config = tmp_path / "matrix.yaml"
    config.write_text(yaml.safe_dump(_config(dataset, tasks=["biomass"])))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", *COMMAND[2:], str(config), "-o", str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    both = [_values(out) for out in (tmp_path / "out", finished)]
    assert both[0].keys() <= both[1].keys()
    for name, value in both[0].items():
        assert value == pytest.approx(both[1][name], rel=2e-3, abs=2e-3, nan_ok=True), name


def _values(out: Path) -> dict[tuple[str, ...], float]:
    rows = read_results(out / "results.parquet").to_pylist()
    return {(r["task"], r["method"], r["split"], r["metric"]): r["value"] for r in rows}


COUNTING = """
from mmearth.benchmark.encoders.scratch import ConvNeXtV2Tiny

N_TILES = []


class Counting(ConvNeXtV2Tiny):
    def forward(self, batch):
        N_TILES.append(len(batch["sentinel2"]))
        return super().forward(batch)
"""


def test_a_probe_sees_each_sample_once(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING, encoding="utf-8")
    encoder = f"{tmp_path / 'counting.py'}:Counting"
    keys = {"encoders": [encoder], "methods": ["LP"], "tasks": ["species"], "baselines": []}
    config = BenchmarkConfig(
        **_config(dataset, **keys, training={**TRAINING, "epochs": 5}, trackers=["csv"])
    )
    run(config, tmp_path / "out", _quiet)
    rows = open_dataset(str(dataset)).sql("SELECT key FROM species")
    assert sum(sys.modules["counting"].N_TILES) == rows.num_rows  # in five epochs
    (curves,) = tmp_path.glob("out/runs/*/tracked/version_0/metrics.csv")
    assert len(curves.read_text(encoding="utf-8").splitlines()) == 1 + 5 + 1


def test_progress_says_what_was_not_adapted(capsys: pytest.CaptureFixture[str]) -> None:
    cell = Cell("soil_pH", "tiny", "TTT-MMR", 100, 41)
    for steps in (0, 3, None):
        _tell(Step(2, 2, cell, 5.0, 0.0, steps))
    said = [line.partition(" took ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["5 s, K = 0: not adapted", "5 s, K = 3", "5 s"]


def test_a_compiled_step_finds_what_a_plain_one_does(
    dataset: Path, finished: Path, tmp_path: Path
) -> None:
    keys = {"methods": ["FT"], "tasks": ["species"], "baselines": []}
    training = {**TRAINING, "compile": True}
    run(BenchmarkConfig(**_config(dataset, **keys, training=training)), tmp_path, _quiet)
    compiled, plain = _values(tmp_path), _values(finished)
    assert len(compiled) == 4
    for name, value in compiled.items():
        assert value == pytest.approx(plain[name], rel=1e-2, abs=1e-2, nan_ok=True), name


def test_shards_are_all_and_families_stay_together(dataset: Path) -> None:
    every = cells(BenchmarkConfig(**_config(dataset, seeds=[1, 2, 3])))
    parts = [shard_of(every, i, 3) for i in (1, 2, 3)]
    assert sorted(map(str, every)) == sorted(str(cell) for part in parts for cell in part)
    for part in parts:
        for cell in part:
            assert not cell.method.startswith("TTT") or cell.jt in part


def test_the_order_of_seeds_decides_nothing(dataset: Path) -> None:
    one, other = (
        cells(BenchmarkConfig(**_config(dataset, seeds=seeds))) for seeds in ([1, 2], [2, 1])
    )
    assert sorted(map(str, one)) == sorted(map(str, other))


def test_a_dry_run_shows_what_is_missing(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "matrix.yaml"
    config.write_text(yaml.safe_dump(_config(dataset, methods=["TTT-MMR"], tasks=["species"])))
    arguments = ["benchmark", "run", str(config), "-o", str(tmp_path / "out"), "--dry-run"]
    done = CliRunner().invoke(root, arguments)
    assert done.exit_code == 0, done.output
    assert "species · convnextv2_tiny_multimodal · JT · 100 % · 41" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"encoders": ["resnet"]}, "there is no encoder 'resnet'"),
        ({"encoders": ["no.such:Class"]}, "cannot be imported"),
        ({"tasks": ["soil_nitrogen"]}, "there is no task 'soil_nitrogen'"),
        ({"dataset": "nowhere"}, "nowhere"),
        ({"weights": "published"}, "has no published weights"),
    ],
)
def test_what_cannot_be_run(
    dataset: Path, tmp_path: Path, keys: dict[str, Any], sentence: str
) -> None:
    config = BenchmarkConfig(**_config(dataset, baselines=[], **keys))
    with pytest.raises(ConfigError, match=sentence):
        run(config, tmp_path / "out", _quiet)


@pytest.mark.parametrize("text", ["epocs: 3", "methods: [SGD]", "- a", "fractions: [7]", "a: [1"])
def test_a_wrong_configuration_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"wrong\.yaml"):
        load_config(path)
    with pytest.raises(ConfigError, match="expected i/n"):
        parse_shard("3/2")


def test_the_learning_rate_is_the_published_one() -> None:
    training = BenchmarkConfig(dataset="d", encoders=("e",)).training
    rates = [learning_rate(step, 7, training) for step in range(700)]
    assert rates[0] == pytest.approx(1e-6)
    assert max(rates) == pytest.approx(1e-4) and rates.index(max(rates)) == 70
    assert rates[35] == pytest.approx(1e-6 + 0.5 * 99e-6)
    assert rates[70 + 315] == pytest.approx(1e-6 + 0.5 * 99e-6)
    assert rates[-1] == pytest.approx(1e-6, abs=1e-8)
