"""How many samples and seeds a difference needs, from the variances that a matrix shows.

A difference between methods counts as found with a two-sided test at 5 % that has 80 % power. The
variance of its mean over S seeds on n samples is that of `Spread`; each part is taken with
Student's t of its own degrees of freedom, as the intervals of `paired` are: with these numbers an
interval over samples and seeds leaves zero out in about four of five studies.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from mmearth.benchmark.adapted import ADAPTED, ORACLES
from mmearth.benchmark.paired import Spread
from mmearth.benchmark.report.cells import SPLITS, Scores
from mmearth.benchmark.significance import NOT_ADAPTED, Delta, deltas, was_adapted
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.extras import needing

with needing("benchmark"):
    from scipy.special import stdtrit

DIFFERENCES = (0.01, 0.02, 0.05)
"""That are asked for, in the headline metric's unit."""
ALPHA, POWER = 0.05, 0.8
"""Chance of a claim where there is nothing, two-sided; and of one where there is something."""
HEADER = (
    *("task", "encoder", "split", "method", "samples", "seeds", "finds now"),
    *("difference", "needs samples", "or seeds", "or samples × seeds"),
)
"""Of the table for people."""
ALIKE = "no difference found"
"""Said of a method that scores as its reference does, under every seed and in every draw."""
MOST_SAMPLES, MOST_SEEDS = 10_000_000, 1000
"""Beyond these a number is none."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one difference needs; None where no number is enough, or seeds are not known."""

    difference: float
    """In the metric's unit."""
    samples: int | None
    """With as many seeds as there are."""
    seeds: int | None
    """With as many samples as there are."""
    both: tuple[int, int] | None
    """(samples, seeds) of which each is the reason of about half the variance."""


@dataclass(frozen=True, slots=True)
class Power:
    """What a method's differences to its reference say of further studies."""

    task: str
    """Of the matrix."""
    encoder: str
    """Whose runs are compared."""
    split: str
    """Where."""
    method: str
    """That is compared."""
    reference: str
    """With which."""
    metric: str
    """A key of METRICS."""
    n: int
    """Samples that there are."""
    n_seeds: int
    """Seeds that there are."""
    value: float
    """Mean difference over seeds."""
    detectable: float
    """The least difference that as many samples and seeds find; NaN with one seed, or where nothing
    was adapted or differs."""
    needs: tuple[Need, ...]
    """One a difference of DIFFERENCES; empty where K = 0 in all runs or no score ever differs, so
    that there is nothing to learn of the variance."""
    is_adapted: bool
    """Whether a run took a step, or the method does not adapt by steps."""


def power_of(scores: Scores, reference: str = "JT") -> list[Power]:
    """Return a row an encoder, task, test split and method, compared with the reference.

    Methods are those that adapt, where some were run with the reference; else all others.

    Raises:
        ConfigError: No other method was run with the reference on the same seed, or no pair of
            such runs left predictions.
        FormatError: Predictions are something else.
    """
    others = [method for method in scores.methods if method not in (reference, *ORACLES)]
    found = deltas(
        scores.table, scores.catalogue.tasks, [m for m in others if m in ADAPTED], reference
    )
    found = found or deltas(scores.table, scores.catalogue.tasks, others, reference)
    if not found:
        raise ConfigError(
            f"no method was run with {reference} on the same encoder and seed; found "
            f"{', '.join(scores.methods) or 'none'}: name another with --reference"
        )
    groups: dict[tuple[str, str, str, str], list[Delta]] = defaultdict(list)
    for delta in found:
        if delta.split in SPLITS:
            groups[delta.task, delta.encoder, delta.split, delta.mode].append(delta)
    rows = [row for group in groups.values() if (row := _row(scores, reference, group))]
    if not rows:
        raise ConfigError(
            "no pair of runs left finite predictions of a test split, from which variances are "
            "found; run them again with the `runs` folder beside results.parquet"
        )
    return rows


def _row(scores: Scores, reference: str, found: Sequence[Delta]) -> Power | None:
    """Return a group's row; None where its predictions lack."""
    pairs = scores.paired(found, reference)
    if pairs is None:
        return None
    first, is_adapted = found[0], was_adapted(found)
    is_told = is_adapted and pairs.spread != Spread(0, 0, 0)
    return Power(
        *(first.task, first.encoder, first.split, first.mode, reference, first.metric),
        *(pairs.n, pairs.n_seeds, pairs.value),
        detectable(pairs.spread, pairs.n, pairs.n_seeds) if is_told else math.nan,
        tuple(need(pairs.spread, pairs.n, pairs.n_seeds, d) for d in DIFFERENCES if is_told),
        is_adapted,
    )


def table_of(found: Sequence[Power]) -> list[tuple[object, ...]]:
    """Return rows under HEADER, one a difference; one where nothing was adapted."""
    rows: list[tuple[object, ...]] = []
    for each in found:
        labels = (each.task, each.encoder, SPLITS[each.split], each.method, each.n, each.n_seeds)
        if not each.needs:
            why = ALIKE if each.is_adapted else NOT_ADAPTED
            rows.append((*labels, why, *("",) * 4))
        unknown = "?" if each.n_seeds < 2 else "none"
        for wanted in each.needs:
            both = "{:,} × {:,}".format(*wanted.both) if wanted.both else unknown
            alone = (f"{k:,}" if k else unknown for k in (wanted.samples, wanted.seeds))
            now = f"{each.detectable:.4f}" if math.isfinite(each.detectable) else unknown
            rows.append((*labels, now, f"{wanted.difference:g}", *alone, both))
    return rows


def documents(found: Sequence[Power]) -> list[dict[str, Any]]:
    """Return the same as JSON's types; what is not defined is null."""
    documents = [asdict(each) for each in found]
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in each.items()}
        for each in documents
    ]


def need(spread: Spread, n: int, n_seeds: int, difference: float) -> Need:
    """Return what a difference needs.

    Args:
        spread: Of the differences.
        n: Samples that there are.
        n_seeds: Seeds that there are.
        difference: That is to be found.
    """
    if not math.isfinite(spread.seeds):
        return Need(difference, None, None, None)

    def enough(samples: int, seeds: int) -> bool:
        return detectable(spread, samples, seeds) <= difference

    samples = _least(lambda m: enough(m, n_seeds), MOST_SAMPLES)
    seeds = _least(lambda s: enough(n, s), MOST_SEEDS)
    half = difference / math.sqrt(2)
    alone = _least(lambda s: detectable(Spread(0, 0, spread.seeds), n, s) <= half, MOST_SEEDS)
    beside = _least(lambda m: enough(m, alone), MOST_SAMPLES) if alone else None
    return Need(difference, samples, seeds, (beside, alone) if beside and alone else None)


def detectable(spread: Spread, n: int, n_seeds: int) -> float:
    """Return the least difference that so many samples and seeds find; NaN with one of either."""
    if n < 2 or n_seeds < 2:
        return math.nan
    by_samples = (spread.samples + spread.mixed / n_seeds) / n
    by_seeds = spread.seeds / n_seeds
    return math.sqrt(_factor(n - 1) ** 2 * by_samples + _factor(n_seeds - 1) ** 2 * by_seeds)


@cache
def _factor(freedom: int) -> float:
    """Return how many standard errors a difference must have to be found with POWER."""
    return float(stdtrit(freedom, 1 - ALPHA / 2) + stdtrit(freedom, POWER))


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """Return the least number from 2 to `most` that is enough, if any; more are enough too."""
    low, high = 2, most
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
