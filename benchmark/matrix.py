"""The matrix: which runs a configuration asks for, and in which order they can be made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from mmearth.benchmark.adapted import ADAPTED
from mmearth.benchmark.canaries import BASELINE
from mmearth.benchmark.config import METHODS, BenchmarkConfig
from mmearth.benchmark.encoders import source_digest
from mmearth.benchmark.results import Setting, config_hash
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.plugins import METHODS as GROUP
from mmearth.catalog.plugins import digest


@dataclass(frozen=True, slots=True)
class Cell:
    """One run."""

    task: str
    """One of the dataset's."""
    encoder: str
    """A key of ENCODERS, a plug-in, `module:Class`, or BASELINE."""
    method: str
    """A key of METHODS or of BASELINES, a plug-in, or `module:function`."""
    fraction: int
    """Percent of the train split."""
    seed: int
    """Of weights and order."""

    @property
    def jt(self) -> Cell:
        """The run whose weights an adapted one starts from."""
        return Cell(self.task, self.encoder, "JT", self.fraction, self.seed)

    def __str__(self) -> str:
        return f"{self.task} · {self.encoder} · {self.method} · {self.fraction} % · {self.seed}"


def cells(config: BenchmarkConfig) -> list[Cell]:
    """Return all runs, each once, what others start from before them."""
    return list(dict.fromkeys(_all(config)))


def shard_of(cells: list[Cell], number: int, of: int) -> list[Cell]:
    """Return the `number`-th of `of` parts, from 1; a run stays with the one it starts from."""
    families = dict.fromkeys((c.task, c.encoder, c.fraction, c.seed) for c in cells)
    mine = set(list(families)[number - 1 :: of])
    return [c for c in cells if (c.task, c.encoder, c.fraction, c.seed) in mine]


def setting(config: BenchmarkConfig, dataset_hash: str, cell: Cell) -> Setting:
    """Return a run's name and the hash of all that decides its numbers."""
    decides: dict[str, Any] = {
        "dataset": dataset_hash,
        "cell": [cell.task, cell.encoder, cell.method, cell.fraction, cell.seed],
    }
    if cell.encoder != BASELINE:
        decides |= {
            "recipe": config.recipe,
            "weights": config.weights,
            "precision": config.precision,
            "training": config.training.model_dump(),
            "encoder_source": source_digest(cell.encoder),
        }
    if cell.method in ADAPTED:
        rates = {"lr": config.adaptation.rates(cell.encoder)}
        decides["adaptation"] = config.adaptation.model_dump() | rates
    if cell.encoder != BASELINE and cell.method not in METHODS:
        decides["method_source"] = digest(GROUP, cell.method)
    return Setting(
        cell.task, cell.encoder, cell.method, cell.fraction, cell.seed, config_hash(decides)
    )


def _all(config: BenchmarkConfig) -> Iterator[Cell]:
    asked = {f for method in config.methods for f in _fractions(config, method)}
    for task, name, fraction in product(config.tasks, config.baselines, sorted(asked)):
        yield from (Cell(task, BASELINE, name, fraction, seed) for seed in sorted(config.seeds)[:1])
    for task, encoder, seed in product(config.tasks, config.encoders, config.seeds):
        for method in config.methods:
            for fraction in _fractions(config, method):
                cell = Cell(task, encoder, method, fraction, seed)
                if method in ADAPTED:
                    yield cell.jt
                yield cell


def _fractions(config: BenchmarkConfig, method: str) -> tuple[int, ...]:
    return (100,) if method in (*ADAPTED, "JT") else config.fractions


def parse_shard(text: str) -> tuple[int, int]:
    """Return `i/n` as numbers.

    Raises:
        ConfigError: It is not of that form, or i is not 1 to n.
    """
    number, slash, of = text.partition("/")
    if slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
        return int(number), int(of)
    raise ConfigError(f"found shard {text!r}; expected i/n, i from 1 to n: 2/8")
