"""Training goes on, tells what it cannot know, and ends in sentences."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mmearth.benchmark.config import BenchmarkConfig, Training
from mmearth.benchmark.matrix import cells
from mmearth.benchmark.run import _check_ranks
from mmearth.benchmark.training import BEST, LAST, Fit, fit, load_best
from mmearth.catalog.errors import ConfigError, FormatError, StorageError


def _fit(folder: Path, goodness: Callable[[], float], epochs: int = 3) -> nn.Linear:
    torch.manual_seed(0)
    module = nn.Linear(2, 1)

    def loss(wrapped: nn.Module, batch: Tensor) -> Tensor:
        return wrapped(batch).square().mean()

    how = Fit(lambda epoch: [torch.ones(4, 2) * (epoch + 1)], 1, loss, goodness, 7)
    training = Training(epochs=epochs, lr=0.1, warmup_epochs=0)
    fit(Fabric(accelerator="cpu"), module, how, training, folder)
    return module


def test_without_a_validation_score_the_last_weights_stay_and_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = _fit(tmp_path / "none", lambda: -math.inf)
    assert "validation has no score" in caplog.text and "none" in caplog.text
    last = torch.load(tmp_path / "none" / LAST, weights_only=True)["model"]
    assert torch.equal(found.weight, last["weight"])
    assert torch.equal(torch.load(tmp_path / "none" / BEST)["model"]["weight"], last["weight"])
    caplog.clear()
    scores = iter([-math.inf, 0.5, 0.4])
    best = _fit(tmp_path / "some", lambda: next(scores))
    second = _fit(tmp_path / "two", iter([0.0, 0.1]).__next__, epochs=2)
    assert not caplog.text
    assert not torch.equal(best.weight, second.weight)  # another schedule
    assert not torch.equal(best.weight, found.weight)  # and the second epoch, not the third


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_damaged_weights_are_one_sentence(tmp_path: Path, damage: bytes | None) -> None:
    _fit(tmp_path, lambda: 1.0)
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(FormatError, match=r"last\.pt is damaged .* trained from its beginning"):
        _fit(tmp_path, lambda: 1.0)
    (tmp_path / BEST).write_bytes(b"")
    with pytest.raises(FormatError, match=r"best\.pt is damaged"):
        load_best(nn.Linear(2, 1), tmp_path)


def test_a_disk_that_is_full_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match=r"cannot write .*best\.pt; the disk may be full"):
        _fit(tmp_path, lambda: 1.0)
    assert list(tmp_path.iterdir()) == []


def test_ranks_that_do_not_divide_a_batch_are_refused() -> None:
    config = BenchmarkConfig(dataset="d", encoders=("e",), training={"batch_size": 8})
    for n_ranks in (1, 2, 4, 8):
        _check_ranks(config, n_ranks)
    for n_ranks in (3, 16):
        with pytest.raises(ConfigError, match=rf"batch_size 8 cannot be dealt to {n_ranks} ranks"):
            _check_ranks(config, n_ranks)


def test_baselines_are_run_at_every_percentage() -> None:
    document = {"dataset": "d", "tasks": ("t",), "encoders": ("e",), "baselines": ("mean",)}
    config = BenchmarkConfig(**document, fractions=(5, 100), methods=("LP", "JT"))
    of = [(c.method, c.fraction) for c in cells(config) if c.seed == 41]
    assert of == [("mean", 5), ("mean", 100), ("LP", 5), ("LP", 100), ("JT", 100)]
    joint = BenchmarkConfig(**document, fractions=(5,), methods=("JT",))
    assert {c.fraction for c in cells(joint)} == {100}
