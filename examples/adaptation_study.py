"""What test-time training does under declared shifts of the synthetic Earth: row by row.

python examples/adaptation_study.py runs/adaptation-study

The same places are built in three worlds that differ in Africa alone, where the geographic test is:
under `haze`, `clean`, and with other `labels`. All that trains, and the random test, is the same to
the byte, so what was trained in one world is tested in all. Then `mmearth benchmark run` makes the
matrix in the haze, and this file what a benchmark has no run for. Every part is made once: what was
stopped goes on. The table is printed whatever it says, and lies in study.md, drawn in study.svg.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning_fabric import Fabric
from numpy.typing import NDArray

from mmearth.benchmark.config import BenchmarkConfig, load_config
from mmearth.benchmark.evaluation import predictions_of
from mmearth.benchmark.job import Job
from mmearth.benchmark.losses import losses_of_batch
from mmearth.benchmark.matrix import Cell, setting
from mmearth.benchmark.methods.adaptation import GEOGRAPHIC, RANDOM
from mmearth.benchmark.methods.ttt_mmr import TTTMMR
from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.model import in_unit
from mmearth.benchmark.paired import Paired, paired
from mmearth.benchmark.predictions import (
    Predictions,
    merge_predictions,
    read_predictions,
    write_predictions,
)
from mmearth.benchmark.report.charts import Panel, Point, dots
from mmearth.benchmark.report.svg import COLOURS, SHAPES, Style
from mmearth.benchmark.results import RESULTS_FILE, read_results, run_folder
from mmearth.benchmark.task_data import TaskData
from mmearth.benchmark.traces import predictions_path
from mmearth.benchmark.training import load_best
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.sample import tile_of
from mmearth.curate.sources.synthetic.config import SyntheticConfig
from mmearth.curate.sources.synthetic.shifts import RADIOMETRY
from mmearth.loaders.dataset import open_dataset

HERE = Path(__file__).parent
WORLDS: dict[str, dict[str, float]] = {
    "haze": {},
    "clean": {"atmosphere": 0.0},
    "labels": {"atmosphere": 0.0, "label_shift": 1.0},
}
"""What each changes in the source of adaptation-study.yaml."""
TESTED = "geographic_test"
CONTROLS = (
    ("clean", "JT"),
    ("clean", "TTT-MMR"),
    ("clean", "TTT-MMR-Geo"),
    ("undone", "JT"),
    ("elsewhere", "TTT-MMR-Geo"),
    ("labels", "JT"),
    ("labels", "TTT-MMR"),
    ("labels", "TTT-MMR-Geo"),
)
"""World, or what is done to the haze, and method: each from the weights of the matrix's JT."""
ROWS = (
    ("0 haze − clean", ("haze", "JT"), ("clean", "JT"), "below"),
    ("1 haze undone − clean", ("undone", "JT"), ("clean", "JT"), "zero"),
    ("2 TTT-MMR − JT", ("haze", "TTT-MMR"), ("haze", "JT"), "above"),
    ("2 TTT-MMR-Geo − JT", ("haze", "TTT-MMR-Geo"), ("haze", "JT"), "above"),
    ("3 targets of elsewhere − JT", ("elsewhere", "TTT-MMR-Geo"), ("haze", "JT"), "not above"),
    ("4 TTT-MMR − JT, labels", ("labels", "TTT-MMR"), ("labels", "JT"), "zero"),
    ("4 TTT-MMR-Geo − JT, labels", ("labels", "TTT-MMR-Geo"), ("labels", "JT"), "zero"),
    ("5 TTT-MMR − JT, all seen", ("haze", "TTT-MMR"), ("haze", "JT"), "not above"),
    ("5 TTT-MMR-Geo − JT, all seen", ("haze", "TTT-MMR-Geo"), ("haze", "JT"), "not above"),
    ("6 TTT-MMR − JT, clean", ("clean", "TTT-MMR"), ("clean", "JT"), "not below"),
    ("6 TTT-MMR-Geo − JT, clean", ("clean", "TTT-MMR-Geo"), ("clean", "JT"), "not below"),
)
"""Name, what is looked at and its reference (as CONTROLS), and what was expected. Row 5 is of the
last encoder, which sees all that is reconstructed, the others of those before it; row 6 is where
nothing is shifted."""
ORDERS = {"JT": RANDOM, "TTT-MMR": RANDOM, "TTT-MMR-Geo": GEOGRAPHIC["default"]}
Numbers = NDArray[np.float64]
Pairs = Iterator[tuple[Any, Any]]
"""Batches, each beside the batch whose modalities are the targets of its reconstruction."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--build", type=Path, default=HERE / "adaptation-study.yaml")
    parser.add_argument("--benchmark", type=Path, default=HERE / "adaptation-study-benchmark.yaml")
    parser.add_argument("--jobs", type=int, default=2, help="processes, a core each")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    config = load_config(given.benchmark)
    source = build(given.build, Path(config.dataset).parent, given.jobs)
    of_all = ["benchmark", "run", given.benchmark, "-o", given.out, "--shard"]
    mmearth(*([*of_all, f"{i + 1}/{given.jobs}"] for i in range(given.jobs)))
    work = list(product(config.encoders[:-1], config.seeds))
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        list(pool.map(partial(controls, config, given.out, source), *zip(*work, strict=True)))
    found = list(rows(config, given.out))
    lines = table(found)
    (given.out / "study.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (given.out / "study.svg").write_text(figure(found) + "\n", encoding="utf-8")
    print("\n".join(lines))


def mmearth(*commands: list[Any]) -> None:
    """Run commands side by side."""
    begun = [subprocess.Popen([sys.executable, "-m", "mmearth", *map(str, c)]) for c in commands]
    if any([each.wait() for each in begun]):
        sys.exit("a command failed; what is above says why")


def build(config: Path, data: Path, jobs: int) -> SyntheticConfig:
    """Build the three worlds; return the source of the haze."""
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    data.mkdir(parents=True, exist_ok=True)
    for world, changed in WORLDS.items():
        path = data / f"{world}.yaml"
        path.write_text(yaml.safe_dump(document | {"source": document["source"] | changed}))
        mmearth(["curate", "build", path, "-o", data / world, "--workers", jobs])
    return SyntheticConfig.model_validate(document["source"])


def controls(
    config: BenchmarkConfig, out: Path, source: SyntheticConfig, encoder: str, seed: int
) -> None:
    """Make the controls of one trained model that are not there yet."""
    torch.set_num_threads(1)
    haze = open_dataset(config.dataset)
    cell = Cell(config.tasks[0], encoder, "JT", 100, seed)
    folder = run_folder(out, setting(config, haze.hash, cell))
    job = Job(
        config,
        cell,
        TaskData(haze, haze.catalogue.tasks[cell.task], 100),
        Fabric(accelerator="cpu"),
        folder,
    )
    model = job.model(reconstructs=True)
    load_best(model, folder)
    chosen = steps_of(out, encoder, seed)
    for name, method in CONTROLS:
        path = control_path(out, encoder, seed, name, method)
        if not path.exists():
            pairs = batches(job, name, ORDERS[method], source)
            found = adapted(job, model, pairs, chosen.get(method, 0))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_predictions(found, path)


def steps_of(out: Path, encoder: str, seed: int) -> dict[str, int]:
    """Return K of each method that adapts, as validation has chosen it."""
    rows = read_results(out / RESULTS_FILE).to_pylist()
    mine = [row for row in rows if (row["encoder"], row["seed"]) == (encoder, seed)]
    return {row["method"]: row["steps"] for row in mine if row["steps"] is not None}


def batches(job: Job, name: str, order: str, source: SyntheticConfig) -> Pairs:
    """Return the batches of the geographic test in a world, with their targets."""
    world = name if name in WORLDS else "haze"
    of_world = open_dataset(str(Path(job.config.dataset).parent / world))
    chosen = of_world.select(job.task.name, TESTED)
    size, normalise = job.config.adaptation.batch_size, job.data.statistics
    loader = partial(chosen.loader, size, order, job.cell.seed, normalise=normalise)
    if name == "undone":
        return ((undone(job, batch, source),) * 2 for batch in loader())
    if name != "elsewhere":
        return ((batch, batch) for batch in loader())
    half = len(loader()) // 2
    far = chain(islice(loader(), half, None), islice(loader(), half))
    return (
        (batch, like(other, len(batch["key"]), chosen.catalogue))
        for batch, other in zip(loader(), far, strict=True)
    )


def like(batch: Any, n: int, catalogue: Catalogue) -> dict[str, Any]:
    """Return the modalities of a batch for n tiles; its first come again if it has fewer."""
    rows = torch.arange(n) % len(batch["key"])
    masks = {name: batch["mask"][name][rows] for name in catalogue.layers}
    return {name: batch[name][rows] for name in catalogue.layers} | {"mask": masks}


def undone(job: Job, batch: Any, source: SyntheticConfig) -> dict[str, Any]:
    """Return a batch without the haze: stored values again, the oracle, and z-scores again."""
    result, grid = dict(batch), job.data.dataset.catalogue.grid
    for name, oracle in RADIOMETRY.items():
        wanted, layer = job.data.statistics[name], job.data.dataset.catalogue.layers[name]
        each = [wanted.stored(i, layer) for i in range(len(wanted.bands))]
        mean, std = (np.array(values)[:, None, None] for values in zip(*each, strict=True))
        tiles = []
        for key, values in zip(batch["key"], batch[name].numpy(), strict=True):
            stored = values * std + mean
            stored = np.rint(stored) if layer.dtype.startswith("u") else stored
            day = f"{key[-8:-4]}-{key[-4:-2]}-{key[-2:]}"
            change = oracle(tile_of(key, grid), day, source.seed, source.shifts)
            tiles.append((change.undo(stored.astype(layer.dtype)).astype(float) - mean) / std)
        scores = torch.from_numpy(np.stack(tiles)).float()
        result[name] = torch.where(batch["mask"][name], scores, 0.0)
    return result


def adapted(job: Job, model: Any, pairs: Pairs, steps: int) -> Predictions:
    """Return predictions after `steps` steps on each batch; 0 is joint training alone."""
    ttt = TTTMMR(
        model.encoder,
        model.reconstruction_head,
        lambda outputs, pair: losses_of_batch(outputs, pair[1]),
        job.config.adaptation.rates(job.cell.encoder)[0],
        steps,
        inputs=lambda pair: job.data.fed(pair[0], model.encoder),
    )
    parts = []
    for pair in pairs:
        answer = in_unit(job.task, ttt.adapt(pair, model.head).prediction, job.scale)
        parts.append(predictions_of(job.task, pair[0], answer))
    return merge_predictions(parts)


def control_path(out: Path, encoder: str, seed: int, name: str, method: str) -> Path:
    return out / "controls" / f"{encoder.rpartition(':')[2]}-{seed}-{name}-{method}.parquet"


@dataclass(frozen=True)
class Found:
    """One row of one encoder."""

    name: str
    encoder: str
    before: Numbers
    """R² of the reference, a seed each."""
    after: Numbers
    """R² of what is looked at."""
    difference: Paired
    expected: str

    @property
    def came_out(self) -> bool:
        low, high = self.difference.by_both
        return {
            "above": low > 0,
            "below": high < 0,
            "zero": low <= 0 <= high,
            "not above": low <= 0,
            "not below": high >= 0,
        }[self.expected]

    @property
    def seeds_above(self) -> int:
        """Return how many seeds gained what the table's decimals can show."""
        return int((self.after - self.before > 5e-5).sum())

    def cells(self) -> tuple[str, ...]:
        low, high = self.difference.by_both
        return (
            self.name,
            self.encoder,
            f"{self.before.mean():.3f} → {self.after.mean():.3f}",
            f"{self.difference.value:+.4f} ({low:+.4f} to {high:+.4f})",
            f"{self.seeds_above} of {len(self.before)}",
            self.expected,
            "yes" if self.came_out else "no",
        )


def rows(config: BenchmarkConfig, out: Path) -> Iterator[Found]:
    """Return the rows, each with what was expected and whether it came out."""
    for name, one, other, expected in ROWS:
        of_all = config.encoders[-1:]
        for encoder in of_all if name.startswith("5") else config.encoders[:-1]:
            after, before = (predictions(config, out, encoder, *each) for each in (one, other))
            yield Found(
                name,
                encoder.rpartition(":")[2],
                of_seeds(before),
                of_seeds(after),
                paired("r2", after, before),
                expected,
            )


def of_seeds(found: list[Predictions]) -> Numbers:
    """Return the R² of each seed."""
    return np.array([METRICS["r2"].value(each) for each in found])


def table(found: list[Found]) -> list[str]:
    columns = ("row", "encoder", "R²", "difference, 95 %", "seeds above 0", "expected", "came out")
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    return lines + [f"| {' | '.join(each.cells())} |" for each in found]


def figure(found: list[Found]) -> str:
    """Draw the differences with their intervals, and the scores of all seeds behind them."""
    encoders = list(dict.fromkeys(each.encoder for each in found))
    styles = dict(zip(encoders, map(Style, encoders, COLOURS, SHAPES), strict=False))
    names = tuple(dict.fromkeys(each.name for each in found))
    gains = tuple(name for name in names if name > "2")  # beside the harm of haze they are small
    differences, scores = [], []
    for encoder, style in styles.items():
        mine = [each for each in found if each.encoder == encoder]
        ends = [(gains.index(f.name), f.difference) for f in mine if f.name in gains]
        points = tuple(Point(i, each.value, *each.by_both) for i, each in ends)
        differences.append((style, points))
        seeds = ((names.index(each.name), each.after) for each in mine)
        scores.append((style, tuple(Point(i, r2) for i, values in seeds for r2 in values)))
    title = "Difference, 95 % over tiles and seeds"
    panels = [
        Panel(title, "R²", gains, tuple(differences), zero=True),
        Panel("R² of each seed", "R²", names, tuple(scores)),
    ]
    return dots(panels, "Differences in R² by row and encoder, and the R² of each seed")


def predictions(
    config: BenchmarkConfig, out: Path, encoder: str, name: str, method: str
) -> list[Predictions]:
    """Return those of each seed: the matrix's in the haze, else a control's."""
    dataset = open_dataset(config.dataset)
    paths = []
    for seed in config.seeds:
        cell = Cell(config.tasks[0], encoder, method, 100, seed)
        folder = run_folder(out, setting(config, dataset.hash, cell))
        other = control_path(out, encoder, seed, name, method)
        paths.append(predictions_path(folder, TESTED) if name == "haze" else other)
    task = dataset.catalogue.tasks[config.tasks[0]]
    return [read_predictions(path, task) for path in paths]


if __name__ == "__main__":
    main()
