"""Check: what an encoder promises, tried before any hour of a GPU is spent on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from mmearth.benchmark.encoder import Encoder
from mmearth.catalog.catalogue import Catalogue
from mmearth.loaders.inputs import ModalityInput, Normalisation

N_TILES = 2
MANY = 5
"""Tiles of the larger batch that is tried."""
GREATEST, LEAST = 4000.0, -40.0
"""Of the values that tiles are made up of, as stored, where a band allows more."""
ALIKE = 1e-3
"""Relative: how far a tile's features may depend on the tiles beside it, by rounding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, and whether it is kept."""

    name: str
    """For people."""
    problem: str
    """What was found, what was expected; empty if it is kept."""


def plain_statistics(catalogue: Catalogue) -> Normalisation:
    """Return statistics of all modalities without a dataset: values as they are stored."""
    return Normalisation.of(
        ModalityInput(
            layer.name,
            layer.band_names,
            tuple(band.unit for band in layer.bands),
            None,
            (0.0,) * len(layer.bands),
            (1.0,) * len(layer.bands),
        )
        for layer in catalogue.layers.values()
    )


def made_up_batch(encoder: Encoder, catalogue: Catalogue, seed: int = 0) -> dict[str, Any]:
    """Return N_TILES tiles of chance, of what an encoder wants, all of it valid.

    The second has a quarter of the first's contrast: what is computed over a batch moves.
    """
    chance = torch.Generator().manual_seed(seed)
    batch: dict[str, Any] = {"mask": {}}
    for name, wanted in encoder.inputs.items():
        layer = catalogue.layer(name)
        shape = (N_TILES, len(wanted.bands), *layer.shape[1:])
        batch["mask"][name] = torch.ones(shape, dtype=torch.bool)
        if layer.classes:
            batch[name] = torch.randint(0, len(layer.classes), shape, generator=chance)
            continue
        values = torch.rand(shape, generator=chance)
        values[1:] *= 0.25
        if layer.kind == "cyclic":  # cosine and sine of angles, in turn
            angles = (values[:, ::2] - 0.5) * torch.pi
            pairs = torch.stack([angles.cos(), angles.sin()], 2).flatten(1, 2)
            batch[name] = pairs[:, : len(wanted.bands)]
            continue
        for i, band in enumerate(wanted.bands):
            of = layer.bands[layer.index((band,))[0]]
            low, high = max(of.valid[0], LEAST), min(of.valid[1], GREATEST)
            mean, std = wanted.stored(i, layer)
            values[:, i] = (low + values[:, i] * (high - low) - mean) / std
        batch[name] = values
    return batch


def check(encoder: Encoder, catalogue: Catalogue) -> Iterator[Finding]:
    """Try an encoder on made-up tiles of a dataset, one finding a promise.

    It is left in evaluation mode.
    """
    encoder.eval()
    batch = made_up_batch(encoder, catalogue)
    kept = _copied(batch)
    features: Any = None

    def run() -> str:
        nonlocal features
        with torch.no_grad():
            features = encoder(batch)
        return ""

    yield _found("runs on what it declares", run)
    if features is None:
        return
    yield _found("features are as declared", lambda: _shape(encoder, features))
    if not isinstance(features, Tensor) or features.ndim != 4:
        return
    tried = _Tried(encoder, batch, features.detach())
    yield _found("leaves the batch as it is", lambda: _leaves(batch, kept))
    for name, trial in _TRIALS.items():
        yield _found(name, partial(trial, tried))


def _found(name: str, trial: Callable[[], str]) -> Finding:
    try:
        return Finding(name, trial())
    except Exception as exc:  # noqa: BLE001 - whatever a model raises is the finding
        return Finding(name, f"{type(exc).__name__}: {exc}")


def _shape(encoder: Encoder, features: Any) -> str:
    expected = (N_TILES, encoder.dim, *encoder.grid)
    if not isinstance(features, Tensor):
        return f"found {type(features).__name__}; expected a tensor of {expected}"
    if tuple(features.shape) != expected:
        return f"found {tuple(features.shape)}; expected {expected}: correct `dim` and `grid`"
    if features.dtype != torch.float32:
        return f"found {features.dtype}; expected torch.float32, as the heads are"
    if not features.isfinite().all():
        return "found values that are no numbers; expected finite ones"
    return ""


def _leaves(batch: dict[str, Any], kept: dict[str, Any]) -> str:
    for name, mask in kept["mask"].items():
        if not torch.equal(batch["mask"][name], mask):
            return f"it wrote to the mask of {name}; work on a copy"
        if not torch.equal(batch[name], kept[name]):
            return f"it wrote to {name}; work on a copy"
    return ""


@dataclass(frozen=True)
class _Tried:
    """An encoder and what it made of two tiles."""

    encoder: Encoder
    batch: dict[str, Any]
    features: Tensor

    @cached_property
    def alone(self) -> Tensor:
        """The features of the first tile in a batch of its own."""
        with torch.no_grad():
            features: Tensor = self.encoder(_first(self.encoder, self.batch))
            return features

    @cached_property
    def among(self) -> Tensor:
        """The features of the first tile before tiles that differ from it.

        Each of those has one modality of the second tile, in the order of the encoder's inputs; the
        last come again until there are MANY.
        """
        names = [*self.encoder.inputs]
        rows = [None, *names, *names[-1:] * (MANY - 1 - len(names))]
        many: dict[str, Any] = {"mask": {}}
        for name in names:
            chosen = [int(row == name) for row in rows]
            many[name] = self.batch[name][chosen]
            many["mask"][name] = self.batch["mask"][name][chosen]
        with torch.no_grad():
            features: Tensor = self.encoder(many)
            return features


def _repeats(tried: _Tried) -> str:
    encoder, batch = tried.encoder, tried.batch
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with torch.no_grad():
        same = torch.equal(tried.alone, encoder(_first(encoder, batch)))
    changed = [n for n, value in encoder.state_dict().items() if not torch.equal(value, before[n])]
    if changed:
        return f"{changed[0]} changed in evaluation mode; freezing would not freeze it"
    return "" if same else "two passes in evaluation mode differ; leave chance to training mode"


def _sees(tried: _Tried) -> str:
    encoder, features = tried.encoder, tried.features
    if torch.equal(*features[:2]):
        return "other tiles have the same features"
    first, *others = tried.among
    for name, tile in zip(encoder.inputs, others, strict=False):
        if torch.equal(tile, first):
            return f"{name} is declared and never read: with that of another tile nothing changes"
    return ""


def _tile_by_tile(tried: _Tried) -> str:
    alone, beside = tried.alone, tried.among
    if len(alone) != 1 or len(beside) != max(MANY, 1 + len(tried.encoder.inputs)):
        return f"{len(alone)} and {len(beside)} tiles came back; expected those of the batch"
    for among in (tried.features[:1], beside[:1]):
        apart = float((alone - among).norm() / among.norm().clamp(min=1e-12))
        if apart > ALIKE:
            return (
                f"a tile's features differ by {apart:.2g} when it comes alone; expected at most "
                f"{ALIKE}"
            )
    return ""


def _trains(tried: _Tried) -> str:
    encoder, features = tried.encoder, tried.features
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.train()
    try:
        with torch.no_grad():
            found = encoder(_copied(tried.batch))
    finally:
        encoder.eval()
        encoder.load_state_dict(before)
    if found.shape != features.shape:
        return f"in training features are {tuple(found.shape)}, else {tuple(features.shape)}"
    return "" if found.isfinite().all() else "in training features are no numbers"


def _bears_gaps(tried: _Tried) -> str:
    encoder, batch = tried.encoder, tried.batch
    lacks: list[tuple[str, ...]] = [*((name,) for name in encoder.inputs), tuple(encoder.inputs)]
    for i in range(0, len(lacks), N_TILES):  # each tile of a batch lacks something else
        tiles = lacks[i : i + N_TILES]
        less = {name: batch[name].clone() for name in encoder.inputs}
        masks = {name: mask.clone() for name, mask in batch["mask"].items()}
        for row, names in enumerate(tiles):
            for name in names:
                less[name][row], masks[name][row] = 0, False
        with torch.no_grad():
            found = encoder(less | {"mask": masks})
        for names, tile in zip(tiles, found, strict=False):
            if not tile.isfinite().all():
                return f"a tile without {', '.join(names)} has features that are no numbers"
    return ""


def _learns(tried: _Tried) -> str:
    encoder, batch = tried.encoder, tried.batch
    parameters = {name: each for name, each in encoder.named_parameters() if each.requires_grad}
    if not parameters:
        return "no parameter asks for a gradient, so nothing would be trained"
    loss = encoder(_first(encoder, batch)).square().mean()
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    gradients = dict(zip(parameters, found, strict=True))
    unused = [name for name, gradient in gradients.items() if gradient is None]
    reached = [each for each in found if each is not None]
    wrong = [n for n, each in gradients.items() if each is not None and not each.isfinite().all()]
    if reached and not any(each.any() for each in reached):
        return "all gradients are 0, so nothing would be trained; features do not depend on them"
    if wrong:
        return f"the gradient of {wrong[0]} is no number"
    if len(unused) == len(parameters):
        return "no parameter has a gradient; compute features without no_grad() and detach()"
    if unused:
        return (
            f"{len(unused)} parameters do nothing, such as {unused[0]}; take them out or freeze "
            "them, or several ranks wait for their gradients"
        )
    return ""


def _copied(batch: dict[str, Any]) -> dict[str, Any]:
    """Return the same in memory of its own."""
    copied: dict[str, Any] = {name: batch[name].clone() for name in batch["mask"]}
    return copied | {"mask": {name: mask.clone() for name, mask in batch["mask"].items()}}


def _first(encoder: Encoder, batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch of the first tile alone."""
    first: dict[str, Any] = {name: batch[name][:1] for name in encoder.inputs}
    return first | {"mask": {name: mask[:1] for name, mask in batch["mask"].items()}}


_TRIALS: dict[str, Callable[[_Tried], str]] = {
    "frozen, it repeats itself": _repeats,
    "sees what it is fed": _sees,
    "a tile's features are its own": _tile_by_tile,
    "bears missing modalities": _bears_gaps,
    "works in training": _trains,
    "all parameters learn": _learns,
}
