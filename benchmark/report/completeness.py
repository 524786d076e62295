"""What a matrix lacks: a mean over some of the seeds is not compared with one over all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import product

from mmearth.benchmark.canaries import BASELINE
from mmearth.benchmark.report.cells import Scores
from mmearth.benchmark.report.content import ABSENT, Section, Table

Cell = tuple[str, str, str, int]
"""(task, encoder, method, percent of the train split)."""


def seeds_of(scores: Scores) -> dict[Cell, set[int]]:
    """Return the seeds of each cell of an encoder that has one."""
    found: dict[Cell, set[int]] = defaultdict(set)
    for run in scores.runs:
        s = run.setting
        if s.encoder != BASELINE:
            found[s.task, s.encoder, s.method, s.fraction].add(s.seed)
    return dict(found)


def lacking(found: dict[Cell, set[int]], tasks: Iterable[str]) -> dict[Cell, set[int]]:
    """Return the seeds that each cell lacks of a whole matrix.

    Whole is what the tasks and all encoders, seeds and pairs of method and percentage that are
    anywhere make together.
    """
    seeds = set().union(*found.values())
    encoders = dict.fromkeys(encoder for _, encoder, *_ in found)
    methods = dict.fromkeys((method, fraction) for *_, method, fraction in found)
    cells = ((t, e, *m) for t, e, m in product(tasks, encoders, methods))
    lacks = {cell: seeds - found.get(cell, set()) for cell in cells}
    return {cell: of for cell, of in lacks.items() if of}


def is_partial(scores: Scores, cell: Cell) -> bool:
    """Whether a cell lacks some seeds of the matrix, so that its mean compares with none."""
    return cell in lacking(seeds_of(scores), scores.tasks)


def completeness_section(scores: Scores) -> Section:
    """Return what is there of the matrix, and which cells lack which seeds."""
    title = "Completeness"
    found = seeds_of(scores)
    n_runs = sum(map(len, found.values()))
    lacks = lacking(found, scores.tasks)
    missing = sum(map(len, lacks.values()))
    if not missing:
        return Section(title, (f"All {n_runs} runs of encoders are there: the matrix is whole.",))
    lead = (
        f"The matrix is partial: of {n_runs + missing} runs of encoders {missing} are missing. A "
        "mean over fewer seeds than others have is shown with its number of seeds, is not ranked, "
        "and is never the best. `mmearth benchmark run` with the same configuration makes the rest."
    )
    rows = [
        (
            *(task, encoder, method, f"{fraction} %"),
            _listed(found.get((task, encoder, method, fraction), set())),
            _listed(seeds),
        )
        for (task, encoder, method, fraction), seeds in lacks.items()
    ]
    header = ("task", "encoder", "method", "labels", "seeds there", "seeds missing")
    table = Table("Runs that are missing", header, tuple(rows), n_labels=6, folded=len(rows) > 20)
    return Section(title, (lead, table))


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds))) or ABSENT
