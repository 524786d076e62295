"""A checkpoint is read safely, under other names, and every tensor is accounted for."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmearth.benchmark.check import plain_statistics
from mmearth.benchmark.encoders import build_encoder
from mmearth.benchmark.encoders.mpmae import MPMAE, timm_names
from mmearth.benchmark.weights import fetch, fill, read
from mmearth.catalog.errors import FormatError
from mmearth.catalog.published import MMEARTH_BENCH


def test_options_beside_the_weights_are_data(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": {"a": torch.ones(2)}, "args": argparse.Namespace(lr=1e-4)}, path)
    assert read(path)["model"]["a"].tolist() == [1, 1]


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must not run",))


def test_code_in_a_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": Payload()}, path)
    with pytest.raises(FormatError, match="can be read safely"):
        read(path)
    assert "must not run" not in capsys.readouterr().out


def test_half_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FormatError, match="delete it"):
        read(path)


def test_it_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(url: str, to: str, progress: bool) -> None:
        asked.append(url)
        torch.save({"a": torch.ones(1)}, to)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        assert fetch("https://example.org/w.pth")["a"] == 1
    fetch("https://example.org/other/w.pth")  # of the same name
    assert asked == ["https://example.org/w.pth", "https://example.org/other/w.pth"]


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"weight": torch.ones(2, 3)}, "lacks 1 tensors, such as bias"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "x": torch.ones(1)}, "such as x"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, "is (3, 2), expected (2, 3)"),
    ],
)
def test_other_weights_are_refused(state: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(FormatError, match=re.escape(sentence)):
        fill(nn.Linear(3, 2), state, "w.pth")


def sparse_names(net: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights as MMEarth-train saves them."""
    state: dict[str, Tensor] = {"encoder.norm.weight": torch.ones(320), "mask_token": torch.ones(1)}
    for given, weight in net.state_dict().items():
        name, value = given, weight
        name = re.sub(r"^stem\.([34])\.", lambda m: f"encoder.stem.{int(m[1]) - 3}.", name)
        name = re.sub(r"^stem\.", "encoder.initial_conv.", name)
        name = re.sub(
            r"^stages\.(\d)\.downsample\.",
            lambda m: f"encoder.downsample_layers.{int(m[1]) - 1}.",
            name,
        )
        name = re.sub(r"^stages\.(\d)\.blocks\.", r"encoder.stages.\1.", name)
        name = name.replace("conv_dw.weight", "dwconv.kernel").replace("conv_dw", "dwconv")
        name = name.replace(".norm.", ".norm.ln.").replace(".mlp.grn.weight", ".grn.gamma")
        name = name.replace(".mlp.grn.bias", ".grn.beta")
        name = re.sub(r"\.mlp\.fc(\d)\.", r".pwconv\1.linear.", name)
        if name.endswith("dwconv.kernel"):  # (dim, 1, k, k) → (k·k, dim), sides exchanged
            value = value.mT.flatten(1).T
        if re.search(r"downsample_layers\.\d\.1\.weight", name):  # (out, in, k, k) → (k·k, in, out)
            name, value = name.replace("weight", "kernel"), value.mT.flatten(2).permute(2, 1, 0)
        if name.endswith(("kernel_bias", "grn.gamma", "grn.beta", "dwconv.bias")):
            value = value[None]
        state[name] = value
    return state


def test_a_checkpoint_of_sparse_convolutions_gives_the_same_features() -> None:
    torch.manual_seed(1)
    ours = build_encoder(
        "mpmae", plain_statistics(MMEARTH_BENCH), MMEARTH_BENCH, "none", "default"
    ).eval()
    torch.manual_seed(2)
    other = build_encoder(
        "mpmae", plain_statistics(MMEARTH_BENCH), MMEARTH_BENCH, "none", "default"
    ).eval()
    assert isinstance(ours, MPMAE)
    assert isinstance(other, MPMAE)
    for parameter in ours.net.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    fill(other.net, timm_names({"model": sparse_names(ours.net)}), "made up")
    tile = {"sentinel2": torch.randn(1, 12, 128, 128)}
    with torch.no_grad():
        assert torch.equal(other(tile), ours(tile))
