"""`mmearth packaging merge`: two datasets become one."""

from __future__ import annotations

from pathlib import Path

import click

from mmearth.catalog import options
from mmearth.catalog.progress import shown
from mmearth.catalog.talk import say


@click.command("merge")
@click.argument("first", metavar="A", type=click.Path(exists=True, file_okay=False))
@click.argument("second", metavar="B", type=click.Path(exists=True, file_okay=False))
@click.option("-o", "--out", required=True, help="The new dataset's directory; empty or not there.")
@click.option("--redeal", is_flag=True, help="Deal all splits anew, by the default rule.")
@options.workers
@options.executor
@options.scheduler
@options.as_json
def command(
    first: str,
    second: str,
    out: str,
    redeal: bool,
    workers: int | None,
    executor: str | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Join datasets A and B, of the same grid, layers and tasks.

    What both have is kept once. Tiles that both have in other splits, or that overlap across
    splits, are refused unless all are dealt anew.

    mmearth packaging merge data/north data/south -o data/both
    """
    from mmearth.catalog.executor import Workers
    from mmearth.merge import merge

    with shown() as progress:
        how = Workers.of(workers, executor, scheduler)
        built, dataset_hash = merge((Path(first), Path(second)), Path(out), redeal, how, progress)
    if as_json:
        options.echo_json({"dataset_hash": dataset_hash, "samples": built.n_samples})
        return
    options.echo_table(["task", "samples"], [[*each] for each in built.n_samples.items()])
    say(f"dataset hash {dataset_hash}")
