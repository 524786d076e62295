"""An embedding's tensors: one, or several in a list, a tuple or a dict."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmearth.catalog.errors import ConfigError


def tensors_of(embedding: Any) -> list[Tensor]:
    """Return the tensors of an embedding, in order.

    Raises:
        ConfigError: It is neither a tensor nor a list, tuple or dict of tensors.
    """
    values = embedding.values() if isinstance(embedding, dict) else embedding
    tensors = list(values) if isinstance(embedding, list | tuple | dict) else [embedding]
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise ConfigError(
                f"the encoder returned {type(tensor).__name__} in {type(embedding).__name__}; "
                "expected a tensor, or a list, tuple or dict of tensors"
            )
    return tensors


def detached(embedding: Any) -> Any:
    """Return an embedding without the graph that it came from; its values are shared."""
    tensors_of(embedding)
    if isinstance(embedding, dict):
        return {name: tensor.detach() for name, tensor in embedding.items()}
    if isinstance(embedding, list | tuple):
        kind = list if isinstance(embedding, list) else tuple
        return kind(tensor.detach() for tensor in embedding)
    return embedding.detach()
