"""What adapters share: declaring what a model wants, choosing an orbit, tokens as a grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mmearth.benchmark.encoder import Batch
from mmearth.catalog.modalities import MODALITIES
from mmearth.loaders.inputs import ModalityInput, Normalisation

PUBLISHED = "mmearth-bench-2026"
"""The recipe that keeps the published quirks of inputs."""
RGB = ("B4", "B3", "B2")
"""Of Sentinel-2: red, green, blue."""
ORBITS = ("asc_VV", "asc_VH", "desc_VV", "desc_VH")
"""Of Sentinel-1: both orbits' two polarisations that there nearly always are."""


def declared(
    modality: str,
    bands: Iterable[str] | None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ModalityInput:
    """Return what a model of stored values wants.

    Args:
        modality: A key of MODALITIES.
        bands: Names in the model's order; None is all.
        mean: Of each band, as stored; None is 0.
        std: Of each band, as stored; None is 1. Both None: the values come as they are stored.
    """
    of = {band.name: band for band in MODALITIES[modality].bands}
    names = tuple(of) if bands is None else tuple(bands)
    return ModalityInput(
        modality,
        names,
        tuple(of[name].unit for name in names),
        of[names[0]].scale,
        (0.0,) * len(names) if mean is None else tuple(mean),
        (1.0,) * len(names) if std is None else tuple(std),
    )


def both_orbits(mean: Sequence[float], std: Sequence[float]) -> ModalityInput:
    """Return what a model of VV and VH wants of either orbit; `orbit_pair` chooses one.

    Args:
        mean: Of VV and VH, in dB.
        std: Of VV and VH, in dB.
    """
    return declared("sentinel1", ORBITS, [*mean, *mean], [*std, *std])


def of_statistics(
    statistics: Normalisation, modality: str, bands: Iterable[str] | None
) -> ModalityInput:
    """Return what a model wants that is trained on the statistics at hand.

    Args:
        statistics: The z-scores of the train subset.
        modality: One of them.
        bands: Names in the model's order; None is all.
    """
    given = statistics.only([modality])[modality]
    names = given.bands if bands is None else tuple(bands)
    at = [given.bands.index(name) for name in names]
    mean, std = (tuple(values[i] for i in at) for values in (given.mean, given.std))
    units = tuple(given.units[i] for i in at)
    return ModalityInput(modality, names, units, given.scale, mean, std)


def orbit_pair(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return VV and VH, (B, 2, 128, 128), of the orbit with more valid pixels, and their mask.

    The ascending one where both have as many (MMEarth-Bench §5.1).

    Args:
        batch: With `sentinel1` in the order of ORBITS.
    """
    values, mask = batch["sentinel1"], batch["mask"]["sentinel1"]
    n_valid = mask.flatten(2).sum(2)
    descends = (n_valid[:, 2:].sum(1) > n_valid[:, :2].sum(1))[:, None, None, None]
    pair = torch.where(descends, values[:, 2:], values[:, :2])
    return pair, torch.where(descends, mask[:, 2:], mask[:, :2])


def degrees_of(geolocation: Tensor) -> Tensor:
    """Return longitude and latitude in degrees, (B, 2), of our encoding, (B, 4)."""
    cos_lon, sin_lon, cos_lat, sin_lat = geolocation.unbind(1)
    pairs = ((sin_lon, cos_lon), (sin_lat, cos_lat))
    return torch.stack([torch.atan2(sin, cos).rad2deg() for sin, cos in pairs], 1)


def month_of(encoded: Tensor) -> Tensor:
    """Return the month, (B,), 0 for January, of our encoding, (B, 2)."""
    cos, sin = encoded.unbind(1)
    return (torch.atan2(sin, cos) * 6 / math.pi - 1).round().long() % 12


def grid_of(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return tokens of patches, (B, h·w, D) row by row, as features, (B, D, h, w)."""
    return tokens.mT.reshape(len(tokens), -1, *grid)


def freeze(net: nn.Module, *fragments: str) -> None:
    """Freeze the parameters whose names hold one of some fragments: those that nothing uses."""
    for name, parameter in net.named_parameters():
        if any(fragment in name for fragment in fragments):
            parameter.requires_grad = False


def two_deviations(scores: Tensor) -> Tensor:
    """Return z-scores as models see them that were fed (x - (mean - 2 std)) / (4 std)."""
    return (scores + 2) / 4
