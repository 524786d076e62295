"""What a GPU needs, shown without one; none of it says how fast anything is.

The meta device holds shapes and no values: what runs there asks for no value, so no step waits for
the device, and mixes no tensors of two devices. A log of operations shows that a step is the same
whatever the batch holds, as a CUDA graph wants it. bf16 is that of the CPU. Copies from pinned
memory, and graphs themselves, are in tests/gpu alone.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmearth.benchmark.cli import cli
from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.decoders import ReconstructionHead
from mmearth.benchmark.encoders.scratch import ConvNeXtV2Tiny
from mmearth.benchmark.job import Job
from mmearth.benchmark.losses import losses_of_batch
from mmearth.benchmark.matrix import Cell
from mmearth.benchmark.methods.supervised import batches_of, loss_of
from mmearth.benchmark.methods.ttt_mmr import TTTMMR
from mmearth.benchmark.results import read_results
from mmearth.benchmark.run import run
from mmearth.benchmark.speed import speeds
from mmearth.benchmark.task_data import TaskData
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.collate import Batch
from mmearth.loaders.dataset import open_dataset
from mmearth.tests.make_tiny import make_sealed

ENCODER, TASK = "convnextv2_tiny_multimodal", "soil_pH"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_sealed(tmp_path_factory.mktemp("tiny"), 40))


@pytest.fixture
def job(dataset: str) -> Job:
    config = BenchmarkConfig(dataset=dataset, encoders=(ENCODER,), training={"batch_size": 4})
    data = TaskData(open_dataset(dataset), MMEARTH_BENCH.tasks[TASK], 100)
    cell = Cell(TASK, ENCODER, "JT", 100, 41)
    return Job(config, cell, data, Fabric(accelerator="cpu"), Path())


def first(job: Job, reconstructs: bool = True) -> Batch:
    found: Batch = next(iter(batches_of(job, "train", "sequential", reconstructs)))
    return found


def adapting(job: Job, **options: Any) -> TTTMMR:
    """Return what adapts to batches that are not skipped where a modality is absent."""
    model = job.model(reconstructs=True)
    options = {"steps": 2, "skip_absent": False, "only_finite": True} | options
    fed: Callable[[Any], Any] = lambda batch: job.data.fed(batch, model.encoder)  # noqa: E731
    return TTTMMR(model.encoder, model.reconstruction_head, losses_of_batch, inputs=fed, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("reconstructs", [False, True])
def test_a_step_of_training_asks_for_no_value(job: Job, reconstructs: bool) -> None:
    model = job.model(reconstructs).train().to("meta")
    loss = loss_of(job, model)(model, first(job, reconstructs).to("meta"))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.is_meta
    assert all(each.grad is not None and each.grad.is_meta for each in model.parameters())


@pytest.mark.parametrize("products", ["stream", "batched"])
def test_adapting_asks_for_no_value(job: Job, products: str) -> None:
    model = job.model(reconstructs=True).to("meta")
    adapted = adapting(job, products=products).adapt(first(job).to("meta"), model.heads)
    assert adapted.prediction[0].is_meta
    assert len(adapted.predictions) == 3


class Log(TorchDispatchMode):
    """Notes every operation with the shapes that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        shapes = [tuple(each.shape) for each in args if isinstance(each, Tensor)]
        self.seen.append(f"{func} {shapes}")
        return func(*args, **(kwargs or {}))


def test_a_step_is_the_same_whatever_the_batch_holds(job: Job) -> None:
    model, logs = job.model(reconstructs=True), []
    whole = first(job)
    for absent in ((), ("sentinel1", "temperature"), tuple(whole["mask"])):
        batch = Batch(whole) | {"mask": dict(whole["mask"])}
        for name in absent:
            batch["mask"][name] = torch.zeros_like(whole["mask"][name])
        with Log() as log:
            adapting(job).adapt(batch, model.heads)
        logs.append(log.seen)
    assert len(logs[0]) > 1000
    assert logs[0] == logs[1] == logs[2]


def test_channels_last_adapts_alike(job: Job) -> None:
    head = ReconstructionHead(64, (4, 4), tuple(MMEARTH_BENCH.layers.values())).double()
    encoder = ConvNeXtV2Tiny(job.data.statistics, MMEARTH_BENCH, multimodal=True).double()
    other: Any = copy.deepcopy(encoder).to(memory_format=torch.channels_last)
    assert any(not each.is_contiguous() for each in other.parameters())
    batch = first(job)
    wide = {k: v.double() if v.is_floating_point() else v for k, v in tensors(batch).items()}
    answers = [
        TTTMMR(each, head, losses_of_batch, steps=2, products="batched").adapt(
            wide | {"mask": batch["mask"]}, lambda features: features
        )
        for each in (encoder, other)
    ]
    for one, another in zip(*(each.predictions for each in answers), strict=True):
        assert torch.allclose(one, another, rtol=1e-10, atol=1e-12)


def tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: batch[name] for name in MMEARTH_BENCH.layers}


def test_bf16_trains_and_adapts(dataset: str, tmp_path: Path) -> None:
    values = {}
    for precision in ("32-true", "bf16-mixed"):
        config = BenchmarkConfig(
            dataset=dataset,
            tasks=(TASK,),
            encoders=(ENCODER,),
            methods=("JT", "TTT-MMR"),
            seeds=(41,),
            baselines=(),
            precision=precision,
            training={"epochs": 1, "batch_size": 8, "lr": 2e-3, "warmup_epochs": 1},
            adaptation={"max_steps": 1, "batch_size": 2},
        )
        run(config, tmp_path / precision, lambda *_: None)
        rows = read_results(tmp_path / precision / "results.parquet").to_pylist()
        values[precision] = [row["value"] for row in rows if row["metric"] == "rmse"]
    assert values["32-true"] != values["bf16-mixed"]
    assert np.allclose(values["32-true"], values["bf16-mixed"], rtol=0.05)


def test_a_batch_is_sent_with_each_value_of_a_mask_once(job: Job) -> None:
    batch = first(job)
    there = job.fabric.to_device(batch)
    sent = batch.to("meta")
    assert type(there) is type(sent) is Batch
    assert there["key"] == sent["key"] == batch["key"]
    views = 0
    for name, mask in batch["mask"].items():
        assert torch.equal(there["mask"][name], mask)
        assert sent["mask"][name].shape == mask.shape
        views += 0 in mask.stride()
        assert [s == 0 for s in sent["mask"][name].stride()] == [s == 0 for s in mask.stride()]
    assert views > 3


def test_speed_is_measured_for_each_method(dataset: str) -> None:
    arguments = [dataset, "--encoder", ENCODER, "--task", TASK, "--seconds", "0.1", "--json"]
    found = CliRunner().invoke(cli, ["speed", *arguments, "--batch-size", "2"])
    rows = json.loads(found.stdout)
    assert [row["method"] for row in rows] == ["FT", "JT", "TTT-MMR, stream", "TTT-MMR, batched"]
    for row in rows:
        assert row["steps_s"] > 0.1
        assert 0 < row["waits"] < 1
        assert row["batch_size"] == 2
        assert row["tiles_s"] <= 2 * row["steps_s"] * 1.001


def test_what_has_no_train_split_has_no_speed(
    dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmearth.benchmark.speed.splits_of", lambda *_: {"val"})
    config = BenchmarkConfig(dataset=dataset, tasks=(TASK,), encoders=(ENCODER,))
    with pytest.raises(ConfigError, match="soil_pH has no sample in train"):
        next(speeds(open_dataset(dataset), config, 0.1))
