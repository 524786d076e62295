"""Sections on how good the models are: scores, ranks, label efficiency."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence

from mmearth.benchmark.adapted import ORACLES
from mmearth.benchmark.canaries import BASELINE
from mmearth.benchmark.metrics import METRICS, headline
from mmearth.benchmark.report import charts
from mmearth.benchmark.report.cells import (
    SPLITS,
    WHOLE,
    Cell,
    Scores,
    axis_of,
    in_order,
    styles_of,
)
from mmearth.benchmark.report.charts import Panel, Point
from mmearth.benchmark.report.completeness import is_partial, seeds_of
from mmearth.benchmark.report.content import (
    ABSENT,
    Block,
    Figure,
    Section,
    Table,
    interval_text,
    number,
    signed,
    spread,
)
from mmearth.benchmark.report.seen import seen_by
from mmearth.catalog.query import FRACTIONS

_Found = list[list[Cell | None]]  # by metric, by split


def scores_section(scores: Scores) -> Section:
    """Return a table a task: both test splits, their intervals and the gap between them."""
    blocks: list[Block] = [
        "Mean over seeds ± standard error, with the whole train split; behind it the 95 % "
        "bootstrap interval over tiles, its ends averaged over seeds. The gap is the geographic "
        "split minus the random one. Rows of `baseline` need no encoder: they predict the train "
        "mean or most frequent class, that of the nearest train samples, or boosted trees on "
        "climate and place. The best mean of a column is bold, rows fall by the first; both only "
        "where all seeds are there. `seen` is what weights, checkpoint, K and its rate were fitted "
        "to or chosen by. What has seen test labels is an upper bound and no result: it is never "
        "the best, comes last and is not ranked."
    ]
    blocks.extend(_score_table(scores, task) for task in scores.tasks)
    return Section("Scores", tuple(blocks))


def _score_table(scores: Scores, task: str) -> Table:
    of_task, splits = scores.task(task), scores.splits(task)
    first_name, *others = of_task.metrics
    pairs = {
        (r.setting.encoder, r.setting.method)
        for r in scores.runs
        if r.setting.task == task and r.setting.fraction == WHOLE
    }
    header = ["encoder", "method", "seen", "seeds"]
    for split in splits:
        header += [f"{METRICS[first_name].title}, {SPLITS[split]}", "95 % interval"]
    header += ["gap"] if len(splits) == 2 else []
    asked = [(metric, split) for metric in others for split in splits]
    header += [f"{axis_of(of_task, metric)}, {SPLITS[split]}" for metric, split in asked]
    names = (first_name, *others)
    found = {
        pair: [[scores.cells.get((task, *pair, WHOLE, s, name)) for s in splits] for name in names]
        for pair in pairs
    }
    partial = {p for p in pairs if p[0] != BASELINE and is_partial(scores, (task, *p, WHOLE))}
    ranked = {pair for pair in pairs - partial if pair[1] not in ORACLES}
    best = {
        name: [_best((found[p][k][i] for p in ranked), name) for i in range(len(splits))]
        for k, name in enumerate(names)
    }
    wanted = len(set().union(*seeds_of(scores).values()))
    rows = [
        _score_row(pair, found[pair], list(best.values()), wanted if pair in partial else None)
        for pair in _best_first(found, partial, first_name)
    ]
    counts = [f"{cell_n(scores, task, split)} on {SPLITS[split]}" for split in splits]
    caption = f"{task}: {of_task.title} (samples: {', '.join(counts)})"
    return Table(caption, tuple(header), tuple(rows), n_labels=3)


def _score_row(
    pair: tuple[str, str], found: _Found, best: _Found, wanted: int | None
) -> tuple[str, ...]:
    """Return a row of an (encoder, method); `wanted` seeds are said where some lack."""
    first = found[0]
    n_seeds = max((cell.n_seeds for cell in first if cell), default=0)
    row = [*pair, seen_by(pair[1]), f"{n_seeds} of {wanted}" if wanted else str(n_seeds)]
    for cell, top in zip(first, best[0], strict=True):
        row += [_marked(cell, top), interval_text(cell.low, cell.high) if cell else ABSENT]
    if len(first) == 2:
        row.append(_gap(first))
    for cells, tops in zip(found[1:], best[1:], strict=True):
        row += [_marked(cell, top) for cell, top in zip(cells, tops, strict=True)]
    return tuple(row)


def _best_first(
    found: Mapping[tuple[str, str], _Found], partial: Container[tuple[str, str]], metric: str
) -> list[tuple[str, str]]:
    """Return (encoder, method) by falling score on the first split, partial ones and NaN after.

    Baselines come last, before them what has seen test labels.
    """
    order = in_order(method for _, method in found)
    sign = 1 if METRICS[metric].higher_is_better else -1

    def place(pair: tuple[str, str]) -> tuple[bool, bool, float, str, int]:
        cells = [] if pair in partial else found[pair][0][:1]
        values = [sign * cell.mean for cell in cells if cell and math.isfinite(cell.mean)]
        best = max(values, default=-math.inf)
        is_last = pair[0] == BASELINE, pair[1] in ORACLES
        return *is_last, -best, pair[0], order.index(pair[1])

    return sorted(found, key=place)


def cell_n(scores: Scores, task: str, split: str) -> int:
    """Return how many samples a split's scores rest on."""
    return max(
        cell.n for place, cell in scores.cells.items() if (place[0], place[4]) == (task, split)
    )


def _best(cells: Iterable[Cell | None], metric: str) -> Cell | None:
    """Return the best of cells of a metric; None where fewer than two are finite."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    finite = [cell for cell in cells if cell and math.isfinite(cell.mean)]
    return max(finite, key=lambda cell: sign * cell.mean) if len(finite) > 1 else None


def _marked(cell: Cell | None, best: Cell | None) -> str:
    return f"**{_mean(cell)}**" if cell is not None and cell is best else _mean(cell)


def _mean(cell: Cell | None) -> str:
    if cell is None:
        return ABSENT
    return spread(cell.mean, cell.error, 3 if abs(cell.mean) < 10 else 2)


def _gap(cells: list[Cell | None]) -> str:
    random, geographic = cells
    return ABSENT if not (random and geographic) else signed(geographic.mean - random.mean)


def ranks_section(scores: Scores) -> Section:
    """Return the encoders' ranks a task and their mean, for each method and split."""
    blocks: list[Block] = []
    for split in SPLITS:
        columns = [task for task in scores.tasks if split in scores.splits(task)]
        methods = [method for method in scores.methods if method not in ORACLES]
        rows = [row for m in methods for row in _rank_rows(scores, m, split, columns)]
        if rows:
            header = ("method", "encoder", *columns, "mean rank")
            blocks.append(Table(f"On the {SPLITS[split]} test split", header, tuple(rows), 2))
    if not blocks:
        return Section("Ranks", ("Left out: ranks need two encoders with one method on one task.",))
    lead = (
        "1 is best, by the headline metric, mean over seeds, with the whole train split; equal "
        "scores share the mean of their ranks. An encoder that lacks seeds is not ranked on that "
        "task; the mean leaves out encoders that lack a task."
    )
    return Section("Ranks", (lead, *blocks))


def _rank_rows(
    scores: Scores, method: str, split: str, tasks: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return one method's rows, the best encoder first; none where no task has two encoders."""
    ranks: dict[str, dict[str, float]] = {}
    for task in tasks:
        whole = [e for e in scores.encoders if not is_partial(scores, (task, e, method, WHOLE))]
        found = {e: scores.headline(task, e, method, split) for e in whole}
        sign = 1 if headline(scores.task(task)).higher_is_better else -1
        values = {e: sign * c.mean for e, c in found.items() if c and math.isfinite(c.mean)}
        if len(values) > 1:
            ranks[task] = _ranks(values)
    encoders = {encoder for column in ranks.values() for encoder in column}
    means = {
        e: math.fsum(column[e] for column in ranks.values()) / len(ranks)
        for e in encoders
        if all(e in column for column in ranks.values())
    }
    nothing: dict[str, float] = {}
    return [
        (
            method,
            e,
            *(number(ranks.get(task, nothing).get(e, math.nan), 1) for task in tasks),
            number(means.get(e, math.nan), 2),
        )
        for e in sorted(encoders, key=lambda e: (means.get(e, math.inf), e))
    ]


def _ranks(values: dict[str, float]) -> dict[str, float]:
    """Return ranks from 1, highest value first, the mean of ranks for equal values."""
    return {
        name: sum(other > value for other in values.values())
        + (sum(other == value for other in values.values()) + 1) / 2
        for name, value in values.items()
    }


def labels_section(scores: Scores) -> Section:
    """Return the curves of the headline metric over 5, 50 and 100 % of the labels."""
    pairs = _curves(scores)
    if not pairs:
        return Section(
            "Label efficiency", ("Left out: no setting was run with two percentages of labels.",)
        )
    styles = styles_of(pairs)
    panels = []
    for task in scores.tasks:
        for split in scores.splits(task):
            series = [(styles[pair], _curve(scores, task, *pair, split)) for pair in pairs]
            metric = scores.task(task).metrics[0]
            panels.append(
                Panel(
                    f"{task}, {SPLITS[split]}",
                    axis_of(scores.task(task), metric),
                    tuple(str(f) for f in FRACTIONS),
                    tuple(series),
                )
            )
    caption = (
        "Headline metric over the share of the train split; bars are standard errors over seeds."
    )
    drawn = charts.lines(panels, caption, x_axis="labels / % of the train split")
    return Section("Label efficiency", (Figure(caption, drawn), _label_table(scores, pairs)))


def _curves(scores: Scores) -> list[tuple[str, str]]:
    """Return (encoder, method) of which some task has two fractions; baselines come last."""
    seen: dict[tuple[str, str, str], set[int]] = {}
    for run in scores.runs:
        s = run.setting
        seen.setdefault((s.task, s.encoder, s.method), set()).add(s.fraction)
    pairs = {(encoder, method) for (_, encoder, method), of in seen.items() if len(of) > 1}
    order = in_order(method for _, method in pairs)
    return sorted(pairs, key=lambda pair: (pair[0] == BASELINE, pair[0], order.index(pair[1])))


def _curve(scores: Scores, task: str, encoder: str, method: str, split: str) -> tuple[Point, ...]:
    points, metric = [], scores.task(task).metrics[0]
    for i, fraction in enumerate(FRACTIONS):
        cell = scores.cells.get((task, encoder, method, fraction, split, metric))
        if cell is not None:
            points.append(Point(i, cell.mean, cell.mean - cell.error, cell.mean + cell.error))
    return tuple(points)


def _label_table(scores: Scores, pairs: list[tuple[str, str]]) -> Table:
    rows = []
    for task in scores.tasks:
        metric = scores.task(task).metrics[0]
        for split in scores.splits(task):
            for encoder, method in pairs:
                found = [
                    scores.cells.get((task, encoder, method, fraction, split, metric))
                    for fraction in FRACTIONS
                ]
                if any(found):
                    row = (task, SPLITS[split], encoder, method, *(_mean(cell) for cell in found))
                    rows.append(row)
    header = ("task", "split", "encoder", "method", *(f"{f} %" for f in FRACTIONS))
    caption = "Headline metric of each task, mean over seeds ± standard error"
    return Table(caption, header, tuple(rows), n_labels=4, folded=True)
