"""What `mmearth curate plan` prints."""

from __future__ import annotations

import textwrap

import click

from mmearth.catalog import options
from mmearth.catalog.anchor import anchor_date
from mmearth.curate.estimate import Estimate
from mmearth.curate.plan import TaskPlan


def show(found: Estimate) -> None:
    """Print a plan and what it would cost, on standard output."""
    splits = list(found.tasks[0].splits)
    header = ["task", "places", "beyond UTM", "invalid", "overlapping", "in buffer", *splits]
    options.echo_table(header, [_row(task) for task in found.tasks])
    click.echo()
    for line in _lines(found):
        click.echo(textwrap.fill(line, 100, subsequent_indent="  ", break_long_words=False))
    click.echo(f"{found.n_tiles} tiles × {len(found.modalities)} modalities")
    click.echo(f"about {found.bytes / 1e9:.2f} GB, store and shards together")
    if found.requests is None:
        click.echo(
            f"about {found.seconds:.0f} s of one core's work, tried on {found.n_tried} tiles"
        )
        return
    charged = "unknown (see --calibrate)"
    if found.eecu_hours is not None:
        charged = f"about {found.eecu_hours:.2f}, tried on {found.n_tried} tiles"
    click.echo(f"about {found.requests} requests, {found.seconds:.0f} s at best")
    click.echo(f"EECU-hours: {charged}")


def _row(task: TaskPlan) -> list[object]:
    left_out = (task.n_beyond_utm, task.n_invalid, task.n_overlapping, task.n_buffer)
    return [task.task, task.n_places, *left_out, *task.splits.values()]


def _lines(found: Estimate) -> list[str]:
    """Return what a reader of the table would not guess."""
    lines = [note for task in found.tasks for note in task.notes]
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
    return lines
