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
from mmearth.benchmark.encoders.inputs import MONTH, RGB, sentinel2
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.grid import Grid
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.cli import root
from mmearth.loaders.inputs import Normalisation
from mmearth.tests.make_tiny import OWN, make_sealed


class Right(Encoder):
    """Keeps its promises."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = Normalisation.of([sentinel2(RGB, (1300.0,) * 3, (900.0,) * 3), MONTH])
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


class Standardises(Right):
    """Batch statistics: other tiles of the same kind would not show it."""

    def forward(self, batch: Any) -> Tensor:
        x = batch["sentinel2"]
        own = (x - x.mean()) / (x.std() + 1e-6)
        return super().forward({"sentinel2": own, "month": batch["month"]})


class Unread(Right):
    def forward(self, batch: Any) -> Tensor:
        return super().forward({**batch, "month": torch.ones(len(batch["month"]), 2)})


class Hides(Right):
    def forward(self, batch: Any) -> Tensor:
        batch["mask"]["month"][:] = False
        return super().forward(batch)


class Few(Right):
    def forward(self, batch: Any) -> Tensor:
        return super().forward(batch)[:4]


class Breaks(Right):
    def forward(self, batch: Any) -> Tensor:
        return super().forward(batch) / (torch.nan if self.training else 1.0)


class Raised(Right):
    def forward(self, batch: Any) -> Tensor:
        if self.training:
            raise NotImplementedError("only for inference")
        return super().forward(batch)


class Half(Right):
    def forward(self, batch: Any) -> Tensor:
        return super().forward(batch).half()


class Nothing(Right):
    def forward(self, batch: Any) -> Tensor:
        return (
            batch["sentinel2"][:, [0] * 4, ::16, ::16]
            + batch["month"][:, :1, None, None]
            + (0 * super().forward(batch))
        )


def test_an_encoder_that_is_right() -> None:
    assert [finding.problem for finding in check(Right(), MMEARTH_BENCH)] == [""] * 9


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
        (Standardises, "a tile's features are its own", "when it comes alone"),
        (Unread, "sees what it is fed", "month is declared and never read"),
        (Hides, "leaves the batch as it is", "it wrote to the mask of month"),
        (Few, "a tile's features are its own", "1 and 4 tiles came back"),
        (Breaks, "works in training", "in training features are no numbers"),
        (Raised, "works in training", "NotImplementedError: only for inference"),
        (Half, "features are as declared", "found torch.float16; expected torch.float32"),
        (Nothing, "all parameters learn", "all gradients are 0"),
    ],
)
def test_what_is_wrong_is_found(kind: type[Encoder], promise: str, sentence: str) -> None:
    problems = {finding.name: finding.problem for finding in check(kind(), MMEARTH_BENCH)}
    assert sentence in problems[promise]


MINE = Path(__file__).read_text(encoding="utf-8")


def test_the_command_tells_what_is_kept_and_what_is_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE, encoding="utf-8")
    right = CliRunner().invoke(root, ["benchmark", "check", f"{file}:Right"])
    assert right.exit_code == 0, right.output
    assert right.output.count(" yes") == 9
    command = ["benchmark", "check", f"{file}:Idle", "--json"]
    idle = CliRunner().invoke(root, command, standalone_mode=False)
    assert idle.return_value == 4
    problems = {row["promise"]: row["problem"] for row in json.loads(idle.output)}
    assert "head.weight" in problems.pop("all parameters learn")
    assert set(problems.values()) == {""}


def test_the_command_makes_up_tiles_of_a_dataset(tmp_path: Path) -> None:
    data = make_sealed(tmp_path / "own", 10, OWN)
    command = ["benchmark", "check", "convnextv2_tiny_multimodal", "--data", str(data)]
    done = CliRunner().invoke(root, command)
    assert done.exit_code == 0, done.output
    assert done.output.count(" yes") == 9
    command = ["benchmark", "check", "mpmae", "--catalogue", "mmearth-bensh"]
    with pytest.raises(
        ConfigError, match=r"no catalogue 'mmearth-bensh' .did you mean 'mmearth-be"
    ):
        CliRunner().invoke(root, command, catch_exceptions=False, standalone_mode=False)


MINE_OWN = """
from mmearth.benchmark.encoder import Encoder
from mmearth.benchmark.encoders.inputs import declared
from mmearth.loaders.inputs import Normalisation
from mmearth.tests.make_tiny import OWN, make_sealed

class Mine(Encoder):
    {tiles}
    def __init__(self, catalogue, recipe):
        super().__init__()
        assert recipe == "default"
        assert "embedding" in catalogue.layers
        self.inputs = Normalisation.of([{input}])
        self.dim, self.grid = 4, (1, 1)

    def forward(self, batch):
        return batch["embedding"]
"""


@pytest.mark.parametrize(
    ("tiles", "wanted", "sentence"),
    [
        ("", 'declared("embedding", ("A00",))', "made for tiles of 128 pixels at 10 m, the data"),
        ("tiles = None", 'declared("embedding", ("A07",))', "embedding has no band 'A07'"),
        ("tiles = None", 'declared("embeddings", ("A00",))', "no modality 'embeddings'"),
        ("tiles = None", 'declared("embedding", ("A00",), "m")', "the unit 'm'"),
        ("tiles = None", 'declared("zone", ("zone",), n_classes=4)', "tells 4 classes apart"),
    ],
)
def test_what_does_not_fit_the_dataset_is_one_sentence(
    tmp_path: Path, tiles: str, wanted: str, sentence: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE_OWN.format(tiles=tiles, input=wanted), encoding="utf-8")
    with pytest.raises(ConfigError, match=sentence):
        build_encoder(f"{file}:Mine", plain_statistics(OWN), OWN, "none", "default")


def test_what_fits_is_made(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    text = MINE_OWN.format(tiles="tiles = None", input='declared("embedding", ("A01", "A00"))')
    file.write_text(text, encoding="utf-8")
    made = build_encoder(f"{file}:Mine", plain_statistics(OWN), OWN, "none", "default")
    assert made.inputs["embedding"].bands == ("A01", "A00")


def test_an_encoder_of_other_tiles_or_bands_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mpmae was made for tiles of 128 .* has 32 at 20 m"):
        build_encoder("mpmae", plain_statistics(OWN), OWN, "none", "default")
    with pytest.raises(ConfigError, match="wants sentinel2 B4, which the dataset has not; take"):
        build_encoder("convnextv2_tiny", plain_statistics(OWN), OWN, "none", "default")
    tabular = OWN.only(("climate", "zone"), ())
    with pytest.raises(ConfigError, match="climate, zone, of which none has pixels"):
        build_encoder(
            "convnextv2_tiny_multimodal", plain_statistics(tabular), tabular, "none", "default"
        )


@pytest.mark.parametrize("pixels", [32, 48, 112])
def test_an_encoder_from_scratch_takes_tiles_of_any_size(pixels: int) -> None:
    other = Catalogue(Grid(pixels, 20), OWN.layers, OWN.tasks)
    made = build_encoder(
        "convnextv2_tiny_multimodal", plain_statistics(other), other, "none", "default"
    )
    assert made.grid == ((1, 1) if pixels == 32 else (pixels // 16,) * 2)
    assert [finding.problem for finding in check(made, other)] == [""] * 9


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class Mine(:", "cannot be imported"),
        ("1 / 0", "cannot be imported (division by zero)"),
        ("class Other: pass", "cannot be imported"),
        ("class Mine: pass", "is no mmearth.benchmark.encoder.Encoder"),
        ("class Mine:\n def __init__(self, a, b): pass", "derive it from that"),
        ("class Mine:\n def __init__(self, weights, recipe): pass", "derive it from that"),
        ("def Mine(a, b): pass", "cannot be made (TypeError"),
    ],
)
def test_a_file_that_is_no_encoder_is_one_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as found:
        build_encoder(f"{file}:Mine", plain_statistics(OWN), OWN, "none", "default")
    assert sentence in str(found.value)
