"""DOFA: a ViT-B/16 whose first layer is made from the wavelengths of the bands.

Source: Xiong et al. 2024, arXiv 2403.15356; weights through torchgeo.
"""

from __future__ import annotations

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn
from torchgeo.models import DOFABase16_Weights, dofa_base_patch16_224

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import grid_of, sentinel2
from mmearth.benchmark.encoders.pictures import BRIGHTEST
from mmearth.benchmark.encoders.satlasnet import BANDS, OTHERS_SATURATE_AT
from mmearth.loaders.inputs import Normalisation

# It was trained on SatlasPretrain's images of 8 bits: of red, green, blue ESA's picture, of the
# others stored values / 32. Means, deviations and wavelengths: DOFA's README.
MEAN = (114.1099739, 114.81779093, 126.63977424, 84.33539309, 97.84789168, 103.94461911,
        101.435633, 72.32804172, 56.66528851)  # fmt: skip
STD = (77.84352553, 69.96844919, 67.42465279, 64.57022983, 61.72545487, 61.34187099,
       60.29744676, 47.88519516, 42.55886798)  # fmt: skip
MICROMETRES = [0.665, 0.56, 0.49, 0.705, 0.74, 0.783, 0.842, 1.61, 2.19]


class DOFA(Encoder):
    """768 features on a grid of 8 × 8."""

    eight_bit: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        self.inputs = Normalisation.of([sentinel2(BANDS)])
        self.dim, self.grid = 768, (8, 8)
        scale = [255 / BRIGHTEST] * 3 + [255 / OTHERS_SATURATE_AT] * 6
        for name, values in (("eight_bit", scale), ("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(9, 1, 1), persistent=False)
        self.net = dofa_base_patch16_224(img_size=128)
        if weights == "published":
            _load(self.net)
        self.net.head = nn.Identity()
        self.net.fc_norm = nn.Identity()

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 768, 8, 8); see `Encoder.forward`."""
        stored, valid, net = batch["sentinel2"], batch["mask"]["sentinel2"], self.net
        scores = ((stored * self.eight_bit).clamp(0, 255) - self.mean) / self.std
        waves = stored.new_tensor(MICROMETRES)
        patches, _ = net.patch_embed(torch.where(valid, scores, 0.0), waves)
        first = (net.cls_token + net.pos_embed[:, :1]).expand(len(patches), -1, -1)
        tokens = torch.cat([first, patches + net.pos_embed[:, 1:]], 1)
        for block in net.blocks:
            tokens = block(tokens)
        return grid_of(tokens[:, 1:], self.grid)


def _load(net: nn.Module) -> None:
    """Load weights of 224 pixels into a model of 128: a smaller grid of positions."""
    state = DOFABase16_Weights.DOFA_MAE.get_state_dict(progress=False)
    own = net.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], [8, 8], [14, 14])
    head = {name for name in own if name.startswith(("head.", "fc_norm."))}
    net.load_state_dict({name: state[name] for name in own if name not in head}, strict=False)
