"""What each pretrained model is documented to be fed, written out, and what it is fed.

One made-up tile of stored values. Each entry names where the network is entered and what its
authors or packages say must come in there, computed from the stored values by their formula alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmearth.benchmark.encoder import Encoder
from mmearth.catalog.published import MMEARTH_BENCH

LON, LAT, MONTH = 10.0, 50.0, 7
ROW, COLUMN = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
OPTICAL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
STORED: dict[str, Tensor] = {
    "sentinel2": torch.stack([800 + 150 * i + 3 * ROW + 2 * COLUMN for i in range(12)])[None],
    "sentinel1": torch.stack([i / 2 - 15 + ROW / 100 for i in range(8)])[None],
    "aster_gdem": torch.stack([500 + ROW, COLUMN / 10])[None],
    "dynamic_world": (ROW // 16).long()[None, None],
    "temperature": torch.tensor([[*(280.0 + i for i in range(9))]]),
    "precipitation": torch.tensor([[0.02, 0.05, 0.9]]),
    "geolocation": torch.tensor(
        [[f(math.radians(v)) for v in (LON, LAT) for f in (math.cos, math.sin)]]
    ),
    "month": torch.tensor([[f(math.pi * MONTH / 6) for f in (math.cos, math.sin)]]),
}
"""By modality: one tile as it is stored."""
REFLECTANCE = dict(zip(OPTICAL, STORED["sentinel2"][0], strict=True))
"""Stored values × 10000 of each band."""
VV_VH = STORED["sentinel1"][:, :2]
"""The ascending orbit's, in dB."""


def batch_for(encoder: Encoder) -> dict[str, Any]:
    """Return the tile as a loader gives it to an encoder: z-scores of what it declares."""
    batch: dict[str, Any] = {"mask": {}}
    for name, wanted in encoder.inputs.items():
        layer = MMEARTH_BENCH.layers[name]
        rows = [layer.band_names.index(band) for band in wanted.bands]
        values = STORED[name][:, rows]
        batch["mask"][name] = torch.ones_like(values, dtype=torch.bool)
        if layer.kind != "categorical":
            shape = (1, -1, *(1,) * (values.ndim - 2))
            each = [wanted.stored(i, layer) for i in range(len(rows))]
            mean, std = (torch.tensor(of).view(shape) for of in zip(*each, strict=True))
            values = (values - mean) / std
        batch[name] = values
    return batch


def bands(*names: str) -> Tensor:
    return torch.stack([REFLECTANCE[name] for name in names])[None]


def scored(values: Tensor, mean: Any, std: Any) -> Tensor:
    shape = (-1, 1, 1)
    return (values - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


@contextmanager
def entered(encoder: Any, where: str) -> Iterator[list[Any]]:
    """Yield the arguments of each call of a function or module of an encoder."""
    *path, name = where.split(".")
    owner = encoder
    for part in path:
        owner = owner[int(part)] if part.isdigit() else getattr(owner, part)
    calls: list[Any] = []
    called = getattr(owner, name)
    if isinstance(called, nn.Module):

        def keep(_: nn.Module, args: Any, kwargs: Any) -> None:
            calls.append(copy.deepcopy((args, kwargs)))  # what is written to later

        handle = called.register_forward_pre_hook(keep, with_kwargs=True)
        yield calls
        handle.remove()
        return

    def spy(*args: Any, **kwargs: Any) -> Any:
        calls.append(copy.deepcopy((args, kwargs)))
        return called(*args, **kwargs)

    setattr(owner, name, spy)
    yield calls
    delattr(owner, name)


def mpmae(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """MMEarth-train: z-scores of the stored values, B8A before B8 (its NORM_STATS)."""
    mean = (1349.40, 1479.95, 1720.37, 1899.18, 2253.93, 2808.20, 3003.42, 3149.54, 3110.84,
            3213.76, 2399.09, 1811.80)  # fmt: skip
    std = (2340.29, 2375.87, 2256.90, 2354.18, 2293.00, 2033.22, 1920.17, 1816.62, 1988.19,
           1947.90, 1473.22, 1390.68)  # fmt: skip
    order = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B11", "B12")
    return [(calls[0][0][0], scored(bands(*order), mean, std))]


def of_a_picture(mean: Any, std: Any) -> Callable[[list[Any]], list[tuple[Tensor, Tensor]]]:
    """Stored values / 10 are the 8 bits of a picture; / 255, then z-scores of the training set."""

    def documented(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
        shown = (bands("B4", "B3", "B2") / 10 / 255).clamp(0, 1)
        return [(calls[0][0][0], scored(shown, mean, std))]

    return documented


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""torchgeo, scale_mae.py, after its division by 255; timm's DINOv3 of the web."""
MAXAR = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)
"""DINOv3's README, for the weights of satellites."""


def satlasnet(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """Satlas, Normalization.md: the picture of 8 bits / 255; the other bands / 8160; up to 1."""
    picture = bands("B4", "B3", "B2") / 10 / 255
    others = bands("B5", "B6", "B7", "B8", "B11", "B12") / 8160
    return [(calls[0][0][0], torch.cat([picture, others], 1).clamp(0, 1))]


def terramind(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """terratorch, terramind_register.py: z-scores by modality."""
    from terratorch.models.backbones.terramind.model import terramind_register as register

    mean, std = register.v1_pretraining_mean, register.v1_pretraining_std
    raw = {"sen2l2a": bands(*OPTICAL), "sen1grd": VV_VH, "dem": STORED["aster_gdem"][:, :1]}
    fed, of = calls[0][0][0], {"sen2l2a": "S2L2A", "sen1grd": "S1GRD", "dem": "DEM"}
    pairs = [
        (fed[of[name]], scored(values, mean[f"untok_{name}@224"], std[f"untok_{name}@224"]))
        for name, values in raw.items()
    ]
    # The picture: white is the 99.8th percentile after what lies beyond the 2nd and 98th counts
    # half, black the 0.2nd, as the median is above 1000.
    rgb = bands("B4", "B3", "B2")
    values = rgb.flatten().double().numpy()
    low, high = np.quantile(values, [0.02, 0.98])
    squeezed = np.where(values < low, (values + low) / 2, values)
    squeezed = np.where(values > high, (values + high) / 2, squeezed)
    black, white = np.quantile(squeezed, [0.002, 0.998])
    shown = ((squeezed - black) / (max(white, 2000) - black) * 255).clip(0, 255)
    picture = torch.from_numpy(shown.reshape(rgb.shape)).float()
    expected = scored(picture, mean["untok_sen2rgb@224"], std["untok_sen2rgb@224"])
    return [*pairs, (fed["RGB"], expected)]


def copernicusfm(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """torchgeo, resnet.py: the statistics of SSL4EO-S12, of the same authors; B10 is not there.

    Metadata: longitude, latitude, days since 1970, km² of a patch (copernicusfm.py).
    """
    from torchgeo.models import resnet

    thirteen = [i for i in range(13) if i != 10]
    mean, std = ([of[i] for i in thirteen] for of in (resnet._mean_s2, resnet._std_s2))
    optical, radar, ground = (args for args, _ in calls)
    days = (np.datetime64("2020-07-15") - np.datetime64("1970-01-01")).astype(int)
    dem_days = (np.datetime64("2015-01-01") - np.datetime64("1970-01-01")).astype(int)
    nanometres = [440, 490, 560, 665, 705, 740, 783, 842, 860, 940, 1610, 2190]
    return [
        (optical[0], scored(bands(*OPTICAL), mean, std)),
        (radar[0], scored(VV_VH, resnet._mean_s1, resnet._std_s1)),
        (ground[0], STORED["aster_gdem"][:, :1] / 10000),
        (optical[1], torch.tensor([[LON, LAT, days, 0.16**2]])),
        (ground[1], torch.tensor([[LON, LAT, dem_days, 0.16**2]])),
        (torch.tensor(optical[2]), torch.tensor(nanometres)),
    ]


def galileo(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """rslearn, single_file_galileo.py: its own Normalizer of raw values; the index stays as it is.

    Latitude and longitude as a point on the unit sphere, months from 0.
    """
    from rslearn.models.galileo import single_file_galileo as package

    fed, normalise = calls[0][1], package.Normalizer()
    s2 = bands(*package.S2_BANDS)
    red, infrared = REFLECTANCE["B4"], REFLECTANCE["B8"]
    index = ((infrared - red) / (infrared + red))[None, None]
    space_time = torch.cat([VV_VH, s2, index], 1).movedim(1, -1)
    ground = torch.zeros(1, 128, 128, len(package.SPACE_BANDS))
    ground[..., :2] = STORED["aster_gdem"].movedim(1, -1)
    ground = normalise(ground.double())
    ground[..., 2:11] = nn.functional.one_hot(STORED["dynamic_world"][0, 0], 9)
    weather = torch.zeros(1, 1, len(package.TIME_BANDS))
    warm, wet = (MMEARTH_BENCH.layers[name].band_names for name in ("temperature", "precipitation"))
    weather[..., 0] = STORED["temperature"][:, warm.index("month_mean")]
    weather[..., 1] = STORED["precipitation"][:, wet.index("month")]
    lon, lat = math.radians(LON), math.radians(LAT)
    sphere = [math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)]
    return [
        (fed["s_t_x"][:, :, :, 0], normalise(space_time.double())),
        (fed["sp_x"][..., :11], ground[..., :11]),
        (fed["t_x"][..., :2], normalise(weather.double())[..., :2]),
        (fed["st_x"][:, 1:4], torch.tensor([sphere])),
        (fed["months"], torch.tensor([[MONTH - 1]])),
    ]


def olmoearth(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """olmoearth-pretrain-minimal: its own Normalizer of raw values; day, month from 0, year."""
    from olmoearth_pretrain_minimal import Normalizer
    from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.utils.constants import Modality

    sample, normalise = calls[0][0][0], Normalizer(std_multiplier=2.0)
    names = [f"B{band[1:].lstrip('0')}" for band in Modality.SENTINEL2_L2A.band_order]
    raw = (
        (sample.sentinel2_l2a, Modality.SENTINEL2_L2A, bands(*names)),
        (sample.sentinel1, Modality.SENTINEL1, VV_VH),
    )
    in_time = [(fed, of, values.movedim(1, -1)[:, :, :, None].numpy()) for fed, of, values in raw]
    pairs = [(fed, torch.from_numpy(normalise.normalize(of, each))) for fed, of, each in in_time]
    return [*pairs, (sample.timestamps, torch.tensor([[[15, MONTH - 1, 2020]]]))]


def prithvi(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """Prithvi-EO-2.0, config.json: z-scores of blue, green, red, narrow NIR and two of SWIR."""
    mean = (1087.0, 1342.0, 1433.0, 2734.0, 1958.0, 1363.0)
    std = (2248.0, 2179.0, 2178.0, 1850.0, 1242.0, 1049.0)
    return [(calls[0][0][0], scored(bands("B2", "B3", "B4", "B8A", "B11", "B12"), mean, std))]


def dofa(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """DOFA's README: images of 8 bits, of the bands beside the picture stored values / 32."""
    mean = (114.1099739, 114.81779093, 126.63977424, 84.33539309, 97.84789168, 103.94461911,
            101.435633, 72.32804172, 56.66528851)  # fmt: skip
    std = (77.84352553, 69.96844919, 67.42465279, 64.57022983, 61.72545487, 61.34187099,
           60.29744676, 47.88519516, 42.55886798)  # fmt: skip
    picture, others = bands("B4", "B3", "B2") / 10, bands("B5", "B6", "B7", "B8", "B11", "B12") / 32
    eight_bit = torch.cat([picture, others], 1).clamp(0, 255)
    micrometres = torch.tensor([0.665, 0.56, 0.49, 0.705, 0.74, 0.783, 0.842, 1.61, 2.19])
    (image, waves), _ = calls[0]
    return [(image, scored(eight_bit, mean, std)), (waves, micrometres)]


def plain(values: Tensor) -> Tensor:
    """Return z-scores by the statistics of the test: mean 0, deviation 1 of the stored values."""
    return values.float()


def croma(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """CROMA's README: (x − (mean − 2 std)) / (4 std) of the images at hand, cut off at 0 and 1."""
    radar, optical = calls[0][0]
    return [
        (radar, ((plain(VV_VH) + 2) / 4).clamp(0, 1)),
        (optical, ((plain(bands(*OPTICAL)) + 2) / 4).clamp(0, 1)),
    ]


def panopticon(calls: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """Panopticon's sensors/*.yaml: nanometres, and numbers of polarisations; z-scores at hand."""
    fed = calls[0][0][0]
    images = torch.cat([plain(bands(*OPTICAL)), plain(STORED["sentinel1"][:, [0, 1, 4, 5]])], 1)
    smaller = nn.functional.interpolate(images, (126, 126), mode="bilinear", antialias=True)
    nanometres = (442.9, 493.0, 559.6, 664.6, 704.0, 740.6, 782.4, 827.5, 864.8, 945.0, 1613.9,
                  2203.6, -5.0, -6.0, -9.0, -10.0)  # fmt: skip
    return [(fed["imgs"], smaller), (fed["chn_ids"], torch.tensor([nanometres]))]


DOCUMENTED: dict[str, tuple[str, Callable[[list[Any]], list[tuple[Tensor, Tensor]]]]] = {
    "mpmae": ("net.forward_features", mpmae),
    "scalemae": ("net.forward_features", of_a_picture(*IMAGENET)),
    "dinov3_web": ("net.forward_features", of_a_picture(*IMAGENET)),
    "dinov3_sat": ("net.forward_features", of_a_picture(*MAXAR)),
    "satlasnet": ("net.features", satlasnet),
    "terramind": ("net", terramind),
    "copernicusfm": ("net.forward_features", copernicusfm),
    "galileo": ("net", galileo),
    "dofa": ("net.patch_embed", dofa),
    "croma": ("net", croma),
    "prithvi": ("net.forward_features", prithvi),
    "panopticon": ("net.model.forward_features", panopticon),
    "olmoearth_nano": ("net", olmoearth),
    "olmoearth_base": ("net", olmoearth),
}
"""Encoder → where its network is entered, and calls there → pairs of what came and what should."""
