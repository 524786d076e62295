"""What a GPU computes is what a CPU does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from mmearth.benchmark.check import made_up_batch, plain_statistics
from mmearth.benchmark.config import BenchmarkConfig
from mmearth.benchmark.decoders import ReconstructionHead, TileHead
from mmearth.benchmark.encoders.scratch import ConvNeXtV2Tiny
from mmearth.benchmark.losses import losses_of_batch
from mmearth.benchmark.methods.products import PRODUCTS
from mmearth.benchmark.methods.ttt_mmr import TTTMMR
from mmearth.benchmark.results import read_results
from mmearth.benchmark.run import run
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.loaders.dataset import open_dataset
from mmearth.tests.make_tiny import OWN, make_sealed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


def _to(batch: dict[str, Any], device: str) -> dict[str, Any]:
    def moved(value: torch.Tensor) -> torch.Tensor:
        kind = torch.float64 if value.is_floating_point() else value.dtype
        return value.to(device, kind)

    masks = {name: mask.to(device) for name, mask in batch["mask"].items()}
    return {name: moved(batch[name]) for name in masks} | {"mask": masks}


@pytest.mark.parametrize("products", PRODUCTS)
def test_test_time_training(products: str) -> None:
    torch.manual_seed(0)
    statistics = plain_statistics(MMEARTH_BENCH)
    encoder = ConvNeXtV2Tiny(statistics, MMEARTH_BENCH, multimodal=True).double()
    head = ReconstructionHead(64, (4, 4), tuple(MMEARTH_BENCH.layers.values())).double()
    task = TileHead(64, 2).double()
    batch = made_up_batch(encoder, MMEARTH_BENCH)
    batch["mask"]["sentinel1"][:] = False
    answers = []
    for device in ("cpu", "cuda"):
        parts = [copy.deepcopy(part).to(device) for part in (encoder, head, task)]
        method = TTTMMR(parts[0], parts[1], losses_of_batch, steps=3, products=products)
        answers.append(method.adapt(_to(batch, device), parts[2]))
    for on_cpu, on_gpu in zip(answers[0].predictions, answers[1].predictions, strict=True):
        assert torch.allclose(on_cpu, on_gpu.cpu(), rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sealed(tmp_path_factory.mktemp("tiny"), 60)


def test_pinned_batches_are_the_same(dataset: Path) -> None:
    chosen = open_dataset(str(dataset)).select("soil_pH", "train")
    plain = list(chosen.loader(4, "shuffled", normalise="train"))
    for i, batch in enumerate(chosen.loader(4, "shuffled", normalise="train", pin_memory=True)):
        assert batch["sentinel2"].is_pinned()
        for name, mask in batch["mask"].items():
            assert torch.equal(mask, plain[i]["mask"][name])
            values = batch[name].to("cuda", non_blocking=True).cpu()
            assert torch.equal(torch.where(mask, values, 0), torch.where(mask, plain[i][name], 0))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_matrix(dataset: Path, tmp_path: Path, precision: str) -> None:
    config = BenchmarkConfig(
        dataset=str(dataset),
        tasks=("biomass", "species"),
        encoders=("convnextv2_tiny_multimodal",),
        methods=("LP", "FT", "JT", "TTT-MMR", "TTT-MMR-Geo"),
        seeds=(41,),
        precision=precision,
        training={"epochs": 2, "batch_size": 8, "lr": 2e-3, "warmup_epochs": 1},
        adaptation={"max_steps": 2, "batch_size": 2},
    )
    run(config, tmp_path, lambda *_: None)
    rows = read_results(tmp_path / "results.parquet").to_pylist()
    trained = [row for row in rows if row["encoder"] != "baseline"]
    assert {row["method"] for row in trained} == set(config.methods)
    assert {row["device"] for row in trained} == {torch.cuda.get_device_name()}
    assert all(row["memory_bytes"] > 0 for row in trained)


def test_a_task_of_each_kind(tmp_path: Path) -> None:
    config = BenchmarkConfig(
        dataset=str(make_sealed(tmp_path / "own", 20, OWN)),
        encoders=("convnextv2_tiny_multimodal",),
        methods=("LP", "JT", "TTT-MMR"),
        seeds=(41,),
        baselines=(),
        training={"epochs": 1, "batch_size": 8},
        adaptation={"max_steps": 1, "batch_size": 4},
    )
    run(config, tmp_path / "out", lambda *_: None)
    rows = read_results(tmp_path / "out" / "results.parquet").to_pylist()
    assert {(row["task"], row["method"]) for row in rows} == {
        (task, method) for task in OWN.tasks for method in config.methods
    }
    assert {row["device"] for row in rows} == {torch.cuda.get_device_name()}
