"""Significance of adaptation: differences to joint training, their errors, and tests of them.

As MMEarth-Bench §6 does: one difference an encoder and seed, a one-sided Wilcoxon signed-rank test
a task, split and mode, and Holm's correction over all of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mmearth.benchmark.canaries import is_headline
from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.results import Row
from mmearth.catalog.task import Task

ALPHA = 0.05
"""Chance of one false claim or more among all tests (MMEarth-Bench §6)."""

NOT_ADAPTED = "K = 0: not adapted"
"""Stands for a difference that is an identity."""


@dataclass(frozen=True, slots=True, order=True)
class Delta:
    """What a mode gained over its reference, in one run; above zero is better."""

    task: str
    """One of the dataset's."""
    split: str
    """Where it was measured."""
    mode: str
    """The method that adapts."""
    encoder: str
    """Whose runs are compared."""
    seed: int
    """Of both runs."""
    value: float
    """Headline metric of the mode minus that of the reference, signed so that more is better."""
    metric: str
    """Which metric that is, a key of METRICS."""
    steps: int | None
    """Adaptation steps K of the mode's run; None where it does not adapt."""


@dataclass(frozen=True, slots=True, order=True)
class Verdict:
    """One Wilcoxon test: does the mode gain on this task and split?"""

    task: str
    """One of the dataset's."""
    split: str
    """Where it was measured."""
    mode: str
    """The method that adapts."""
    n: int
    """Differences: encoders × seeds."""
    n_zero: int
    """Those of them that are exactly 0, as without a step of adaptation: the test drops them."""
    median: float
    """Of the differences."""
    p: float
    """Of differences at least so positive if the mode changed nothing."""
    p_holm: float
    """Corrected for all tests of the report."""
    least: float
    """The p that differences of these sizes have at best, all of them above zero."""
    least_holm: float
    """The same corrected, where all tests of the report come out at their best."""

    @property
    def can_be_significant(self) -> bool:
        """Whether there are enough differences that are not 0, for so many tests."""
        return self.least_holm < ALPHA

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p is below ALPHA."""
        return self.p_holm < ALPHA


def deltas(
    results: pa.Table,
    tasks: Mapping[str, Task],
    modes: Sequence[str],
    reference: str = "JT",
    fraction: int = 100,
) -> list[Delta]:
    """Return the differences of headline metrics where both runs are there and finite, sorted."""
    rows: dict[tuple[str, str, str, int], dict[str, Row]] = defaultdict(dict)
    for row in results.to_pylist():
        if is_headline(row, tasks) and row["fraction"] == fraction and math.isfinite(row["value"]):
            place = (row["task"], row["split"], row["encoder"], row["seed"])
            rows[place][row["method"]] = row
    found = []
    for (task, split, encoder, seed), by_method in rows.items():
        for mode in modes:
            if mode in by_method and reference in by_method:
                row, plain = by_method[mode], by_method[reference]
                sign = 1 if METRICS[row["metric"]].higher_is_better else -1
                gain = sign * (row["value"] - plain["value"])
                found.append(
                    Delta(task, split, mode, encoder, seed, gain, row["metric"], row["steps"])
                )
    return sorted(found)


def was_adapted(found: Iterable[Delta]) -> bool:
    """Whether any of these runs took a step, or does not adapt by steps."""
    return any(delta.steps != 0 for delta in found)


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Return the mean and its standard error, sample deviation over √n; NaN error for one value."""
    array = np.array(list(values), np.float64)
    if not array.size:
        return math.nan, math.nan
    error = math.nan if array.size < 2 else float(array.std(ddof=1) / math.sqrt(array.size))
    return float(array.mean()), error


def verdicts(found: Iterable[Delta]) -> list[Verdict]:
    """Return one test a task, split and mode, sorted, p-values corrected over all of them."""
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for delta in found:
        groups[delta.task, delta.split, delta.mode].append(delta.value)
    plain = [wilcoxon_greater(values) for values in groups.values()]
    least = [wilcoxon_greater([abs(value) for value in values]) for values in groups.values()]
    tests = zip(groups.items(), plain, holm(plain), least, holm(least), strict=True)
    return sorted(
        Verdict(*group, len(values), values.count(0), float(np.median(values)), *of_test)
        for (group, values), *of_test in tests
    )


def pairs_needed(n_tests: int) -> int:
    """Return how many differences above 0 one of so many tests needs at least to come out.

    The least p of n differences is 2⁻ⁿ, and Holm's correction multiplies the first by `n_tests`.
    """
    return math.floor(math.log2(n_tests / ALPHA)) + 1


def wilcoxon_greater(values: Sequence[float]) -> float:
    """Return the one-sided p-value of the signed-rank test that differences lie above zero.

    Zeros are dropped (Wilcoxon's way); 1 where nothing but zeros is left.
    """
    from scipy import stats

    nonzero = [value for value in values if value != 0]
    if not nonzero:
        return 1.0
    return float(stats.wilcoxon(nonzero, alternative="greater").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being many (Holm 1979), in the order given.

    The smallest is multiplied by the number of tests, the next by one less, and so on; none falls
    below the one before it, none exceeds 1.
    """
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order.tolist()):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected
