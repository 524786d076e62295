"""A task of each kind, on a dataset of somebody's own: trained, adapted, scored and reported."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics as sk

from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.predictions import read_predictions
from mmearth.benchmark.results import read_results
from mmearth.benchmark.run import Step, plan, run
from mmearth.benchmark.traces import BATCHES, RECONSTRUCTION, predictions_path, read_trace
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, DataError
from mmearth.cli import root
from mmearth.tests.make_tiny import OWN as SIX
from mmearth.tests.make_tiny import make_sealed

SOIL = SIX.layers["soil_map"]
BANDS = tuple(replace(SOIL.bands[0], name=name) for name in ("upper", "lower"))
OWN = Catalogue(
    SIX.grid, {**SIX.layers, "soils": replace(SOIL, name="soils", bands=BANDS)}, SIX.tasks
)
"""Beside what others have, a layer of two bands of classes."""
pytestmark = pytest.mark.timeout(600)
METHODS = ("LP", "FT", "JT", "TTT-MMR-Geo")
BASELINES = ("mean", "neighbours", "boosting")


def _config(place: Path, **keys: Any) -> BenchmarkConfig:
    given: dict[str, Any] = {
        "dataset": str(place),
        "encoders": ("convnextv2_tiny_multimodal",),
        "methods": METHODS,
        "seeds": (41,),
        "training": {"epochs": 1, "batch_size": 8, "lr": 2e-3, "warmup_epochs": 0},
        "adaptation": {"max_steps": 1, "batch_size": 4},
    }
    return BenchmarkConfig(**(given | keys))


def _quiet(step: Step) -> None:
    pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("own"), 20, OWN)


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    run(_config(dataset), out, _quiet)  # all tasks, as none is named
    return out


def _rows(out: Path) -> list[dict[str, Any]]:
    return list(read_results(out / "results.parquet").to_pylist())


def test_every_kind_has_its_scores(finished: Path) -> None:
    found = {
        (r["task"], r["method"], r["split"], r["metric"], r["output"]) for r in _rows(finished)
    }
    assert found == {
        (name, method, split, metric, output)
        for name, task in OWN.tasks.items()
        for method in (*METHODS, *BASELINES)
        for split in ("random_test", "geographic_test")
        for metric in task.metrics
        for output in (None, *(task.outputs if name == "texture" else ()))
    }


SCIKIT: dict[str, Callable[..., float]] = {
    "r2": sk.r2_score,
    "rmse": sk.root_mean_squared_error,
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "macro_f1": lambda truth, said: sk.f1_score(truth, said, average="macro"),
    "miou": lambda truth, said: sk.jaccard_score(truth, said, average="macro"),
}


@pytest.mark.parametrize("name", [name for name in OWN.tasks if name != "birds"])
def test_scores_equal_scikit_learn_over_the_whole_split(finished: Path, name: str) -> None:
    task = OWN.tasks[name]
    for row in _rows(finished):
        if row["task"] != name:
            continue
        folder = finished / "runs" / row["config_hash"]
        made = read_predictions(predictions_path(folder, row["split"]), task)
        assert len(made.key) == row["n"] == 4
        truth, said = made.target, made.prediction.astype(np.float64)
        if task.kind == "classification":
            said = made.classes
            assert task.is_pixel or made.prediction.sum(axis=1) == pytest.approx(np.ones(4))
        elif row["output"]:
            i = task.outputs.index(row["output"])
            truth, said = truth[:, i], said[:, i]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a class that is predicted and never true
            expected = SCIKIT[row["metric"]](truth, said)
        assert row["value"] == pytest.approx(expected, rel=1e-6), row


def test_joint_training_reconstructs_whichever_layers_there_are(finished: Path) -> None:
    expected = {name: "accuracy" if layer.classes else "r2" for name, layer in OWN.layers.items()}
    folders = {row["config_hash"] for row in _rows(finished) if row["method"] in METHODS[2:]}
    for folder in folders:
        rows = read_trace(finished / "runs" / folder, "reconstruction.parquet", RECONSTRUCTION)
        of_split = [row for row in rows if row["split"] == "random_test"]
        assert {row["modality"]: row["metric"] for row in of_split} == expected
        assert list(expected) == [row["modality"] for row in of_split]


def test_the_report_needs_no_dataset(dataset: Path, finished: Path) -> None:
    moved = dataset.rename(dataset.with_name("elsewhere"))
    done = CliRunner().invoke(root, ["benchmark", "report", str(finished)])
    moved.rename(dataset)
    assert done.exit_code == 0, done.output
    page = (finished / "report.md").read_text(encoding="utf-8")
    named = [OWN.tasks[name] for name in ("landcover", "texture", "crop")]
    assert all(f"| {name} " in page for task in named for name in task.outputs)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"tasks": ("crops",)},
            r"there is no task 'crops' .did you mean 'crop'.*height, landcover",
        ),
        ({"adaptation": {"held_back": ("soil",)}}, "there is no modality 'soil'"),
        ({"adaptation": {"held_back": tuple(OWN.layers)}}, "all modalities are held back"),
        ({"encoders": ("mpmae",)}, "mpmae was made for tiles of 128 pixels at 10 m, the dataset"),
        ({"encoders": ("convnextv2_tiny",)}, "wants sentinel2 B4, which the dataset has not"),
    ],
)
def test_what_the_dataset_has_not_is_refused_before_anything_runs(
    dataset: Path, tmp_path: Path, keys: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(_config(dataset, **keys), tmp_path / "out", _quiet)
    assert not (tmp_path / "out" / "runs").exists()


def test_a_folder_of_runs_of_other_tasks_is_refused(finished: Path, tmp_path: Path) -> None:
    other = make_sealed(tmp_path / "other", 10, OWN.only(OWN.layers, ("yields",)))
    with pytest.raises(ConfigError, match="other tasks or modalities; choose another folder"):
        run(_config(other), finished, _quiet)


def test_a_task_without_a_test_split_is_refused_and_one_split_is_enough(tmp_path: Path) -> None:
    few = OWN.only(("embedding",), ("yields",))
    assert {cell.task for cell in plan(_config(make_sealed(tmp_path / "4", 4, few)), tmp_path)} == {
        "yields"
    }
    with pytest.raises(ConfigError, match="yields has no sample in random_test; expected some in"):
        plan(_config(make_sealed(tmp_path / "3", 3, few)), tmp_path)
    with pytest.raises(ConfigError, match="yields has no sample in val; expected some in train"):
        plan(_config(make_sealed(tmp_path / "2", 2, few)), tmp_path)
    out = tmp_path / "out"
    run(_config(tmp_path / "4", methods=("LP",), baselines=("mean",)), out, _quiet)
    assert {row["split"] for row in _rows(out)} == {"random_test"}


def test_each_batch_chooses_for_itself(dataset: Path, tmp_path: Path) -> None:
    choices = ("held-back", "pixels", "change", "oracle")
    methods = [f"TTT-MMR-{name}" for name in choices]
    keys = {"methods": ["TTT-MMR", *methods], "tasks": ["texture"], "baselines": []}
    rates = {"convnextv2_tiny_multimodal": [1e-7, 0.5]}
    adaptation = {"max_steps": 2, "batch_size": 4, "held_back": ["climate", "zone"], "lr": rates}
    run(_config(dataset, **keys, adaptation=adaptation), tmp_path, _quiet)
    found, lr = {}, {}
    for row in read_results(tmp_path / "results.parquet").to_pylist():
        rows = read_trace(tmp_path / "runs" / row["config_hash"], "batches.parquet", BATCHES)
        found[row["method"]], lr[row["method"]] = rows, row["lr"]
        if rows:
            chosen = {each["steps"] for each in rows if each["split"] != "val"}
            assert row["steps"] == (chosen.pop() if len(chosen) == 1 else None)
    assert found.pop("JT") == [] and lr.pop("JT") is None
    assert set(found) == {"TTT-MMR", *methods} and set(lr.values()) <= {1e-7, 0.5}
    for method, rows in found.items():
        assert all((row["moved"] > 0) == (row["steps"] > 0) for row in rows)
        cosines = [row["cosine"] for row in rows if row["split"] == "val"]
        assert cosines and all(-1 <= each <= 1 for each in cosines)
        assert all(row["cosine"] is None for row in rows if row["split"] != "val")
        for row in rows:
            if method.endswith(("held-back", "pixels")):
                assert row["reconstruction_after"] <= row["reconstruction_before"]
            if method.endswith("oracle"):
                assert not row["task_loss_after"] > row["task_loss_before"]
            if method.endswith("change"):
                assert row["steps"] < 2


COLLAPSED = """
from mmearth.benchmark.encoders.scratch import ConvNeXtV2Tiny


class Constant(ConvNeXtV2Tiny):
    def __init__(self, statistics, catalogue):
        super().__init__(statistics, catalogue, multimodal=True)

    def forward(self, batch):
        return super().forward(batch) * 0 + 1
"""


@pytest.mark.parametrize("method", ["LP", "FT", "JT"])
def test_features_that_are_alike_stop_every_method(
    dataset: Path, tmp_path: Path, method: str
) -> None:
    (tmp_path / f"of_{method}.py").write_text(COLLAPSED, encoding="utf-8")
    keys = {"encoders": [f"{tmp_path}/of_{method}.py:Constant"], "methods": [method]}
    with pytest.raises(DataError, match=r"features of \d+ samples are alike"):
        run(_config(dataset, **keys, tasks=["texture"], baselines=[]), tmp_path / "out", _quiet)
    assert not list(tmp_path.glob("out/runs/*/best.pt"))
