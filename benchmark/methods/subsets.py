"""Which of an encoder's parameters are adapted."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from mmearth.catalog.errors import ConfigError

Parameters = str | Callable[[str, nn.Parameter], bool]
"""`all`; `norm`: those of normalisation layers; `last:n`: those of the last n layers or blocks; or
a function of name and parameter that says which."""


def choose(encoder: nn.Module, parameters: Parameters) -> list[nn.Parameter]:
    """Return the chosen parameters, each once, in the encoder's order.

    Raises:
        ConfigError: There is no such choice, or it leaves no parameter.
    """
    if callable(parameters):
        chosen = [each for name, each in encoder.named_parameters() if parameters(name, each)]
    elif parameters == "all":
        chosen = list(encoder.parameters())
    elif parameters == "norm":
        layers = [layer for layer in encoder.modules() if "Norm" in type(layer).__name__]
        chosen = [each for layer in layers for each in layer.parameters(recurse=False)]
    elif last := re.fullmatch(r"last:([1-9]\d*)", parameters):
        layers = [layer for layer in _layers(encoder) if any(True for _ in layer.parameters())]
        chosen = [each for layer in layers[-int(last[1]) :] for each in layer.parameters()]
    else:
        raise ConfigError(
            f"found parameters {parameters!r}; expected all, norm, last:<layers> or a function"
        )
    unique = [each for each in dict.fromkeys(chosen) if each.is_floating_point()]
    if not unique:
        raise ConfigError(
            f"no parameter of {type(encoder).__name__} is among {parameters!r}, so nothing would "
            "be adapted; choose others"
        )
    return unique


def _layers(encoder: nn.Module) -> list[nn.Module]:
    """Return the layers or blocks of an encoder in order; wrappers of one child are opened."""
    body, children = encoder, list(encoder.children())
    while len(children) == 1:
        body, children = children[0], list(children[0].children())
    return [layer for child in children for layer in _opened(child)] or [body]


def _opened(module: nn.Module) -> list[nn.Module]:
    """Return what a sequence holds, of sequences too; another module as it is."""
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return [layer for child in module for layer in _opened(child)]
    return [module]
