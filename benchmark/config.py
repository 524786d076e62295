"""BenchmarkConfig: one YAML file says which runs there are, and how each is made."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from mmearth.benchmark.adapted import ADAPTED, choice_of
from mmearth.benchmark.metrics import check_metrics
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.configuration import Strict, read_config
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.plugins import METHODS as GROUP
from mmearth.catalog.plugins import place_of, plugins
from mmearth.catalog.wording import nearest, one_of

Recipe = Literal["default", "mmearth-bench-2026"]
METHODS = ("LP", "FT", "JT", *ADAPTED)
"""Names of the methods that are here, in the order of the paper."""
Fraction = Literal[5, 50, 100]
Tracker = Literal["csv", "tensorboard", "wandb", "mlflow"]
Baseline = Literal["mean", "neighbours", "boosting"]


Rates = float | tuple[float, ...]


def _is_rate(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and 0 < float(value) < math.inf
    except (TypeError, ValueError):
        return False


class Training(Strict):
    """How weights are trained. Source of the defaults: MMEarth-Bench §5.4."""

    epochs: int = Field(default=100, ge=1)
    """Passes over the train subset."""
    batch_size: int = Field(default=64, ge=1)
    """Samples of a step, over all ranks."""
    lr: float = Field(default=1e-4, gt=0)
    """Greatest learning rate of AdamW."""
    min_lr: float = Field(default=1e-6, ge=0)
    """Where the warm-up begins and the cosine ends."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Of AdamW."""
    warmup_epochs: float = Field(default=10, ge=0)
    """Of linear warm-up."""
    compile: bool = False
    """Whether torch.compile makes the steps faster, after a minute or more of compiling."""


class Adaptation(Strict):
    """How a batch is adapted to. Source of the defaults: MMEarth-Bench §6."""

    lr: Rates | dict[str, Rates] = 0.01
    """Of the plain gradient steps: a number, several of which validation chooses, or either for
    each encoder by its name."""
    max_steps: int = Field(default=5, ge=1)
    """The greatest K that may be chosen."""
    batch_size: int = Field(default=8, ge=1)
    """Samples that are adapted to together."""
    zero: bool = False
    """Whether validation may choose not to adapt."""
    held_back: tuple[str, ...] = ()
    """Modalities by whose reconstruction TTT-MMR-held-back chooses, while it adapts to the others;
    other methods adapt to all."""
    roll_back: bool = False
    """Whether a batch stops when its reconstruction gets worse."""
    parameters: str = "all"
    """Which of the encoder's are adapted: `all`, `norm` or `last:N`."""
    products: Literal["auto", "stream", "batched"] = "auto"
    """How the gradients are made; see docs/test-time-training.md."""

    @field_validator("lr", mode="before")
    @classmethod
    def _positive(cls, lr: Any) -> Any:
        each = list(lr.values()) if isinstance(lr, dict) else [lr]
        lists = [rates if isinstance(rates, list | tuple) else [rates] for rates in each]
        if not lists or not all(rates and all(map(_is_rate, rates)) for rates in lists):
            raise ValueError(
                "expected a finite number above 0, a list of them, or one of both for each encoder"
            )
        return lr

    def rates(self, encoder: str) -> tuple[float, ...]:
        """Return the learning rates that an encoder is tried with, the first of equals wins."""
        lr = self.lr[encoder] if isinstance(self.lr, dict) else self.lr
        return lr if isinstance(lr, tuple) else (lr,)

    @field_validator("parameters")
    @classmethod
    def _choice(cls, parameters: str) -> str:
        if not re.fullmatch(r"all|norm|last:[1-9]\d*", parameters):
            raise ValueError("expected all, norm or last:<layers>")
        return parameters


class BenchmarkConfig(Strict):
    """The whole matrix."""

    dataset: str
    """A directory or URL."""
    tasks: tuple[str, ...] = ()
    """Which of the dataset's; none: all that it has."""
    encoders: Annotated[tuple[str, ...], Field(min_length=1)]
    """Keys of ENCODERS, plug-ins, or `module:Class`."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = ("LP", "FT")
    """Some of METHODS, plug-ins, or `module:function`. Those that adapt start from JT, which is
    then run too."""
    fractions: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (100,)
    """Percent of the train split; JT and TTT-MMR take the whole."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (41, 42, 43)
    """Source: MMEarth-Bench §5.4."""
    baselines: tuple[Baseline, ...] = ("mean", "neighbours", "boosting")
    """What needs no encoder."""
    recipe: Recipe = "default"
    """`mmearth-bench-2026` reproduces the published run, its defects included."""
    weights: Literal["none", "published"] = "none"
    """`published`: pretrained; `none`: random, the architecture alone."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Of training; adaptation is in 32 bits."""
    trackers: tuple[Tracker, ...] = ()
    """Where the curves of training go; see docs/benchmark.md."""
    training: Training = Training()
    adaptation: Adaptation = Adaptation()

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for name in methods:
            if name not in METHODS and place_of(GROUP, name) is None:
                names = (*METHODS, *(each.name for each in plugins(GROUP)))
                expected = one_of((*names, "module:function"))
                raise ValueError(
                    f"{name!r} is no method{nearest(name, names)}, expected {expected}"
                )
        return methods

    @model_validator(mode="after")
    def _fits(self) -> Self:
        lr = self.adaptation.lr
        if isinstance(lr, dict) and set(lr) != set(self.encoders):
            raise ValueError(
                f"adaptation.lr has rates of {', '.join(lr)}; expected one for each encoder: "
                f"{', '.join(self.encoders)}"
            )
        adapted = [name for name in self.methods if name in ADAPTED]
        holding = [name for name in adapted if choice_of(name) == "held-back"]
        if holding and not self.adaptation.held_back:
            raise ValueError(
                f"{holding[0]} chooses by modalities that are held back; name some in "
                "adaptation.held_back"
            )
        return self

    def for_dataset(self, catalogue: Catalogue) -> BenchmarkConfig:
        """Return the same with the tasks that are meant; refuse names that a dataset has not.

        Raises:
            ConfigError: There is no such task, or it is scored by what its kind is not; there is
                no modality to hold back, or all are held back.
        """
        tasks = [catalogue.task(name) for name in self.tasks or catalogue.tasks]
        for task in tasks:
            check_metrics(task)
        held_back = {catalogue.layer(name).name for name in self.adaptation.held_back}
        if held_back == set(catalogue.layers):
            raise ConfigError(
                "held_back: all modalities are held back, so nothing is adapted to; leave some"
            )
        return self.model_copy(update={"tasks": tuple(task.name for task in tasks)})


def load_config(path: Path) -> BenchmarkConfig:
    """Read a YAML file.

    Raises:
        ConfigError: It is not there, is not YAML, or a key or value is not as it must be.
    """
    return read_config(path, BenchmarkConfig, "examples/benchmark-demo.yaml")
