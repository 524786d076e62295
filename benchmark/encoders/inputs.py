"""What adapters share: declaring what a model wants, choosing an orbit, tokens as a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mmearth.benchmark.encoder import Batch
from mmearth.catalog.errors import ConfigError
from mmearth.loaders.inputs import ModalityInput, Normalisation

PUBLISHED = "mmearth-bench-2026"
"""The recipe that keeps the published quirks of inputs."""
SENTINEL2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
"""Bands of Sentinel-2's surface reflectance, by wavelength."""
RGB = ("B4", "B3", "B2")
"""Of Sentinel-2: red, green, blue."""
ORBITS = ("asc_VV", "asc_VH", "desc_VV", "desc_VH")
"""Of Sentinel-1: both orbits' two polarisations that there nearly always are."""


def declared(
    modality: str,
    bands: Sequence[str],
    units: str | Sequence[str] = "1",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float = 1.0,
    n_classes: int | None = None,
) -> ModalityInput:
    """Return what a model wants of a modality.

    Args:
        modality: Name of the layer.
        bands: Names in the model's order.
        units: Of each band, or of all.
        mean: Of each band, in the model's numbers; None is 0.
        std: Of each band, in the model's numbers; None is 1. Both None: values come as they are.
        scale: The model's number × scale = value in the unit.
        n_classes: That the model tells apart; None for numbers.
    """
    n = len(bands)
    units = (units,) * n if isinstance(units, str) else tuple(units)
    means, deviations = tuple(mean or (0.0,) * n), tuple(std or (1.0,) * n)
    return ModalityInput(modality, tuple(bands), units, scale, means, deviations, n_classes)


def sentinel2(
    bands: Sequence[str] = SENTINEL2,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ModalityInput:
    """Return what a model of reflectances × 10000 wants of Sentinel-2; see `declared`."""
    return declared("sentinel2", bands, "1", mean, std, 1e-4)


def elevation(mean: float, std: float) -> ModalityInput:
    """Return what a model of metres above the sea wants."""
    return declared("aster_gdem", ("elevation",), "m", (mean,), (std,))


PLACE = declared("geolocation", ("cos_lon", "sin_lon", "cos_lat", "sin_lat"))
"""Of models that are told where a tile lies; see `degrees_of`."""
MONTH = declared("month", ("cos_month", "sin_month"))
"""Of models that are told when; see `month_of`."""


def both_orbits(mean: Sequence[float], std: Sequence[float]) -> ModalityInput:
    """Return what a model of VV and VH wants of either orbit; `orbit_pair` chooses one.

    Args:
        mean: Of VV and VH, in dB.
        std: Of VV and VH, in dB.
    """
    return declared("sentinel1", ORBITS, "dB", [*mean, *mean], [*std, *std])


def of_statistics(statistics: Normalisation, modality: str, bands: Sequence[str]) -> ModalityInput:
    """Return what a model wants that is trained on the statistics at hand.

    Args:
        statistics: The z-scores of the train subset, of all modalities of the dataset.
        modality: Which of them.
        bands: Names in the model's order.

    Raises:
        ConfigError: The dataset lacks the modality or a band.
    """
    given = statistics.get(modality)
    lacking = [band for band in bands if given is None or band not in given.bands]
    if given is None or lacking:
        raise ConfigError(
            f"the encoder wants {modality} {lacking[0]}, which the dataset has not; take another "
            f"encoder, such as one from scratch of all modalities: {', '.join(statistics)}"
        )
    at = [given.bands.index(name) for name in bands]
    mean, std = (tuple(values[i] for i in at) for values in (given.mean, given.std))
    units = tuple(given.units[i] for i in at)
    return replace(given, bands=tuple(bands), units=units, mean=mean, std=std)


def orbit_pair(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return VV and VH, (B, 2, row, column), of the orbit with more valid pixels, and their mask.

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
