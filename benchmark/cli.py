"""`mmearth benchmark list | run | report`."""

from __future__ import annotations

from pathlib import Path

import click

from mmearth.catalog import options


@click.group("benchmark")
def cli() -> None:
    """Batches in, results out."""


@cli.command("list")
@options.as_json
def list_encoders(as_json: bool) -> None:
    """Show the encoders, and which are ready on this machine."""
    from importlib.util import find_spec

    from mmearth.benchmark.encoders import ENCODERS

    rows = []
    for name, spec in ENCODERS.items():
        lacking = [package for package in spec.packages if find_spec(package) is None]
        rows.append([name, spec.title, f"needs {', '.join(lacking)}" if lacking else "ready"])
    if as_json:
        options.echo_json([dict(zip(("name", "title", "state"), row, strict=True)) for row in rows])
        return
    options.echo_table(["encoder", "what it is", "here"], rows)


@cli.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.option("-o", "--out", required=True, help="Folder of results.parquet and of the runs.")
@click.option("--shard", default="1/1", show_default=True, help="i/n: make the i-th of n parts.")
@click.option("--dry-run", is_flag=True, help="Show what is missing, and make nothing.")
def run(config: str, out: str, shard: str, dry_run: bool) -> None:
    """Make the runs of CONFIG that OUT has no results of yet.

    mmearth benchmark run examples/benchmark-demo.yaml -o runs/demo
    """
    from mmearth.benchmark.config import load_config
    from mmearth.benchmark.matrix import parse_shard
    from mmearth.benchmark.run import plan
    from mmearth.benchmark.run import run as make

    wanted, part = load_config(Path(config)), parse_shard(shard)
    if dry_run:
        todo = plan(wanted, Path(out), part)
        click.echo("\n".join(map(str, todo)))
        click.echo(f"{len(todo)} runs are missing", err=True)
        return
    for sentence in make(wanted, Path(out), _tell, part):
        click.echo(f"look at this: {sentence}", err=True)
    click.echo(f"{Path(out) / 'results.parquet'}; mmearth benchmark report {out}", err=True)


@cli.command()
@click.argument("out", type=click.Path(file_okay=False))
def report(out: str) -> None:
    """Write report.html and report.md of the results in OUT."""
    from mmearth.benchmark.report.writing import report as write
    from mmearth.benchmark.results import RUNS, read_results

    results = read_results(Path(out) / "results.parquet")
    for path in write(results, Path(out) / RUNS, Path(out)):
        click.echo(path)


def _tell(step: str, size: int | None) -> None:
    click.echo(step if size is None else f"{size} runs are missing", err=True)
