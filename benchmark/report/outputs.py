"""Section on regressions with several outputs: each output's scores."""

from __future__ import annotations

from collections import defaultdict

from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.report.breakdown import in_pairs
from mmearth.benchmark.report.cells import SPLITS, WHOLE, Scores
from mmearth.benchmark.report.content import ABSENT, Section, Table, spread
from mmearth.benchmark.significance import mean_and_error


def outputs_section(scores: Scores) -> Section | None:
    """Return a table a task with several outputs; None where there is none."""
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    pairs: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in scores.table.to_pylist():
        if row["output"] is not None and row["fraction"] == WHOLE:
            pairs[row["task"]].add((row["encoder"], row["method"]))
            names = ("task", "encoder", "method", "output", "metric", "split")
            values[tuple(row[name] for name in names)].append(row["value"])
    if not pairs:
        return None
    blocks = []
    for task in (scores.task(name) for name in scores.tasks if name in pairs):
        asked = [(m, s) for m in task.metrics for s in scores.splits(task.name)]
        rows = []
        for band in task.target.bands:
            for pair in in_pairs(pairs[task.name]):
                found = (values.get((task.name, *pair, band.name, *each), []) for each in asked)
                cells = (spread(*mean_and_error(of)) if of else ABSENT for of in found)
                unit = "" if band.unit == "1" else f" / {band.unit}"
                rows.append((f"{band.name}{unit}", *pair, *cells))
        columns = (f"{METRICS[metric].title}, {SPLITS[split]}" for metric, split in asked)
        header = ("output", "encoder", "method", *columns)
        caption = f"{task.name}, each output, mean over seeds ± standard error"
        blocks.append(Table(caption, header, tuple(rows), n_labels=3))
    lead = "The scores above are the means over a task's outputs; these are of each alone."
    return Section("Outputs", (lead, *blocks))
