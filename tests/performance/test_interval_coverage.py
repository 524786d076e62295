"""How often 95 % intervals hold the truth, by simulation; the table of docs/performance.md.

A fixed model is scored on samples drawn from a population whose R², or difference of R², is known:
normal labels and errors, skewed ones (gamma, shape 2), heavy-tailed ones (Laplace). For differences
the model of each seed explains another share.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mmearth.benchmark.intervals import score
from mmearth.benchmark.paired import paired
from mmearth.benchmark.predictions import Predictions, tile_predictions
from mmearth.catalog.published import MMEARTH_BENCH

pytestmark = pytest.mark.performance

RUNS = 1000
Drawn = Callable[[np.random.Generator, int], NDArray[np.float64]]
SHAPES: dict[str, Drawn] = {
    "normal": lambda generator, n: generator.normal(size=n),
    "skewed": lambda generator, n: (generator.gamma(2, size=n) - 2) / math.sqrt(2),
    "heavy tails": lambda generator, n: generator.laplace(size=n) / math.sqrt(2),
}
"""Of mean 0 and variance 1."""


def made(target: NDArray[np.floating], guess: NDArray[np.floating]) -> Predictions:
    keys = [f"k{i:04d}" for i in range(len(target))]
    return tile_predictions(MMEARTH_BENCH.tasks["soil_pH"], keys, guess[:, None], target[:, None])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("r2", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("n", [14, 40, 200])
def test_intervals_of_r2(shape: str, r2: float, n: int) -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(RUNS):
        guess = math.sqrt(r2) * SHAPES[shape](generator, n)
        truth = guess + math.sqrt(1 - r2) * SHAPES[shape](generator, n)
        found = score(made(truth, guess), seed)[0]
        assert found.high <= 1
        hits += found.low <= r2 <= found.high
    print(f"R² {r2}, {shape}, n = {n}: {100 * hits / RUNS:.1f} %")
    least = 0.93 if shape == "normal" else 0.92
    assert least - 0.015 <= hits / RUNS <= 0.985  # two standard errors of 1,000 runs


@pytest.mark.parametrize("varies", [0.0, 0.1])
@pytest.mark.parametrize("n_seeds", [3, 10])
@pytest.mark.parametrize("n", [14, 40, 200])
def test_intervals_of_differences(n: int, n_seeds: int, varies: float) -> None:
    """Labels f + e of variance 0.6 + 0.4; one method says 0.5 f, the other (0.6 ± varies) f."""
    generator = np.random.default_rng(0)
    by_samples = by_both = 0
    for seed in range(RUNS):
        signal, noise = generator.normal(size=(2, n))
        truth = math.sqrt(0.6) * signal + math.sqrt(0.4) * noise
        shares = 0.6 + varies * generator.normal(size=n_seeds)
        errors = 0.2 * generator.normal(size=(n_seeds, n))
        more = 0.1 * generator.normal(size=(n_seeds, n))
        plain = [made(truth, 0.5 * math.sqrt(0.6) * signal + each) for each in errors]
        other = [
            made(truth, share * math.sqrt(0.6) * signal + each + extra)
            for share, each, extra in zip(shares, errors, more, strict=True)
        ]
        found = paired("r2", other, plain, seed)
        here = 0.25 * 0.6 - 0.6 * float(((shares - 1) ** 2).mean()) - 0.01
        everywhere = 0.25 * 0.6 - 0.6 * (0.16 + varies**2) - 0.01
        by_samples += found.by_samples[0] <= here <= found.by_samples[1]
        by_both += found.by_both[0] <= everywhere <= found.by_both[1]
    said = f"{100 * by_samples / RUNS:.1f} % over samples, {100 * by_both / RUNS:.1f} % over both"
    print(f"n = {n}, {n_seeds} seeds that vary by {varies}: {said}")
    assert 0.92 <= by_samples / RUNS <= 0.985 and by_both / RUNS >= 0.92
