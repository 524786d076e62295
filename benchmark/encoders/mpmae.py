"""MP-MAE: a ConvNeXt V2 that was pretrained to reconstruct MMEarth's modalities.

Source: Nedungadi et al. 2024, MMEarth, arXiv 2405.02771. No package has it, so its stem is put in
front of timm's stages, and its checkpoint is read into them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import timm
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import sentinel2
from mmearth.benchmark.weights import fetch, fill
from mmearth.loaders.inputs import Normalisation

CHECKPOINT = (
    "https://sid.erda.dk/share_redirect/g23YOnaaTp/pt-all_mod_atto_1M_64_uncertainty_56-8/"
    "checkpoint-199.pth"
)
"""All modalities, 1 million tiles of 64 pixels, patches of 8 (MMEarth-Bench §5.1)."""
BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B11", "B12")
MEAN = (1349.40, 1479.95, 1720.37, 1899.18, 2253.93, 2808.20, 3003.42, 3149.54, 3110.84, 3213.76,
        2399.09, 1811.80)  # fmt: skip
STD = (2340.29, 2375.87, 2256.90, 2354.18, 2293.00, 2033.22, 1920.17, 1816.62, 1988.19, 1947.90,
       1473.22, 1390.68)  # fmt: skip
_NOT_OURS = re.compile(r"decoder|mask_token|proj|pred|^norm\.|^head\.")
_RENAMED = (
    (r"^(module\.)?(encoder\.)?", ""),
    (r"\.(ln|linear)\.", "."),
    (r"^stem\.0\.", "stem.3."),
    (r"^stem\.1\.", "stem.4."),
    (r"^initial_conv\.", "stem."),
    (r"^downsample_layers\.0\.", "stages.1.downsample."),
    (r"^downsample_layers\.1\.", "stages.2.downsample."),
    (r"^downsample_layers\.2\.", "stages.3.downsample."),
    (r"^(stages\.\d)\.(\d)\.", r"\1.blocks.\2."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv([12])\.", r".mlp.fc\1."),
    (r"\.grn\.gamma$", ".mlp.grn.weight"),
    (r"\.grn\.beta$", ".mlp.grn.bias"),
    (r"\.kernel$", ".weight"),
)


class MPMAE(Encoder):
    """ConvNeXt V2-Atto with patches of 8 pixels: 320 features on a grid of 15 × 15."""

    net: Any  # timm has no types

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        self.inputs = Normalisation.of([sentinel2(BANDS, MEAN, STD)])
        self.dim, self.grid = 320, (15, 15)
        self.net = timm.create_model("convnextv2_atto", num_classes=0)
        self.net.head = nn.Identity()
        self.net.stem = nn.Sequential(
            nn.Conv2d(12, 40, 3),
            LayerNorm2d(40, eps=1e-6),
            nn.GELU(),
            nn.Conv2d(40, 40, 1, groups=40),
            LayerNorm2d(40, eps=1e-6),
        )
        if weights == "published":
            fill(self.net, timm_names(fetch(CHECKPOINT)), CHECKPOINT)

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 320, 15, 15); see `Encoder.forward`."""
        features: Tensor = self.net.forward_features(batch["sentinel2"])
        return features


def timm_names(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a checkpoint of MMEarth-train's under timm's names and in its shapes.

    It was trained with sparse convolutions, whose kernels are (k·k, in, out), or (k·k, dim) where
    each channel has its own, with the two sides of the kernel exchanged.
    """
    state: dict[str, Tensor] = {}
    for name, value in checkpoint.get("model", checkpoint).items():
        renamed = name
        for pattern, new in _RENAMED:
            renamed = re.sub(pattern, new, renamed)
        if not _NOT_OURS.search(renamed):
            state[renamed] = _dense(name, value)
    return state


def _dense(name: str, value: Tensor) -> Tensor:
    if name.endswith(".kernel"):
        side = round(value.shape[0] ** 0.5)
        last = value.movedim(0, -1)  # (in, out, k·k), or (dim, k·k)
        last = last.transpose(0, 1) if value.ndim == 3 else last[:, None]
        return last.reshape(*last.shape[:2], side, side).mT
    return value.flatten() if "bias" in name or ".grn." in name else value
