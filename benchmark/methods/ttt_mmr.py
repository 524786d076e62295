"""TTTMMR: test-time training by multimodal reconstruction, for any module and any modalities.

A batch that came without labels still shows what its modalities are. The encoder takes a few steps
that make it reconstruct them better, predicts, and is reset (MMEarth-Bench §6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmearth.benchmark.methods.cotangents import Cotangents, Head, Losses, cotangents, means_of
from mmearth.benchmark.methods.products import PRODUCTS
from mmearth.benchmark.methods.restored import restored
from mmearth.benchmark.methods.subsets import Parameters, choose
from mmearth.benchmark.methods.tensors import detached, tensors_of
from mmearth.benchmark.methods.trace import Adapted, Trace
from mmearth.catalog.arguments import whole
from mmearth.catalog.errors import ConfigError

LR = 0.01
"""How far a step goes at most, in the norm of all parameters (MMEarth-Bench §6)."""
STEPS = 5
"""Of the validation run that chooses K, and of a test without one (MMEarth-Bench §6)."""


def _whole(batch: Any) -> Any:
    return batch


@dataclass(frozen=True, slots=True)
class TTTMMR:
    """Adapts an encoder to one batch after another, each time from its own weights.

    Raises:
        ConfigError: An option cannot be, or chooses no parameter.
    """

    encoder: nn.Module
    """Returns an embedding: a tensor, or a list, tuple or dict of tensors."""
    reconstruction_head: Head
    """Embedding → outputs, trained jointly with the encoder."""
    losses: Losses
    """(outputs, batch) → by modality, a scalar or one loss a tile; NaN where the batch has nothing
    of it. `mmearth.benchmark.losses.losses_of_batch` for batches of our loaders."""
    lr: float = LR
    """Of the plain gradient steps."""
    steps: int = STEPS
    """K, 0 or more."""
    parameters: Parameters = "all"
    """Which of the encoder's are adapted: `all`, `norm`, `last:2` or a function; see `choose`."""
    products: str = "stream"
    """A key of PRODUCTS. All give the same; `stream` needs least memory."""
    inputs: Callable[[Any], Any] = _whole
    """Batch → what the encoder takes."""
    held_back: tuple[str, ...] = ()
    """Modalities that are not adapted to: the iteration that reconstructs them best is chosen. It
    is 0 where the batch has none of them."""
    roll_back: bool = False
    """Whether to stop when the watched loss rises, at the iteration before."""
    skip_absent: bool | None = None
    """Whether modalities that the batch lacks cost nothing; if not, they are adapted to with a
    cotangent of 0, which gives the same, has no step that depends on data, and so never waits for
    the device. None: on a CPU."""

    only_finite: bool = False
    """Whether a modality whose gradient is not finite is left out of the step; if not, it ends
    adapting with a sentence that names it."""

    def __post_init__(self) -> None:
        whole("steps", self.steps)
        if not isinstance(self.encoder, nn.Module):
            raise ConfigError(
                f"found an encoder that is {type(self.encoder).__name__}; expected a "
                "torch.nn.Module, whose parameters are adapted"
            )
        if not (isinstance(self.lr, int | float) and 0 < self.lr < math.inf):
            raise ConfigError(f"found lr {self.lr!r}; expected a finite number above 0")
        if self.products not in PRODUCTS:
            raise ConfigError(
                f"found products {self.products!r}; expected one of {', '.join(PRODUCTS)}"
            )
        choose(self.encoder, self.parameters)

    def adapt(self, batch: Any, predict: Callable[[Any], Any]) -> Adapted:
        """Adapt to one batch and return the predictions of iterations 0 (not adapted) to K.

        The encoder is the same afterwards, bit for bit. Not for several threads at once.

        Args:
            batch: For `inputs` and `losses`.
            predict: Embedding, without a graph, → anything; called once an iteration.

        Raises:
            ConfigError: It is called under torch.inference_mode(), or as `cotangents` says.
        """
        if torch.is_inference_mode_enabled():
            raise ConfigError(
                "adapting needs gradients, and inference mode has none; call it outside of "
                "torch.inference_mode()"
            )
        parameters = choose(self.encoder, self.parameters)
        parts = (self.encoder, self.reconstruction_head, self.losses, predict)
        modules = [part for part in parts if isinstance(part, nn.Module)]
        with restored(modules, parameters) as start:
            return self._iterate(batch, predict, parameters, start).adapted(self.steps)

    def agreement(self, batch: Any, loss: Callable[[Any], Tensor]) -> float:
        """Return the cosine between the direction of a first step and another loss's gradient.

        Above 0, a small step makes that loss less too. The encoder is the same afterwards.

        Args:
            batch: For `inputs` and `losses`.
            loss: Embedding → a scalar, such as the task's loss where there are labels.

        Returns:
            -1 to 1; NaN where one of both has no length.
        """
        parameters = choose(self.encoder, self.parameters)
        parts = (self.encoder, self.reconstruction_head, self.losses)
        modules = [part for part in parts if isinstance(part, nn.Module)]
        with restored(modules, parameters), torch.enable_grad():
            embedding = self.encoder(self.inputs(batch))
            found = self._cotangents(embedding, batch)
            gradient = torch.autograd.grad(
                loss(embedding),
                parameters,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            direction, _ = self._direction(embedding, parameters, found)
        pairs = zip(direction, gradient, strict=True)
        product = sum(float((one.double() * other.double()).sum()) for one, other in pairs)
        length = float(_norm(direction) * _norm(gradient))
        return product / length if length > 0 else math.nan

    def _iterate(
        self,
        batch: Any,
        predict: Callable[[Any], Any],
        parameters: Sequence[Tensor],
        start: Sequence[Tensor],
    ) -> Trace:
        trace, norms = Trace(self.held_back, self.roll_back, _norm(start)), []
        for _ in range(self.steps):
            with torch.enable_grad():
                embedding = self.encoder(self.inputs(batch))
                found = self._cotangents(embedding, batch)
            with torch.no_grad():
                prediction = predict(detached(embedding))
                if not trace.keep(prediction, found.losses, _distance(parameters, start)):
                    break
                direction, norm = self._direction(embedding, parameters, found)
                norms.append((found.names, norm))
                del embedding  # and its graph, before the next
                for parameter, change in zip(parameters, direction, strict=True):
                    parameter.sub_(change, alpha=self.lr)
                torch.clear_autocast_cache()  # else a cast made before the step is used after it
        else:
            with torch.no_grad():
                embedding = self.encoder(self.inputs(batch))
                losses = self.losses(self.reconstruction_head(embedding), batch)
                means = means_of(losses, self.held_back)
                trace.keep(predict(embedding), means, _distance(parameters, start))
        if not self.only_finite:
            _refuse_non_finite(norms)  # at the end, so that no step waits for the device
        return trace

    def _cotangents(self, embedding: Any, batch: Any) -> Cotangents:
        tensors = tensors_of(embedding)
        if not any(tensor.requires_grad for tensor in tensors):
            raise ConfigError(
                "the embedding does not depend on the chosen parameters; let the encoder run "
                "without no_grad() and detach(), or choose other parameters"
            )
        found = cotangents(self.reconstruction_head, self.losses, embedding, batch, self.held_back)
        on_cpu = tensors[0].device.type == "cpu"
        skips = on_cpu if self.skip_absent is None else self.skip_absent
        return found.only_present() if skips else found

    def _direction(
        self, embedding: Any, parameters: Sequence[Tensor], found: Cotangents
    ) -> tuple[list[Tensor], Tensor]:
        """Return the mean, over the modalities that are there, of their normalised gradients.

        Behind it the norms of those gradients, (M,).
        """
        if not found.names:
            return [torch.zeros_like(each) for each in parameters], torch.zeros(0)
        # Of several tensors some may come from before the chosen parameters.
        reached = [
            (tensor, rows)
            for tensor, rows in zip(tensors_of(embedding), found.stacked, strict=True)
            if tensor.requires_grad
        ]
        tensors, rows = zip(*reached, strict=True)
        total, norms = PRODUCTS[self.products](tensors, parameters, rows, self.only_finite)
        counted = found.present & norms.isfinite() if self.only_finite else found.present
        n_counted = counted.sum().clamp(min=1)
        return [part / n_counted for part in total], norms


def _refuse_non_finite(norms: Sequence[tuple[tuple[str, ...], Tensor]]) -> None:
    """Stop where a modality's gradient was not finite: it would make every prediction NaN.

    Raises:
        ConfigError: One was.
    """
    for step, (names, values) in enumerate(norms):
        for name, norm in zip(names, values.tolist(), strict=True):
            if not math.isfinite(norm):
                raise ConfigError(
                    f"the gradient of {name} is no number in step {step + 1}, such as of 0 / 0 in "
                    "its loss, and would spoil all predictions; mend the loss, or leave the "
                    "modality out with only_finite=True"
                )


def _distance(parameters: Sequence[Tensor], start: Sequence[Tensor]) -> Tensor:
    """Return the norm of what the parameters have moved by."""
    return _norm([now - then for now, then in zip(parameters, start, strict=True)])


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norm of all values together, in float64."""
    norms = [torch.linalg.vector_norm(each, dtype=torch.float64) for each in tensors]
    norm: Tensor = torch.stack(norms).norm()
    return norm
