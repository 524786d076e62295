"""Runs predict for any dataset of their layers: the numbers of the run, tables and maps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from numpy.typing import NDArray

from mmearth.benchmark import predict as predicting
from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.predictions import read_predictions
from mmearth.benchmark.results import read_results
from mmearth.benchmark.run import Step, run
from mmearth.benchmark.traces import predictions_path
from mmearth.catalog.grid import Grid
from mmearth.tests.make_tiny import OWN, make_sealed

pytestmark = pytest.mark.timeout(600)
RunCli = Callable[..., tuple[int, str, str]]
TASKS = ("texture", "crop", "height", "landcover")
SPLIT = "random_test"


def _quiet(step: Step) -> None:
    pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("own"), 20, OWN)


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    config = BenchmarkConfig(
        dataset=str(dataset),
        tasks=TASKS,
        encoders=("convnextv2_tiny_multimodal",),
        methods=("JT", "TTT-MMR", "TTT-MMR-pixels"),
        seeds=(41, 42),
        baselines=(),
        training={"epochs": 1, "batch_size": 8, "lr": 2e-3, "warmup_epochs": 0},
        adaptation={"max_steps": 1, "batch_size": 4},
    )
    run(config, out, _quiet)
    return out


def _ask(runs: Path, dataset: Path, out: Path, task: str, *more: str) -> list[str]:
    return ["benchmark", "predict", str(runs), str(dataset), "-o", str(out), "--task", task, *more]


def _of_runs(runs: Path, task: str, method: str) -> dict[str, NDArray[np.float64]]:
    """Return key → (seed, row of predictions) of what the runs themselves said of a test split."""
    found: dict[str, list[Any]] = {}
    hashes: dict[int, str] = {
        row["seed"]: row["config_hash"]
        for row in read_results(runs / "results.parquet").to_pylist()
        if (row["task"], row["method"]) == (task, method)
    }
    for seed in sorted(hashes):
        path = predictions_path(runs / "runs" / hashes[seed], SPLIT)
        said = read_predictions(path, OWN.tasks[task])
        for i, key in enumerate(said.key):
            found.setdefault(str(key), []).append(said.prediction[said.sample == i])
    return {key: np.stack(values).astype(np.float64) for key, values in found.items()}


@pytest.mark.parametrize(
    ("task", "method"),
    [*((task, "JT") for task in TASKS), ("texture", "TTT-MMR"), ("height", "TTT-MMR-pixels")],
)
def test_it_says_what_the_runs_said_of_a_test_split(
    runs: Path, dataset: Path, tmp_path: Path, run_cli: RunCli, task: str, method: str
) -> None:
    where = f"split = '{SPLIT}'"
    asked = _ask(runs, dataset, tmp_path, task, "--method", method, "--where", where)
    code, _, err = run_cli(*asked)
    assert code == 0, err
    table = pq.read_table(tmp_path / "predictions.parquet")
    expected, of = _of_runs(runs, task, method), OWN.tasks[task]
    rows = {row["key"]: row for row in table.to_pylist()}
    assert list(rows) == sorted(rows)
    assert {*expected} <= {*rows}  # the runs say nothing of samples without a label
    for key, values in expected.items():
        _compare(of, tmp_path, rows[key], values)
    losses = [(row["reconstruction_before"], row["reconstruction_after"]) for row in rows.values()]
    assert np.isfinite(losses).all()
    if method == "JT":
        assert all(before == after for before, after in losses)
    about = json.loads(table.schema.metadata[b"mmearth:predictions"])
    assert (about["method"], about["seeds"], about["where"]) == (method, [41, 42], where)
    for row in rows.values():
        pairs = zip(row["steps"], about["steps"], strict=True)
        assert all(k == (told or 0) or (told is None and k <= 1) for k, told in pairs)
    assert not (tmp_path / ".parts").exists()


def _compare(of: Any, out: Path, row: dict[str, Any], values: NDArray[np.float64]) -> None:
    """Compare a row with (seed, rows, outputs) of the runs."""
    if of.is_pixel:
        with rasterio.open(out / row["map"]) as opened:
            found = opened.read(1)
            assert opened.crs.to_epsg() == int(row["tile"].split("_")[0])
        if of.kind == "regression":
            means = values[:, :, 0].mean(axis=0)  # of labelled pixels
            assert np.isin(means.round(3), found.astype(np.float64).round(3)).mean() > 0.9
            assert row["prediction"] == pytest.approx(found.mean(), rel=1e-5)
        else:
            assert row["prediction"] is None and {*np.unique(found)} <= {*of.target.codes}
        return
    mean, spread = values[:, 0].mean(axis=0), values[:, 0].std(axis=0, ddof=1)
    if of.kind == "regression":
        said = row["prediction"] if of.column != "target" else {of.outputs[0]: row["prediction"]}
        deviation = row["spread"] if of.column != "target" else {of.outputs[0]: row["spread"]}
        assert [*said.values()] == pytest.approx([*mean], rel=1e-4, abs=1e-5)
        assert [*deviation.values()] == pytest.approx([*spread], rel=1e-3, abs=1e-5)
        return
    assert [*row["probability"].values()] == pytest.approx([*mean], abs=1e-5)
    assert row["prediction"] == of.outputs[int(mean.argmax())]


def test_places_and_a_mosaic_for_a_gis(
    runs: Path, dataset: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    assert run_cli(*_ask(runs, dataset, tmp_path, "height"))[0] == 0
    places = gpd.read_parquet(tmp_path / "predictions.parquet")
    side = OWN.grid.pixels * OWN.grid.resolution_m
    for epsg, mine in places.groupby(places["tile"].str.split("_").str[0]):
        with rasterio.open(tmp_path / f"maps/{epsg}.vrt") as mosaic:
            assert mosaic.crs.to_epsg() == int(epsg)
            for row in mine.itertuples():
                with rasterio.open(tmp_path / row.map) as tile:
                    window = mosaic.window(*tile.bounds)
                    assert (round(window.width), round(window.height)) == tile.shape
                    np.testing.assert_array_equal(mosaic.read(1, window=window), tile.read(1))
        assert mine.geometry.to_crs(int(epsg)).area.iloc[0] == pytest.approx(side**2, rel=1e-3)


def test_what_was_interrupted_goes_on(
    runs: Path, dataset: Path, tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--method", "TTT-MMR")
    assert run_cli(*_ask(runs, dataset, tmp_path / "whole", "texture", *asked))[0] == 0
    made, save = [], predicting._save

    def interrupted(path: Path, predicted: predicting.Predicted) -> None:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(path)
        save(path, predicted)

    monkeypatch.setattr(predicting, "_save", interrupted)
    out = tmp_path / "again"
    assert run_cli(*_ask(runs, dataset, out, "texture", *asked))[0] == 130
    assert not (out / "predictions.parquet").exists()
    first = [path.stat().st_mtime_ns for path in made]
    monkeypatch.setattr(predicting, "_save", save)
    again: list[Path] = []
    monkeypatch.setattr(predicting, "drop_parts", again.append)
    assert run_cli(*_ask(runs, dataset, out, "texture", *asked))[0] == 0
    assert [path.stat().st_mtime_ns for path in made] == first and again == [out]
    whole, other = ((tmp_path / n / "predictions.parquet").read_bytes() for n in ("whole", "again"))
    assert whole == other


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ((), "the runs of JT have several; say --task 'crop', 'height', "),
        (("--task", "soils"), "found no run of JT with the task 'soils'; expected 'crop', "),
        (("--task", "crop", "--method", "TTT-MMR-Geo"), "run the benchmark with that method"),
        (("--task", "crop", "--encoder", "x"), "with the encoder 'x'; expected 'convnextv2_tiny_m"),
        (("--task", "crop", "--places", "x"), "there is no task 'x'; expected one of"),
        (("--task", "crop", "--where", "nothing"), "nothing"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    runs: Path, dataset: Path, tmp_path: Path, run_cli: RunCli, more: tuple[str, ...], sentence: str
) -> None:
    out = str(tmp_path / "out")
    code, _, err = run_cli("benchmark", "predict", str(runs), str(dataset), "-o", out, *more)
    assert (code, "Traceback" in err) == (2, False)
    assert sentence in err and len(err.strip().splitlines()) == 1


def test_other_layers_or_another_grid_are_refused(
    runs: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    from dataclasses import replace

    fewer = replace(OWN, layers=dict(list(OWN.layers.items())[1:]))
    other = make_sealed(tmp_path / "fewer", 4, fewer)
    code, _, err = run_cli(*_ask(runs, other, tmp_path / "a", "crop"))
    assert code == 2 and f"differ in {next(iter(OWN.layers))}; build it with the same layers" in err
    other = make_sealed(tmp_path / "grid", 4, replace(OWN, grid=Grid(32, 10)))
    code, _, err = run_cli(*_ask(runs, other, tmp_path / "b", "crop"))
    assert (
        code == 2 and "has tiles of 32 pixels of 10 m, the runs were trained on 32 of 20 m" in err
    )
