"""Intervals stay in a metric's bounds and cover what they say; pairs are compared as pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mmearth.benchmark.intervals import degrees_of_freedom, draws, heavier, interval, score
from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.paired import paired, spread_of
from mmearth.benchmark.predictions import Predictions, tile_predictions
from mmearth.benchmark.scales import FREE, difference_bounds, scale_of
from mmearth.catalog.errors import DataError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.unit.benchmark.test_metrics import multilabel, regression


def made(target: NDArray[np.floating], guess: NDArray[np.floating]) -> Predictions:
    keys = [f"k{i:04d}" for i in range(len(target))]
    return tile_predictions(MMEARTH_BENCH.tasks["soil_pH"], keys, guess[:, None], target[:, None])


def test_draws_are_resamples_of_all_tiles() -> None:
    weights = np.concatenate(list(draws(10, 0, 200)))
    assert weights.shape == (200, 10) and (weights.sum(axis=1) == 10).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(10), abs=0.3)
    assert list(draws(0, 0, 5)) == []


def test_interval_is_as_wide_as_theory_says_and_repeats() -> None:
    found = regression(400)
    first, again = score(found, seed=3), score(found, seed=3)
    assert first == again != score(found, seed=4)
    rmse = first[1]
    # The error of a mean square of n normal residuals is its own size times √(2/n), halved by the
    # root; the interval is 2 × 1.96 of it.
    expected = 2 * 1.96 * rmse.value / np.sqrt(2 * 400)
    assert rmse.high - rmse.low == pytest.approx(expected, rel=0.2)
    assert all(s.low < s.value < s.high and s.n == 400 for s in first)
    few = score(multilabel(30), resamples=100)[0]
    assert few.low < few.value < few.high


@pytest.mark.parametrize("n", [2, 3, 4, 7, 14])
def test_no_interval_leaves_its_bounds(n: int) -> None:
    for seed in range(20):
        for each in [*score(regression(n, seed), seed), *score(multilabel(n, seed), seed, 50)]:
            low, high = METRICS[each.metric].bounds
            if not math.isnan(each.low):
                assert low <= each.low <= each.value <= each.high <= high, each


def test_what_is_exact_or_alone_has_no_width_or_no_interval() -> None:
    truth = np.arange(5.0)
    r2, rmse = score(made(truth, truth))
    assert (r2.low, r2.value, r2.high) == (1, 1, 1) and (rmse.low, rmse.high) == (0, 0)
    assert all(math.isnan(s.low) and math.isnan(s.high) for s in score(made(truth[:1], truth[:1])))


@pytest.mark.parametrize("bounds", [(-math.inf, 1), (0, math.inf), (0, 1), (-1, 1), FREE])
def test_scales_rise_and_come_back(bounds: tuple[float, float]) -> None:
    scale = scale_of(bounds)
    values = np.linspace(max(bounds[0], -3), min(bounds[1], 3), 9)[1:-1]
    assert scale.back(scale.forward(values)) == pytest.approx(values)
    assert (np.diff(scale.forward(values)) > 0).all()
    far = scale.back(np.array([-1e4, 1e4]))
    assert (far >= bounds[0]).all() and (far <= bounds[1]).all()
    assert difference_bounds((0, 1)) == (-1, 1) and difference_bounds((-math.inf, 1)) == FREE


def test_few_that_decide_leave_few_degrees_of_freedom() -> None:
    weights = next(draws(50, 0, 20_000))
    alike = np.where(np.arange(50) % 2, 1.0, -1.0)  # kurtosis 1: as sure as can be
    alone = np.eye(50)[7]  # kurtosis 48.02: 2 × 49 / 47.02
    assert degrees_of_freedom(weights @ alike, weights) == 49
    assert degrees_of_freedom(weights @ alone, weights) == pytest.approx(2.08, abs=0.1)
    assert heavier(2) == pytest.approx(4.3027 / 1.96, rel=1e-4)
    # The mean of two values is any of three with 1/4, 1/2, 1/4: percentiles are the values
    # themselves, half a range off; times √2 and t of one degree of freedom, 12.706 / 1.96.
    pair = next(draws(2, 0))
    low, high = interval(0.5, pair @ [0.0, 1.0] / 2, pair, FREE)
    assert high - low == pytest.approx(math.sqrt(2) * 12.7062 / 1.95996, rel=1e-4)


@pytest.mark.parametrize("n", [14, 40])
def test_intervals_of_r2_cover_what_they_say(n: int) -> None:
    """A quick version of tests/performance/test_interval_coverage.py."""
    generator = np.random.default_rng(0)
    hits, runs = 0, 300
    for seed in range(runs):
        guess = generator.normal(0, math.sqrt(0.6), n)
        truth = guess + generator.normal(0, math.sqrt(0.4), n)
        r2 = score(made(truth, guess), seed, 300)[0]
        hits += r2.low <= 0.6 <= r2.high
    assert 0.92 <= hits / runs <= 0.98


def test_paired_difference_is_sharper_than_two_intervals() -> None:
    plain, better = regression(200, 1), regression(200, 1)
    better.prediction[:] = 0.9 * better.prediction + 0.1 * better.target
    found = paired("r2", [better], [plain], resamples=300)
    assert found.value == pytest.approx(METRICS["r2"].value(better) - METRICS["r2"].value(plain))
    alone = score(plain, resamples=300)[0]
    low, high = found.by_samples
    assert 0 < low < found.value < high
    assert high - low < 0.5 * (alone.high - alone.low)
    assert math.isnan(found.by_both[0]) and math.isnan(found.spread.seeds)
    with pytest.raises(DataError, match="different samples"):
        paired("r2", [plain], [regression(100, 1)])
    with pytest.raises(DataError, match="expected pairs"):
        paired("r2", [plain], [])


def shifted(by: float) -> Predictions:
    """Predictions whose errors are the same for all seeds but for a constant."""
    found = regression(100, 1)
    found.prediction[:] += by
    return found


def test_seeds_that_differ_widen_the_interval_of_both() -> None:
    plain = [regression(100, 1)] * 4
    same = paired("rmse", [shifted(0.5)] * 4, plain, resamples=300)
    mixed = paired("rmse", [shifted(by) for by in (0.2, 0.4, 0.6, 0.8)], plain, resamples=300)
    narrow, wide = (high - low for low, high in (same.by_both, mixed.by_both))
    assert same.spread.seeds == 0 and narrow == pytest.approx(
        same.by_samples[1] - same.by_samples[0], rel=0.15
    )
    assert mixed.by_both[0] < mixed.by_samples[0] and mixed.by_samples[1] < mixed.by_both[1]
    assert wide > 2 * narrow and mixed.spread.seeds > 0.01
    assert mixed.by_samples[1] - mixed.by_samples[0] < 0.6 * wide


def test_no_interval_of_a_difference_is_beyond_what_can_be() -> None:
    one, other = [multilabel(8, seed) for seed in (1, 2)], [multilabel(8, seed) for seed in (1, 2)]
    other[0].prediction[:] = 1 - other[0].prediction
    low, high = paired("recall", one, other, resamples=100).by_both
    assert -1 <= low < high <= 1


def test_no_difference_has_no_width() -> None:
    plain = [regression(30, seed) for seed in (1, 1)]
    found = paired("r2", plain, plain, resamples=50)
    assert (found.value, found.by_samples, found.by_both) == (0, (0, 0), (0, 0))
    assert (found.spread.samples, found.spread.mixed, found.spread.seeds) == (0, 0, 0)


def test_spread_finds_the_variances_that_it_was_made_of() -> None:
    """Draws of 50 samples: 4 / 50 common to seeds, 1 / 50 of each seed alone; seeds differ by 9."""
    generator = np.random.default_rng(0)
    common = generator.normal(0, math.sqrt(4 / 50), (20_000, 1))
    drawn = common + generator.normal(0, math.sqrt(1 / 50), (20_000, 30))
    found = generator.normal(0, 3, 30)
    spread = spread_of(found, drawn, 50)
    assert spread.samples == pytest.approx(4 * 50 / 49, rel=0.03)
    assert spread.mixed == pytest.approx(1 * 50 / 49, rel=0.03)
    assert spread.seeds == pytest.approx(float(found.var(ddof=1)) - 1 / 49, rel=1e-2)
