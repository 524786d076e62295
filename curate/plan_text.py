"""What `mmearth curate plan` says."""

from __future__ import annotations

import textwrap

from mmearth.catalog.anchor import anchor_date
from mmearth.curate.estimate import Estimate
from mmearth.curate.jobs import Difference
from mmearth.curate.look_text import blocks
from mmearth.curate.outage import as_text
from mmearth.curate.plan import TaskPlan

WIDTH = 100
"""Of a line, in characters."""


def table(found: Estimate) -> tuple[list[str], list[list[object]]]:
    """Return the header and a row a task: what became of its places."""
    splits = list(found.tasks[0].splits)
    header = ["task", "places", "beyond UTM", "invalid", "overlapping", "in buffer", *splits]
    return header, [_row(task) for task in found.tasks]


def notes(found: Estimate) -> list[str]:
    """Return what a reader of the table would not guess, each in lines of WIDTH."""
    lines: list[str] = []
    n_buffer = sum(task.n_buffer for task in found.tasks)
    n_far = sum(task.n_far_buffer for task in found.tasks)
    n_undated = sum(task.n_undated for task in found.tasks)
    if n_buffer:
        lines.append(
            f"in buffer: {n_buffer} training tiles are left out near blocks, and near Africa, that "
            f"are kept for tests; {n_far} of them have no test tile near so far "
            "(split: {buffer_m: 0} keeps all)"
        )
    if n_undated and "sentinel2" not in found.require:
        lines.append(
            f"dates: none is asked for at {n_undated} tiles; without a Sentinel-2 image it is "
            f"{anchor_date(None, 1.0)}, south of the equator {anchor_date(None, -1.0)} "
            "(date: sets another)"
        )
    return [wrapped(line) for line in lines]


def seen(found: Estimate) -> list[str]:
    """Return what the labels and files are like, a block each, in lines of WIDTH."""
    lines = []
    for first, *facts in blocks(found.tasks, found.looks, found.catalogue):
        lines += [wrapped(first), *(wrapped(fact, "  ") for fact in facts)]
    return lines


def costs(found: Estimate, mbit: float) -> list[str]:
    """Return what a build would take.

    Args:
        found: What was found out.
        mbit: Megabits a second that hosts of rasters are read with.
    """
    lines = [
        f"{found.n_tiles} tiles × {len(found.modalities)} modalities{_origins(found)}",
        f"about {found.bytes / 1e9:.2f} GB of shards, and while they are packed as much again",
    ]
    if found.difference is not None:
        lines = [*differing(found.difference), f"about {found.bytes / 1e9:.2f} GB"]
        if found.n_moved:
            lines.insert(0, f"{found.n_moved} tiles would change their split: see --redeal")
    if found.requests is None:
        work = f"about {found.seconds:.0f} s of one core's work"
        return [*lines, f"{work}, tried on {found.n_tried} tiles"]
    if found.network_bytes is not None:
        seconds = max(found.seconds, found.network_bytes * 8e-6 / mbit)
        gigabytes = f"about {found.requests} requests and {found.network_bytes / 1e9:.1f} GB"
        lines.append(f"{gigabytes} from the network, {as_text(seconds)} at {mbit:g} Mbit/s")
        if set(found.sources.values()) <= {"stac", "files"}:
            return lines
    charged = "unknown (see --calibrate)"
    if found.eecu_hours is not None:
        charged = f"about {found.eecu_hours:.2f}, tried on {found.n_tried} tiles"
    lines.append(f"about {found.requests} requests, {found.seconds:.0f} s at best")
    return [*lines, f"EECU-hours: {charged}"]


def _origins(found: Estimate) -> str:
    """Return which layers come from where; nothing where all come from one source."""
    kinds = dict.fromkeys(found.sources.values())
    if len(kinds) < 2:
        return ""
    names = {kind: [n for n, k in found.sources.items() if k == kind] for kind in kinds}
    return "; " + "; ".join(f"{kind}: {', '.join(some)}" for kind, some in names.items())


def differing(found: Difference) -> list[str]:
    """Return how a plan differs from what is there: tiles, then layers, those alike together."""
    tiles = ", ".join(f"{found.tiles[name]} {name}" for name in ("new", "kept", "gone"))
    lines = [f"tiles: {tiles}"]
    if found.tiles["gone"]:
        lines.append("gone: their places are not asked for any more, or overlap others")
    alike: dict[str, list[str]] = {}
    for name, why in found.why.items():
        said = ", ".join(f"{n} {reason}" for reason, n in sorted(why.items()))
        alike.setdefault(said, []).append(name)
    lines += [wrapped(f"collect {', '.join(names)}: {why}") for why, names in alike.items()]
    if found.stored:
        stored = ", ".join(f"{n} {name}" for name, n in sorted(found.stored.items()))
        lines.append(wrapped(f"of them the store has {stored}"))
    if found.unwanted:
        size = f"{found.unwanted_bytes / 1e6:.1f} MB"
        lines.append(
            f"{found.unwanted} observations ({size}) are not wanted any more; they are kept until "
            "`mmearth curate prune`"
        )
    return lines


def wrapped(line: str, indent: str = "") -> str:
    """Return a sentence in lines of WIDTH, all but the first indented more; words stay whole."""
    return textwrap.fill(
        line,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _row(task: TaskPlan) -> list[object]:
    left_out = (task.n_beyond_utm, task.n_invalid, task.n_overlapping, task.n_buffer)
    return [task.task, task.n_places, *left_out, *task.splits.values()]
