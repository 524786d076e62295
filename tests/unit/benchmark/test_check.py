"""What an encoder does wrong is found, and told in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from mmearth.benchmark.check import check, plain_statistics
from mmearth.benchmark.encoder import Encoder
from mmearth.benchmark.encoders import build_encoder
from mmearth.benchmark.encoders.inputs import RGB, declared
from mmearth.catalog.errors import ConfigError
from mmearth.cli import root
from mmearth.loaders.inputs import Normalisation


class Right(Encoder):
    """Keeps its promises."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = Normalisation.of(
            [declared("sentinel2", RGB, (1300.0,) * 3, (900.0,) * 3), declared("month", None)]
        )
        self.dim, self.grid = 4, (8, 8)
        self.net = nn.Conv2d(3, 4, 16, 16)
        self.month = nn.Linear(2, 4)

    def forward(self, batch: Any) -> Tensor:
        return self.net(batch["sentinel2"]) + self.month(batch["month"])[:, :, None, None]


class Taller(Right):
    def forward(self, batch: Any) -> Tensor:
        return super().forward(batch)[:, :, :4]


class Raises(Right):
    def forward(self, batch: Any) -> Tensor:
        return self.net(batch["sentinel1"])


class Writes(Right):
    def forward(self, batch: Any) -> Tensor:
        return super().forward({"sentinel2": batch["sentinel2"].mul_(2), "month": batch["month"]})


class Dice(Right):
    def forward(self, batch: Any) -> Tensor:
        return super().forward(batch) + torch.rand(1)


class Counts(Right):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, batch: Any) -> Tensor:
        self.seen += 1
        return super().forward(batch)


class Blind(Right):
    def forward(self, batch: Any) -> Tensor:
        return 0 * super().forward(batch)


class Whitens(Right):
    def forward(self, batch: Any) -> Tensor:
        found = super().forward(batch)
        return found - found.mean(0)


class Divides(Right):
    def forward(self, batch: Any) -> Tensor:
        n_valid = batch["mask"]["month"].sum(1)
        return super().forward(batch) / n_valid.view(-1, 1, 1, 1)


class Idle(Right):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 1)


class Detached(Right):
    def forward(self, batch: Any) -> Tensor:
        return super().forward(batch).detach().requires_grad_()


class Couples(Right):
    def forward(self, batch: Any) -> Tensor:
        first, second = super().forward(batch)
        return torch.stack([first, second])


def test_an_encoder_that_is_right() -> None:
    assert [finding.problem for finding in check(Right())] == [""] * 8


@pytest.mark.parametrize(
    ("kind", "promise", "sentence"),
    [
        (Raises, "runs on what it declares", "KeyError: 'sentinel1'"),
        (Taller, "features are as declared", "found (2, 4, 4, 8); expected (2, 4, 8, 8)"),
        (Writes, "leaves the batch as it is", "it wrote to sentinel2"),
        (Dice, "frozen, it repeats itself", "two passes in evaluation mode differ"),
        (Counts, "frozen, it repeats itself", "seen changed in evaluation mode"),
        (Blind, "sees what it is fed", "other tiles have the same features"),
        (Whitens, "a tile's features are its own", "when it comes alone"),
        (Divides, "bears missing modalities", "a tile without month has features"),
        (Couples, "a tile's features are its own", "ValueError: not enough values to unpack"),
        (Idle, "all parameters learn", "2 parameters do nothing, such as head.weight"),
        (Detached, "all parameters learn", "no parameter has a gradient"),
    ],
)
def test_what_is_wrong_is_found(kind: type[Encoder], promise: str, sentence: str) -> None:
    problems = {finding.name: finding.problem for finding in check(kind())}
    assert sentence in problems[promise]


MINE = Path(__file__).read_text(encoding="utf-8")


def test_the_command_tells_what_is_kept_and_what_is_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE, encoding="utf-8")
    right = CliRunner().invoke(root, ["benchmark", "check", f"{file}:Right"])
    assert right.exit_code == 0, right.output
    assert right.output.count(" yes") == 8
    command = ["benchmark", "check", f"{file}:Idle", "--json"]
    idle = CliRunner().invoke(root, command, standalone_mode=False)
    assert idle.return_value == 4
    problems = {row["promise"]: row["problem"] for row in json.loads(idle.output)}
    assert "head.weight" in problems.pop("all parameters learn")
    assert set(problems.values()) == {""}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class Mine(:", "cannot be imported"),
        ("1 / 0", "cannot be imported (division by zero)"),
        ("class Other: pass", "cannot be imported"),
        ("class Mine: pass", "is no mmearth.benchmark.encoder.Encoder"),
        ("class Mine:\n def __init__(self, a, b): pass", "derive it from that"),
        ("def Mine(a, b): pass", "cannot be made (TypeError"),
    ],
)
def test_a_file_that_is_no_encoder_is_one_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as found:
        build_encoder(f"{file}:Mine", plain_statistics(), "none", "default")
    assert sentence in str(found.value)
