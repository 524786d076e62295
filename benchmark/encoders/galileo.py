"""Galileo: a ViT-B for many modalities in space and time.

Source: Tseng et al. 2025, Galileo, arXiv 2502.09356; model and weights through rslearn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from rslearn.models.galileo.galileo import HF_HUB_ID, GalileoModel
from rslearn.models.galileo.single_file_galileo import (
    NORMALIZING_DICT,
    S1_BANDS,
    S2_BANDS,
    SPACE_BANDS,
    SPACE_TIME_BANDS,
    TIME_BANDS,
)
from rslearn.models.galileo.single_file_galileo import (
    Encoder as Network,
)
from torch import Tensor
from torch.nn.functional import one_hot

from mmearth.benchmark.encoder import Batch, Encoder
from mmearth.benchmark.encoders.inputs import (
    MONTH,
    PLACE,
    both_orbits,
    declared,
    degrees_of,
    freeze,
    grid_of,
    month_of,
    orbit_pair,
    sentinel2,
    two_deviations,
)
from mmearth.loaders.inputs import ModalityInput, Normalisation

BASE: dict[str, Any] = {
    "embedding_size": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4,
    "max_patch_size": 8,
}
"""Of the base size (nasaharvest/galileo, models/base/config.json)."""
PATCH = 16
"""Pixels along a patch's side (MMEarth-Bench §5.1); the model resizes its own of 8."""
N_DYNAMIC_WORLD = 9
"""Classes of Dynamic World."""


class Galileo(Encoder):
    """Galileo-Base: 768 features on a grid of 8 × 8, a mean of what is known of each patch.

    What nothing is known of is masked where it is a whole modality of the batch's tile, and the
    pretraining's mean where it is a pixel.
    """

    net: Any  # rslearn's

    def __init__(self, statistics: Normalisation, weights: str, recipe: str) -> None:
        super().__init__()
        self.inputs = Normalisation.of(_inputs())
        self.dim, self.grid = 768, (8, 8)
        if weights == "published":
            folder = snapshot_download(HF_HUB_ID, allow_patterns="models/base/*")
            place = Path(folder) / "models" / "base"
            self.net = Network.load_from_folder(place, torch.device("cpu"))
        else:
            self.net = Network(**BASE)
        freeze(self.net, "embed.WC", "embed.TC", "embed.VIIRS", "embed.LS", "embed.DW_static")

    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, 768, 8, 8); see `Encoder.forward`."""
        optical, radar = batch["sentinel2"], orbit_pair(batch)[0]
        climate = torch.cat([batch["temperature"], batch["precipitation"]], 1)
        fed = GalileoModel.construct_galileo_input(
            s1=_last(two_deviations(radar))[:, :, :, None],
            s2=_last(two_deviations(optical))[:, :, :, None],
            era5=two_deviations(climate)[:, None],
            srtm=_last(two_deviations(batch["aster_gdem"])),
            dw=_last(_one_hot(batch)).to(optical.dtype),
            latlon=degrees_of(batch["geolocation"]).flip(1),
            months=month_of(batch["month"])[:, None],
        )
        # The package leaves the vegetation index out.
        fed.s_t_x[..., -1] = self._ndvi(optical)[..., None]
        fed.s_t_m[..., -1] = 0
        self._hide(fed, batch)
        found = self.net(**fed._asdict(), patch_size=PATCH)[:8]
        patches: Tensor = self.net.apply_mask_and_average_tokens_per_patch(*found)
        return grid_of(patches, self.grid)

    def _ndvi(self, optical: Tensor) -> Tensor:
        """Return the normalised difference vegetation index, (B, 128, 128)."""
        wanted = self.inputs["sentinel2"]
        red, infrared = (
            optical[:, i] * wanted.std[i] + wanted.mean[i]
            for i in (wanted.bands.index(band) for band in ("B4", "B8"))
        )
        index: Tensor = (infrared - red) / (infrared + red).clamp(min=1)
        return index

    def _hide(self, fed: Any, batch: Batch) -> None:
        """Mask the groups of which a tile has nothing."""
        lacks = {name: ~mask.flatten(1).any(1) for name, mask in batch["mask"].items()}
        for i, group in enumerate(self.net.space_time_groups):
            fed.s_t_m[lacks["sentinel1" if group == "S1" else "sentinel2"], ..., i] = 1
        for i, name in enumerate(("aster_gdem", "dynamic_world")):
            fed.sp_m[lacks[name], ..., i] = 1
        fed.t_m[lacks["temperature"] | lacks["precipitation"], :, 0] = 1


def _inputs() -> list[ModalityInput]:
    """Return what the model was trained on; its means are the package's, by width of a table."""
    radar, optical = (_numbers(SPACE_TIME_BANDS, bands) for bands in (S1_BANDS, S2_BANDS))
    ground = _numbers(SPACE_BANDS, ("elevation", "slope"))
    warm, wet = (
        _numbers(TIME_BANDS, (band,)) for band in ("temperature_2m", "total_precipitation_sum")
    )
    return [
        sentinel2(S2_BANDS, *optical),
        both_orbits(*radar),
        declared("aster_gdem", ("elevation", "slope"), ("m", "deg"), *ground),
        declared("dynamic_world", ("label",), n_classes=N_DYNAMIC_WORLD),
        declared("precipitation", ("month",), "m", *wet),
        declared("temperature", ("month_mean",), "K", *warm),
        PLACE,
        MONTH,
    ]


def _numbers(
    table: Sequence[str], bands: Sequence[str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return means and deviations of some bands of a table of the package."""
    of: Any = NORMALIZING_DICT[str(len(table))]
    at = [table.index(band) for band in bands]
    mean, std = (tuple(of[each][i] for i in at) for each in ("mean", "std"))
    return mean, std


def _last(maps: Tensor) -> Tensor:
    """Return (B, C, H, W) with the channels last."""
    return maps.movedim(1, -1)


def _one_hot(batch: Batch) -> Tensor:
    """Return (B, class, H, W), 0 where no class is known."""
    codes, known = batch["dynamic_world"][:, 0], batch["mask"]["dynamic_world"]
    classes = one_hot(codes * known[:, 0], N_DYNAMIC_WORLD)
    maps: Tensor = classes.movedim(-1, 1) * known
    return maps
