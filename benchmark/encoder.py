"""Encoder: what a model must offer to be benchmarked, and what it may ask of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.extras import needing
from mmearth.catalog.grid import DEFAULT_GRID, Grid
from mmearth.catalog.layer import Layer
from mmearth.loaders.inputs import ModalityInput, Normalisation

with needing("benchmark"):
    import torch
    from torch import Tensor, nn

Batch = Mapping[str, Any]
"""What a loader with a normalisation yields: a tensor a modality, `mask`, `target`, `weight`, …;
see mmearth.loaders.collate."""


class Encoder(nn.Module, ABC):
    """A network from the modalities of a batch to a grid of features.

    It reads the modalities in `inputs` and no others, and never writes to a batch.
    """

    inputs: Mapping[str, ModalityInput]
    """By modality: bands in the model's order, units, means and deviations."""
    dim: int
    """D, features of a cell of the grid."""
    grid: tuple[int, int]
    """(h, w): rows from the north, columns from the west, of a tile's features."""
    tiles: Grid | None = DEFAULT_GRID
    """The only tiles that it was made for; None: it takes tiles of any size and resolution."""

    @property
    def normalisation(self) -> Normalisation:
        """What a loader must be told so that its batches fit this encoder."""
        return Normalisation.of(self.inputs.values())

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Return the features, (B, D, h, w).

        Args:
            batch: Modalities as `inputs` says: float32 z-scores, (B, band, row, column) or
                (B, band), 0 where nothing is valid; int64 class indices; `mask` says what is valid.
        """


def check_fits(name: str, encoder: Encoder, catalogue: Catalogue) -> None:
    """Refuse to feed an encoder with a dataset that cannot give what it wants.

    Args:
        name: Of the encoder, for the sentence.
        encoder: Whose inputs are wanted.
        catalogue: Of the dataset.

    Raises:
        ConfigError: The dataset has other tiles, lacks a modality or band, or has it in another
            unit or scale.
    """
    found, wanted = catalogue.grid, encoder.tiles
    if wanted is not None and wanted != found:
        raise ConfigError(
            f"the encoder {name} was made for tiles of {wanted.pixels} pixels at "
            f"{wanted.resolution_m} m, the dataset has {found.pixels} at {found.resolution_m} m; "
            "take another encoder, such as one from scratch, or say `tiles = None` in its class if "
            "it takes any"
        )
    try:
        encoder.normalisation.check(catalogue)
    except ConfigError as exc:
        raise ConfigError(f"the encoder {name} does not fit the dataset: {exc}") from exc


def as_wanted(
    batch: Batch,
    given: Mapping[str, ModalityInput],
    encoder: Encoder,
    layers: Mapping[str, Layer],
) -> dict[str, Any]:
    """Return a batch whose modalities are as an encoder wants them; the given one stays.

    For batches that hold targets to reconstruct beside the encoder's inputs: those are z-scored
    with the task's train statistics, and the encoder may have been pretrained with others.

    Args:
        batch: Of modalities normalised as `given`, with their masks.
        given: What the batch was normalised with; all bands that the encoder wants.
        encoder: Whose inputs are wanted. Modalities that it does not want are left out.
        layers: What the modalities are.

    Raises:
        ConfigError: `given` lacks a modality or band.
    """
    fed: dict[str, Any] = {"mask": {}}
    for name, wanted in encoder.inputs.items():
        if name not in given:
            raise ConfigError(f"the encoder wants {name}, which the batch has not; choose it too")
        lacking = [band for band in wanted.bands if band not in given[name].bands]
        if lacking:
            raise ConfigError(f"the encoder wants {name} {lacking[0]}; choose all of its bands")
        order = [given[name].bands.index(band) for band in wanted.bands]
        mask = batch["mask"][name][:, order]
        fed["mask"][name] = mask
        was = [given[name].stored(i, layers[name]) for i in order]
        now = [wanted.stored(i, layers[name]) for i in range(len(order))]
        fed[name] = _again(batch[name][:, order], mask, was, now)
    return fed


def _again(
    values: Tensor, mask: Tensor, was: list[tuple[float, float]], now: list[tuple[float, float]]
) -> Tensor:
    """Return z-scores as those of another mean and deviation, band by band; 0 where not valid."""
    if was == now:
        return values
    scale = [std / new for (_, std), (_, new) in zip(was, now, strict=True)]
    shift = [(mean - new) / std for (mean, _), (new, std) in zip(was, now, strict=True)]
    shape = (-1, *(1,) * (values.ndim - 2))
    factor, offset = (values.new_tensor(each).view(shape) for each in (scale, shift))
    return torch.where(mask, values * factor + offset, 0.0)
