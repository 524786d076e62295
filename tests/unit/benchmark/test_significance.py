"""Significance: differences, their errors and tests, against numbers one can count out."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from mmearth.benchmark.intervals import Score
from mmearth.benchmark.results import RESULTS, Circumstances, Setting, rows_of
from mmearth.benchmark.significance import (
    deltas,
    holm,
    mean_and_error,
    pairs_needed,
    verdicts,
    wilcoxon_greater,
)
from mmearth.catalog.published import MMEARTH_BENCH

TASKS = MMEARTH_BENCH.tasks
AROUND = Circumstances("d" * 64, "0.4.0", "cpu", 1.0, 1)


def results(values: dict[tuple[str, str, int], float], fraction: int = 100) -> pa.Table:
    """One row a (encoder, method, seed) of soil_pH on the random test split, and its RMSE."""
    rows = []
    for (encoder, method, seed), value in values.items():
        which = Setting("soil_pH", encoder, method, fraction, seed, f"{encoder}{method}{seed}")
        scores = [Score("r2", value, 0, 1, 9), Score("rmse", 100.0, 0, 1, 9)]
        rows.extend(rows_of(which, {"random_test": scores}, AROUND))
    return pa.Table.from_pylist(rows, schema=RESULTS)


def test_deltas_pair_the_same_encoder_and_seed() -> None:
    table = results(
        {
            ("a", "JT", 41): 0.5,
            ("a", "TTT-MMR", 41): 0.6,
            ("a", "TTT-MMR", 42): 0.9,  # no JT of this seed
            ("b", "JT", 41): 0.7,
            ("b", "TTT-MMR", 41): 0.4,
            ("c", "JT", 41): math.nan,  # diverged
            ("c", "TTT-MMR", 41): 0.4,
        }
    )
    found = [
        (d.encoder, d.seed, d.mode, d.split, d.value) for d in deltas(table, TASKS, ["TTT-MMR"])
    ]
    assert found == [
        ("a", 41, "TTT-MMR", "random_test", pytest.approx(0.1)),
        ("b", 41, "TTT-MMR", "random_test", pytest.approx(-0.3)),
    ]
    assert deltas(table, TASKS, ["TTT-MMR"], fraction=5) == []


def test_mean_and_error() -> None:
    mean, error = mean_and_error([1, 2, 3])
    assert (mean, error) == (2, pytest.approx(1 / math.sqrt(3)))
    assert mean_and_error([4])[0] == 4 and math.isnan(mean_and_error([4])[1])
    assert math.isnan(mean_and_error([])[0])


def test_wilcoxon_counts_sign_patterns() -> None:
    # All n positive is one of 2ⁿ equally likely sign patterns, and the most extreme.
    assert wilcoxon_greater([0.1, 0.2, 0.3]) == pytest.approx(1 / 8)
    assert wilcoxon_greater([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(1 / 32)
    # Ranks 1 2 3 with only the first negative: sum 5 or more has 2 of 8 patterns.
    assert wilcoxon_greater([-0.1, 0.2, 0.3]) == pytest.approx(2 / 8)
    assert wilcoxon_greater([-0.1, -0.2, -0.3]) == 1
    assert wilcoxon_greater([0, 0, 0]) == 1 and wilcoxon_greater([]) == 1
    assert wilcoxon_greater([0, 0.1, 0.2, 0.3]) == pytest.approx(1 / 8)


def test_wilcoxon_takes_ties_and_many() -> None:
    assert 0 < wilcoxon_greater([0.1] * 6 + [-0.1]) < 0.1
    generator = np.random.default_rng(0)
    assert wilcoxon_greater(list(generator.normal(0.5, 1, 60))) < 0.01


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04 times 4 3 2 1 is .04 .06 .06 .04, and none may fall: .06 at last.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_verdicts_correct_over_all_tests() -> None:
    values = {}
    for i in range(6):
        values |= {
            ("e", "JT", i): 0.5,
            ("e", "TTT-MMR", i): 0.51 + i / 100,
            ("e", "TTT-MMR-Geo", i): 0.49 - i / 100,
        }
    good, bad = verdicts(deltas(results(values), TASKS, ["TTT-MMR", "TTT-MMR-Geo"]))
    assert (good.mode, good.n, good.p) == ("TTT-MMR", 6, pytest.approx(1 / 64))
    assert good.median == pytest.approx(0.035)
    assert good.p_holm == pytest.approx(2 / 64) and good.is_significant
    assert bad.p == 1 and not bad.is_significant
    assert good.least == bad.least == pytest.approx(1 / 64) and bad.can_be_significant


def test_tests_that_cannot_come_out_say_so() -> None:
    """Three pairs have 1/8 at best; a difference of 0 drops out and leaves 1/4; twice for two."""
    values = {}
    for i in range(3):
        values |= {("e", "JT", i): 0.5, ("e", "TTT-MMR", i): 0.5 + i / 10}
        values |= {("e", "TTT-MMR-Geo", i): 0.4 - i / 10}
    some, all_of = verdicts(deltas(results(values), TASKS, ["TTT-MMR", "TTT-MMR-Geo"]))
    assert (some.n, some.n_zero, some.least) == (3, 1, pytest.approx(1 / 4))
    assert (all_of.n, all_of.n_zero, all_of.least) == (3, 0, pytest.approx(1 / 8))
    assert (some.least_holm, all_of.least_holm) == (pytest.approx(1 / 4), pytest.approx(2 / 8))
    assert not some.can_be_significant and not all_of.can_be_significant


@pytest.mark.parametrize(("n_tests", "n"), [(1, 5), (20, 9), (26, 10)])
def test_pairs_that_a_test_needs(n_tests: int, n: int) -> None:
    assert pairs_needed(n_tests) == n
    assert n_tests / 2**n < 0.05 <= n_tests / 2 ** (n - 1)
