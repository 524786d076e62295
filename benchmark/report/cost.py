"""Sections on what the runs cost and on what the canaries found."""

from __future__ import annotations

import math
from collections import defaultdict

from mmearth.benchmark.canaries import BASELINE, canaries
from mmearth.benchmark.report.cells import Run, Scores
from mmearth.benchmark.report.content import Block, Section, Table, number


def cost_section(scores: Scores) -> Section:
    """Return seconds and memory by encoder, method and device."""
    groups: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in scores.runs:
        groups[run.setting.encoder, run.setting.method, run.row["device"]].append(run)
    rows = []
    for group, of in sorted(groups.items(), key=lambda item: (item[0][0] == BASELINE, item[0])):
        seconds = sorted(run.row["seconds"] for run in of)
        memory = max(run.row["memory_bytes"] for run in of) / 2**30
        total = number(math.fsum(seconds) / 3600, 2)
        middle = number(seconds[len(of) // 2], 1), number(seconds[-1], 1)
        rows.append((*group, str(len(of)), *middle, total, number(memory, 2)))
    header = (
        *("encoder", "method", "device", "runs", "median run / s", "longest / s"),
        *("all / h", "peak memory / GiB"),
    )
    hours = math.fsum(run.row["seconds"] for run in scores.runs) / 3600
    lead = f"{len(scores.runs)} runs took {hours:.2f} h in all, over all tasks and label shares."
    caption = "Wall time of whole runs, and the highest peak: the accelerator's, or the process's"
    return Section("Cost", (lead, Table(caption, header, tuple(rows), n_labels=3)))


def canaries_section(scores: Scores) -> Section:
    """Return what the canaries found, the grave first."""
    found = sorted(canaries(scores.table, scores.catalogue.tasks), key=lambda f: (not f.stops, f))
    if not found:
        return Section("Canaries", ("Nothing was flagged.",))
    rows = tuple(("stop" if f.stops else "look", f.kind, f.sentence) for f in found)
    lead = (
        "`stop`: the numbers are surely wrong. `look`: they may be right, and a person should say "
        "why."
    )
    blocks: tuple[Block, ...] = (
        lead,
        Table("Findings", ("weight", "canary", "what was found"), rows, n_labels=3),
    )
    return Section("Canaries", blocks)
