"""Cotangents: the derivative of every modality's loss with respect to the embedding.

What a loss does to the encoder goes through the embedding. So the losses are differentiated only as
far as that, through the reconstruction head, which is small; the encoder sees a cotangent a
modality and neither head nor losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmearth.benchmark.methods.tensors import detached, tensors_of
from mmearth.catalog.errors import ConfigError

Head = Callable[[Any], Any]
"""Embedding → outputs."""
Losses = Callable[[Any, Any], Mapping[str, Tensor]]
"""(outputs, batch) → by modality: a scalar, or one loss a tile; NaN where nothing is there."""


@dataclass(frozen=True, slots=True)
class Cotangents:
    """What M modalities have to say about an embedding."""

    losses: dict[str, Tensor]
    """By modality: a scalar; NaN where the batch has nothing of it."""
    names: tuple[str, ...]
    """The M modalities whose loss was differentiated."""
    stacked: list[Tensor]
    """For each tensor of the embedding: (M, *its shape), 0 for a modality whose loss is NaN."""

    @property
    def present(self) -> Tensor:
        """(M,) bool: which of `names` the batch holds something of."""
        return torch.stack([~self.losses[name].isnan() for name in self.names])

    def only_present(self) -> Cotangents:
        """Return those of the modalities that are there. Waits for the device."""
        rows = self.present.tolist()
        names = tuple(name for name, row in zip(self.names, rows, strict=True) if row)
        return Cotangents(self.losses, names, [tensor[rows] for tensor in self.stacked])


def cotangents(
    head: Head, losses: Losses, embedding: Any, batch: Any, held_back: tuple[str, ...] = ()
) -> Cotangents:
    """Return the losses and their derivatives with respect to an embedding.

    Args:
        head: Reconstructs the modalities.
        losses: Of the reconstruction. Losses of several tiles are averaged over those not NaN.
        embedding: What the encoder returned; its graph is not entered.
        batch: For `losses`.
        held_back: Modalities that are not differentiated.

    Raises:
        ConfigError: A loss cannot be differentiated, or a modality to hold back has none.
    """
    cut = detached(embedding)
    leaves = [leaf.requires_grad_() for leaf in tensors_of(cut)]
    means = means_of(losses(head(cut), batch), held_back)
    names = tuple(name for name in means if name not in held_back)
    rows = [_derivative(name, means[name], leaves) for name in names]
    stacked = [torch.stack(each) for each in zip(*rows, strict=True)]
    return Cotangents({name: loss.detach() for name, loss in means.items()}, names, stacked)


def means_of(losses: Mapping[str, Tensor], held_back: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Return each modality's loss as one number: the mean over tiles that are not NaN.

    Raises:
        ConfigError: The losses have no names, a modality that is held back has none, or all are
            held back.
    """
    if not isinstance(losses, Mapping):
        raise ConfigError(
            f"the losses came as {type(losses).__name__}; expected a dict of a loss by modality"
        )
    if unknown := [name for name in held_back if name not in losses]:
        raise ConfigError(
            f"{unknown[0]} is to be held back and has no loss; expected some of {', '.join(losses)}"
        )
    if not set(losses) - set(held_back):
        raise ConfigError(
            "there is no loss of a modality to adapt to; return some by name, and hold back fewer"
        )
    return {name: loss.nanmean() for name, loss in losses.items()}


def _derivative(name: str, loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    if not loss.requires_grad:
        if loss.isnan():
            return [torch.zeros_like(leaf) for leaf in leaves]
        raise ConfigError(
            f"the loss of {name} does not depend on the embedding; compute it from what the "
            "reconstruction head returns, without detach() or no_grad()"
        )
    found = torch.autograd.grad(
        loss, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    # The derivative of a NaN may be anything; one that says nothing is 0.
    return [torch.where(loss.isnan(), 0.0, each) for each in found]
