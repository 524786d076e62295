"""Canaries: cheap checks that catch a run whose numbers are wrong, before anyone believes them.

The field's costliest bugs were silent: a setting that never reached the model, inputs in the wrong
unit, features that all look alike. Each of these leaves a trace that needs no model to be seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.benchmark.adapted import ADAPTED, mode_of
from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.results import Row
from mmearth.catalog.task import Task

BASELINE = "baseline"
"""Encoder of the rows that need none."""
RANKED = 100
"""Samples from which two rankings that differ are not expected to score alike."""
COLLAPSED = 1e-6
"""Share of the features' energy that must vary from sample to sample: float32 noise is 1e-14."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that a person must look at."""

    kind: Literal["identical", "collapsed", "below mean", "not finite", "mixed"]
    """Which canary."""
    stops: bool
    """Whether the matrix should stop: the numbers are surely wrong."""
    sentence: str
    """What was found, where, and what it means."""


Tasks = Mapping[str, Task]
"""Of the dataset, by name."""


def canaries(results: pa.Table, tasks: Tasks) -> list[Finding]:
    """Return all findings in a results table, sorted."""
    rows = results.to_pylist()
    of_tasks = {*identical(rows, tasks), *below_mean(rows, tasks)}
    return sorted({*of_tasks, *not_finite(rows), *mixed(rows)})


def identical(rows: Iterable[Row], tasks: Tasks) -> list[Finding]:
    """Find two settings of one task with bit-identical scores in all metrics of all splits.

    A setting that had no effect is the likeliest reason. Adaptation of no steps (K = 0) is allowed
    to equal its own JT run, and baselines may be alike.
    """
    runs = _runs(row for row in rows if row["encoder"] != BASELINE)
    scores: dict[Any, list[Row]] = defaultdict(list)
    for run in runs.values():
        values = tuple(
            sorted((r["split"], r["metric"], r["output"] or "", _bits(r["value"])) for r in run)
        )
        if all(bits is not None for *_, bits in values):
            scores[run[0]["task"], values].append(run[0])
    findings = []
    for alike in scores.values():
        for one, other in combinations(alike, 2):
            if not _is_one_start(one, other):
                findings.append(
                    Finding(
                        "identical",
                        _is_no_chance(one, tasks),
                        f"{one['task']}: {_name(one)} and {_name(other)} have bit-identical "
                        "scores; what tells them apart had no effect",
                    )
                )
    return findings


def below_mean(rows: Iterable[Row], tasks: Tasks) -> list[Finding]:
    """Find headline scores worse than the baseline `mean` on the same task, split and fraction."""
    rows = [row for row in rows if is_headline(row, tasks)]
    means = {
        (row["task"], row["split"], row["fraction"]): row["value"]
        for row in rows
        if row["encoder"] == BASELINE and row["method"] == "mean"
    }
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        floor = means.get((row["task"], row["split"], row["fraction"]))
        if floor is not None and row["encoder"] != BASELINE:
            sign = 1 if METRICS[row["metric"]].higher_is_better else -1
            if sign * row["value"] < sign * floor:
                names = ("task", "split", "encoder", "method", "fraction", "metric")
                found[(*(row[name] for name in names), floor)].append(row)
    return [_below(below, *group) for group, below in found.items()]


def _below(
    rows: Sequence[Row],
    task: str,
    split: str,
    encoder: str,
    method: str,
    fraction: int,
    metric: str,
    floor: float,
) -> Finding:
    ordered = sorted(rows, key=lambda row: row["seed"])
    values = ", ".join(f"{row['value']:.3f}" for row in ordered)
    seeds = ", ".join(str(row["seed"]) for row in ordered)
    sentence = (
        f"{task}, {split}: {encoder} {method} at {fraction} % has {metric} {values} "
        f"(seed {seeds}), worse than {floor:.3f} of the baseline `mean`"
    )
    return Finding("below mean", False, sentence)


def not_finite(rows: Iterable[Row]) -> list[Finding]:
    """Find scores that are no number: the run diverged, or the metric is undefined there."""
    return [
        Finding(
            "not finite",
            False,
            f"{row['task']}, {row['split']}: {_name(row)} has no {row['metric']}; predictions "
            "are not finite, or the split is too small for it",
        )
        for row in rows
        if not np.isfinite(row["value"])
    ]


def mixed(rows: Iterable[Row]) -> list[Finding]:
    """Find tasks whose rows come from several datasets or versions of the code."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        for column in ("dataset_hash", "version"):
            seen[row["task"], column].add(row[column])
    return [
        Finding(
            "mixed",
            False,
            f"{task}: rows come from {len(values)} values of {column} "
            f"({', '.join(sorted(value[:12] for value in values))}); they may not compare",
        )
        for (task, column), values in seen.items()
        if len(values) > 1
    ]


def collapsed(name: str, features: NDArray[np.floating]) -> list[Finding]:
    """Find features that hardly differ from sample to sample.

    Args:
        name: Of the encoder, for the sentence.
        features: (samples, …) of one batch of different samples; two at least say something.
    """
    flat = np.asarray(features, np.float64).reshape(len(features), -1)
    if len(flat) < 2:
        return []
    if not np.isfinite(flat).all():
        return [Finding("not finite", True, f"{name}: features are not finite; check the inputs")]
    varying = ((flat - flat.mean(axis=0)) ** 2).mean()
    share = varying / max(float((flat**2).mean()), float(np.finfo(np.float64).tiny))
    if share > COLLAPSED:
        return []
    return [
        Finding(
            "collapsed",
            True,
            f"{name}: features of {len(flat)} samples are alike (share of variance {share:.1e}); "
            "check the units and normalisation of its inputs",
        )
    ]


def is_headline(row: Row, tasks: Tasks) -> bool:
    """Whether a row is what its task is judged by."""
    return bool(row["metric"] == tasks[row["task"]].metrics[0] and row["output"] is None)


def _is_no_chance(row: Row, tasks: Tasks) -> bool:
    """Whether equal scores cannot be chance.

    Those of labels see ranks alone, of few samples; those of classes are equal wherever two models
    always predict the most frequent one.
    """
    kind = tasks[row["task"]].kind
    return kind == "regression" or (kind == "multilabel" and row["n"] >= RANKED)


def _runs(rows: Iterable[Row]) -> Mapping[Any, list[Row]]:
    names = ("task", "encoder", "method", "fraction", "seed", "config_hash")
    runs: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        runs[tuple(row[name] for name in names)].append(row)
    return runs


def _bits(value: float) -> bytes | None:
    return np.float64(value).tobytes() if np.isfinite(value) else None


def _is_one_start(one: Row, other: Row) -> bool:
    """Whether both are the same JT run: adapted by no step or not at all, or to the same batches.

    Two choices of the iteration that answers may well choose alike.
    """
    if any(one[name] != other[name] for name in ("encoder", "fraction", "seed")):
        return False
    methods = one["method"], other["method"]
    if all(method in ADAPTED for method in methods) and len({*map(mode_of, methods)}) == 1:
        return True
    return all(
        row["method"] == "JT" or (row["method"] in ADAPTED and row["steps"] == 0)
        for row in (one, other)
    )


def _name(row: Row) -> str:
    return f"{row['encoder']} {row['method']} at {row['fraction']} %, seed {row['seed']}"
