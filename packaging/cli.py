"""`mmearth packaging`: pack a collected dataset anew, prove a finished one."""

from __future__ import annotations

from pathlib import Path

import click

from mmearth.catalog import options

_PROBLEMS = 4


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


@cli.command()
@options.directory
@options.workers
@options.as_json
def verify(directory: str, workers: int | None, as_json: bool) -> int:
    """Prove DIRECTORY: every checksum, range and value, and its files against each other.

    Exits with 4 when something is wrong, and names it.
    """
    import os

    from mmearth.packaging.verify import verify as run

    findings = run(Path(directory), workers or os.cpu_count() or 1)
    if as_json:
        entries = [{"path": f.path, "problem": f.problem, "sentence": f.sentence} for f in findings]
        options.echo_json({"whole": not findings, "findings": entries})
    elif findings:
        options.echo_table(
            ["file", "problem", "found"], [[f.path, f.problem, f.sentence] for f in findings]
        )
    else:
        click.echo(f"{directory} is whole: everything in it is as it was published", err=True)
    return _PROBLEMS if findings else 0
