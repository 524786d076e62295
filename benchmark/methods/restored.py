"""Modules that are as they were afterwards, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def restored(
    modules: Iterable[nn.Module], chosen: Sequence[nn.Parameter]
) -> Iterator[list[Tensor]]:
    """Make modules ready to adapt, and give back every bit of them at the end.

    Inside the block all of them are in evaluation mode and only the chosen parameters have a
    gradient. Values of those parameters, all buffers, modes and `requires_grad` come back, after an
    exception too; `.grad` is not touched. The values are written in place: pointers to them stay.

    Yields:
        The values that the chosen parameters had, not to be written to.
    """
    layers = list(dict.fromkeys(layer for module in modules for layer in module.modules()))
    parameters = list(dict.fromkeys(each for layer in layers for each in layer.parameters(False)))
    modes = [layer.training for layer in layers]
    wanted = [parameter.requires_grad for parameter in parameters]
    buffers = [dict(layer._buffers) for layer in layers]  # with those that are None
    contents = [each.clone() for held in buffers for each in held.values() if each is not None]
    values = [parameter.detach().clone() for parameter in chosen]
    try:
        for layer in layers:
            layer.training = False
        for parameter in parameters:
            parameter.requires_grad_(False)
        for parameter in chosen:
            parameter.requires_grad_(True)
        yield values
    finally:
        with torch.no_grad():
            for parameter, value in zip(chosen, values, strict=True):
                parameter.copy_(value)
            kept = [each for held in buffers for each in held.values() if each is not None]
            for buffer, content in zip(kept, contents, strict=True):
                buffer.copy_(content)
        for layer, held in zip(layers, buffers, strict=True):
            layer._buffers.clear()
            layer._buffers.update(held)
        for parameter, is_wanted in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(is_wanted)
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
        torch.clear_autocast_cache()
