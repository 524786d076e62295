"""PRODUCTS: ways to the sum of all modalities' normalised gradients; equal but for rounding.

A modality's gradient is a vector-Jacobian product: its cotangent at the embedding times the
derivative of the embedding with respect to the parameters. The forward pass and its graph are one
for all modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmearth.catalog.errors import ConfigError

EPSILON = 1e-6
"""Added to each gradient's norm (MMEarth-Bench §6)."""
BATCHED_BYTES = {"cuda": 16 * 2**30}
"""`auto` holds all gradients at once on a device that is bound by starting its kernels, if they
take no more than this. A CPU is bound by memory: there a stream is faster (docs/performance.md)."""

Products = Callable[
    [Sequence[Tensor], Sequence[Tensor], Sequence[Tensor], bool], tuple[list[Tensor], Tensor]
]
"""(tensors of the embedding with their graph, P parameters, cotangents (M, *shape) of each tensor,
whether gradients that are not finite count as 0) → for each parameter the sum over the M modalities
of gradient / (norm + EPSILON); and (M,) the norms, not finite where a gradient is not."""


def stream(
    embedding: Sequence[Tensor],
    parameters: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    only_finite: bool = False,
) -> tuple[list[Tensor], Tensor]:
    """One product after another, each normalised and added at once: two gradients in memory."""
    total = [torch.zeros_like(parameter) for parameter in parameters]
    norms = []
    for rows in zip(*cotangents, strict=True):
        gradient = _product(embedding, parameters, rows)
        norm = torch.stack([_norm(part, ()) for part in gradient]).norm()
        norms.append(norm)
        weight = 1 / (norm + EPSILON)
        if only_finite:  # 0 times what is no number is none either
            weight = weight.where(norm.isfinite(), 0.0)
            gradient = tuple(part.where(norm.isfinite(), 0.0) for part in gradient)
        for so_far, part in zip(total, gradient, strict=True):
            so_far.addcmul_(part, weight.to(part.dtype))
    return total, torch.stack(norms)


def batched(
    embedding: Sequence[Tensor],
    parameters: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    only_finite: bool = False,
) -> tuple[list[Tensor], Tensor]:
    """All products in one backward pass under vmap: M gradients in memory.

    Raises:
        ConfigError: The backward pass knows no vmap, such as that of a compiled encoder.
    """

    def product(*rows: Tensor) -> tuple[Tensor, ...]:
        return _product(embedding, parameters, rows)

    try:
        gradients = torch.func.vmap(product)(*cotangents)
    except RuntimeError as exc:
        if "vmap" not in str(exc):
            raise
        raise ConfigError(
            "the encoder's backward pass cannot be batched, as under torch.compile; say "
            'products="stream", or leave the encoder as it is'
        ) from exc
    norms = torch.stack([_norm(part, tuple(range(1, part.ndim))) for part in gradients]).norm(dim=0)
    weights = 1 / (norms + EPSILON)
    if only_finite:
        finite = norms.isfinite()
        weights = weights.where(finite, 0.0)
        shapes = [(-1, *(1,) * (part.ndim - 1)) for part in gradients]
        pairs = zip(gradients, shapes, strict=True)
        gradients = tuple(part.where(finite.view(shape), 0.0) for part, shape in pairs)
    total = [torch.tensordot(weights.to(part.dtype), part, dims=1) for part in gradients]
    return total, norms


def auto(
    embedding: Sequence[Tensor],
    parameters: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    only_finite: bool = False,
) -> tuple[list[Tensor], Tensor]:
    """`batched` on a GPU where all gradients are small enough, else `stream`."""
    one = sum(parameter.nbytes for parameter in parameters)
    limit = BATCHED_BYTES.get(embedding[0].device.type, 0)
    chosen = batched if one * len(cotangents[0]) <= limit else stream
    return chosen(embedding, parameters, cotangents, only_finite)


PRODUCTS: dict[str, Products] = {"stream": stream, "batched": batched, "auto": auto}
"""By name."""


def _product(
    embedding: Sequence[Tensor], parameters: Sequence[Tensor], rows: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        embedding,
        parameters,
        rows,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )


def _norm(part: Tensor, axes: tuple[int, ...]) -> Tensor:
    # In float64: one sum over a whole encoder in float32 is off by up to 0.6 %.
    norm: Tensor = torch.linalg.vector_norm(part, dim=axes or None, dtype=torch.float64)
    return norm
