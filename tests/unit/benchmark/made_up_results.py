"""Made-up runs, drawn from a seed: what a small matrix leaves on disk; results of nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmearth.benchmark.evaluation import all_scores
from mmearth.benchmark.predictions import (
    Predictions,
    pixel_predictions,
    tile_predictions,
    write_predictions,
)
from mmearth.benchmark.results import (
    Circumstances,
    Setting,
    assemble,
    config_hash,
    rows_of,
    run_folder,
    write_run,
)
from mmearth.benchmark.traces import predictions_path, write_batches, write_reconstruction
from mmearth.catalog.catalogue import Catalogue, write_catalogue
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.task import Task

TESTS = ("random_test", "geographic_test")
SKILL = {"convnext": 0.35, "terramind": 0.6, "copernicus_fm": 0.65}
GAIN = {"LP": -0.1, "FT": 0.0, "JT": 0.02, "TTT-MMR": 0.03, "TTT-MMR-Geo": 0.04}
LABELS = {5: -0.25, 50: -0.06, 100: 0.0}


def settings(tasks: tuple[str, ...], encoders: tuple[str, ...], seeds: int) -> Iterator[Setting]:
    for task, encoder, seed in product(tasks, encoders, range(41, 41 + seeds)):
        for method, fraction in product(GAIN, LABELS):
            if fraction == 100 or method in ("LP", "FT"):
                yield setting(task, encoder, method, fraction, seed)
    for task, method, fraction in product(tasks, ("mean", "neighbours", "boosting"), LABELS):
        yield setting(task, "baseline", method, fraction, 41)


def setting(task: str, encoder: str, method: str, fraction: int, seed: int) -> Setting:
    return Setting(
        task,
        encoder,
        method,
        fraction,
        seed,
        config_hash({"of": [task, encoder, method, fraction, seed]}),
    )


def write_matrix(
    out: Path,
    tasks: tuple[str, ...],
    encoders: tuple[str, ...] = tuple(SKILL),
    seeds: int = 3,
    n: int = 60,
    traces: bool = True,
    resamples: int = 50,
    catalogue: Catalogue = MMEARTH_BENCH,
) -> pa.Table:
    """Write all runs of a matrix, their results and what they mean; return the table."""
    write_catalogue(out, catalogue)
    for which in settings(tasks, encoders, seeds):
        write_one(out, which, n, traces, resamples, catalogue)
    return assemble(out)


def write_one(
    out: Path, which: Setting, n: int, traces: bool, resamples: int, catalogue: Catalogue
) -> None:
    seed = int(config_hash({"noise": [which.encoder, which.seed, which.fraction]})[:8], 16)
    generator = np.random.default_rng(seed)
    folder = run_folder(out, which)
    scores = {}
    for split in TESTS:
        made = predictions(which, catalogue.task(which.task), split, n, generator)
        scores[split] = all_scores(made, resamples)
        if traces and which.fraction == 100:
            write_predictions(made, predictions_path(folder, split))
    steps = int(generator.integers(1, 6)) if which.method.startswith("TTT") else None
    if traces and which.method in ("JT", "TTT-MMR", "TTT-MMR-Geo"):
        write_traces(folder, catalogue, steps, generator)
    around = Circumstances(
        "d" * 64,
        "0.4.0",
        "cpu",
        float(generator.uniform(50, 300)),
        int(generator.integers(1, 5) * 2**29),
        steps,
        steps and 0.01,
    )
    write_run(out, which, rows_of(which, scores, around))


def predictions(
    which: Setting, task: Task, split: str, n: int, generator: np.random.Generator
) -> Predictions:
    """Return predictions whose skill is about that of the encoder, method and label share."""
    truth = np.random.default_rng(TESTS.index(split))
    keys = [f"32633_{500000 + 1280 * i}_4600000_20200601" for i in range(n)]
    if which.encoder == "baseline":
        skill = {"mean": -2.0, "neighbours": 0.2, "boosting": 0.3}[which.method]
    else:
        skill = SKILL.get(which.encoder, 0.5) + GAIN[which.method]
    skill += LABELS[which.fraction] - 0.2 * (split == "geographic_test")
    skill = min(max(skill, 0.0 if which.method == "mean" else 0.05), 0.98)
    if task.kind == "multilabel":
        return labels(task, keys, skill, truth, generator)
    if task.kind == "classification":
        return classes(task, keys, skill, truth, generator)
    centre, width = {"biomass": (62.5, 99.0), "soil_pH": (6.3, 1.3)}.get(task.name, (20, 25))
    columns = 1 if task.is_pixel else len(task.outputs)
    latent = truth.normal(size=(n, columns))
    noise = generator.normal(size=(n, columns)) * np.sqrt(skill * (1 - skill))
    guess = centre + width * (skill * latent + noise)
    valid = task.target.bands[0].valid
    if not task.is_pixel:
        return tile_predictions(task, keys, guess, np.clip(centre + width * latent, *valid))
    shape = (n, *task.shape)
    mask = truth.random(shape) < 0.002
    target = centre + width * (latent[:, :, None] + 0.3 * truth.normal(size=shape))
    whole = np.broadcast_to(guess[:, :, None], shape)
    return pixel_predictions(task, keys, whole, np.clip(target, *valid), mask)


def classes(
    task: Task,
    keys: list[str],
    skill: float,
    truth: np.random.Generator,
    generator: np.random.Generator,
) -> Predictions:
    """Return the true class as often as the skill says, else one of chance."""
    shape, n = (len(keys), *task.shape), len(task.outputs)
    target = truth.integers(0, n, shape)
    said = np.where(generator.random(shape) < skill, target, generator.integers(0, n, shape))
    if task.is_pixel:
        return pixel_predictions(task, keys, said, target, truth.random(shape) < 0.5)
    return tile_predictions(task, keys, np.eye(n)[said[:, 0]], target)


def labels(
    task: Task,
    keys: list[str],
    skill: float,
    truth: np.random.Generator,
    generator: np.random.Generator,
) -> Predictions:
    frequency = np.linspace(0.4, 0.03, len(task.outputs))
    latent = truth.normal(size=(len(keys), len(frequency)))
    cut = np.quantile(latent, 1 - frequency)
    target = (latent > cut).astype(np.uint8)
    seen = skill * latent + np.sqrt(1 - skill**2) * generator.normal(size=latent.shape)
    return tile_predictions(task, keys, 1 / (1 + np.exp(-3 * (seen - cut))), target)


def write_traces(
    folder: Path, catalogue: Catalogue, steps: int | None, generator: np.random.Generator
) -> None:
    scores = {
        split: {
            name: (
                "accuracy" if what.kind == "categorical" else "r2",
                float(generator.uniform(0.2, 0.8) - 0.2 * (split == "geographic_test")),
            )
            for name, what in catalogue.layers.items()
        }
        for split in TESTS
    }
    if steps is None:
        write_reconstruction(folder, scores)
        return
    after = {
        split: {name: (metric, value + 0.05) for name, (metric, value) in of.items()}
        for split, of in scores.items()
    }
    write_reconstruction(folder, scores, after)
    rows = [
        batch(split, i, steps, generator)
        for split, count in (("val", 12), ("random_test", 8), ("geographic_test", 8))
        for i in range(count)
    ]
    write_batches(folder, rows)


def batch(split: str, i: int, steps: int, generator: np.random.Generator) -> dict[str, Any]:
    before = float(generator.uniform(0.5, 2))
    return {
        "split": split,
        "batch": i,
        "n": 8,
        "keys": [f"{split}_{i}_{j}" for j in range(8)],
        "steps": steps,
        "best": int(generator.integers(1, 6)) if split == "val" else None,
        "cosine": float(generator.uniform(-0.5, 0.7)) if split == "val" else None,
        "moved": 0.001 * steps,
        "rolled_back": False,
        "task_loss_before": before,
        "task_loss_after": before * float(generator.normal(0.97, 0.05)),
        "reconstruction_before": 1.0,
        "reconstruction_after": 0.9,
        "seconds": float(generator.uniform(1, 3)),
    }
