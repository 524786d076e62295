"""`mmearth packaging`: pack a collected dataset anew, prove a finished one."""

from __future__ import annotations

from pathlib import Path

import click

from mmearth.catalog import options


@click.group("packaging")
def cli() -> None:
    """Observations in, shards and manifests out."""


@cli.command()
@options.directory
@options.workers
@options.as_json
def build(directory: str, workers: int | None, as_json: bool) -> None:
    """Pack DIRECTORY again from its store: shards, manifests, statistics, catalogue, checksums.

    The dataset must have been built with `keep_store`; the same store gives the same bytes.
    """
    import os

    from mmearth.packaging.rebuild import rebuild

    built, dataset_hash = rebuild(Path(directory), workers or os.cpu_count() or 1)
    facts = {"dataset_hash": dataset_hash, "samples": built.n_samples, "bytes": built.nbytes}
    if as_json:
        options.echo_json(facts)
        return
    rows = [[task, n, len(built.dropped[task])] for task, n in built.n_samples.items()]
    options.echo_table(["task", "samples", "tiles that make none"], rows)
    click.echo(f"{built.nbytes / 1e6:.1f} MB of shards; dataset hash {dataset_hash}", err=True)
