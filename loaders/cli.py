"""`mmearth loaders query | peek | speed`: ask in SQL, see what would be read, and how fast."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmearth.catalog import options
from mmearth.catalog.talk import say

if TYPE_CHECKING:
    from mmearth.loaders.fetch.digests import Verify
    from mmearth.loaders.selection import Selection

Command = Callable[..., Any]

FORMATS = ("table", "json", "csv", "parquet", "geojson", "gpkg", "fgb")
"""What an answer can be written as."""
BINARY = ("parquet", "gpkg", "fgb")
"""Those that need a file; the last three are layers of a GIS, of answers with `geometry`."""
MAX_ROWS = 1000
"""Rows that a table on the terminal shows; a file gets all."""
FIRST = 10
"""Keys that `peek` shows."""
place = click.argument("place", metavar="DIR|URL")

_CHOOSING = (
    place,
    click.option("--task", required=True, help="Of the samples."),
    click.option("--split", help="One or several, with commas between them; all unless given."),
    click.option("--fraction", type=int, default=100, help="Of train: 5, 50 or 100 percent."),
    click.option("--modalities", help="Several with commas between them; all unless given."),
    click.option("--where", help="An SQL expression on the manifest's columns."),
    click.option("--limit", type=int, help="The first so many samples in the manifest's order."),
)


def choosing(command: Command) -> Command:
    """Give a command the options that choose samples."""
    for option in reversed(_CHOOSING):
        command = option(command)
    return command


@click.group("loaders")
def cli() -> None:
    """Manifests in, answers out."""


@cli.command()
@place
@click.argument("sql")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default=None,
    help="Of the answer; without it, what the name of the file says, or a table.",
)
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="Write the answer to this file.")
@options.as_json
def query(place: str, sql: str, form: str | None, out: str | None, as_json: bool) -> None:
    """Ask a dataset a question in SQL (DuckDB's).

    There is a view per task, named as the task; `samples` is all of them, `tiles` what was planned,
    `observations` what was collected or why not. As SQL, `-` means standard input.

        mmearth loaders query data/demo "SELECT split, count(*) AS n FROM soil_pH GROUP BY split"
    """
    from mmearth.loaders.answer import cells, render, write
    from mmearth.loaders.dataset import open_dataset

    suffix = Path(out).suffix.removeprefix(".") if out else ""
    form = "json" if as_json else form or (suffix if suffix in FORMATS else "table")
    if form in BINARY and out is None:
        raise click.UsageError(f"{form} is not for a terminal; name a file with -o FILE.{form}")
    answer = open_dataset(place).sql(sys.stdin.read() if sql == "-" else sql)
    if out is not None:
        write(answer, form, Path(out))
        say(f"{answer.num_rows} rows in {out}")
    elif form != "table":
        click.echo(render(answer, form).decode(), nl=False)
    else:
        rows = cells(answer.slice(0, MAX_ROWS))
        options.echo_table(answer.column_names, rows, "--json or -o FILE shows all")
        if answer.num_rows > MAX_ROWS:
            say(f"{answer.num_rows - MAX_ROWS} more rows; -o FILE writes all")


@cli.command()
@choosing
@options.as_json
def peek(as_json: bool, place: str, **asked: Any) -> None:
    """Show what a loader would read.

    Samples by split, share of each modality, bytes and the first keys; no shard is read.

    mmearth loaders peek data/demo --task soil_pH --split train --where "lat < 0"
    """
    chosen = _select(place, **asked)
    keys = chosen.first_keys(FIRST)
    if as_json:
        options.echo_json({**chosen.to_json(), "first_keys": keys})
        return
    click.echo(str(chosen))
    click.echo("\n".join(["  first", *(f"    {key}" for key in keys)]))


@cli.command()
@choosing
@click.option("--batch-size", type=int, default=32, show_default=True, help="Samples in a batch.")
@click.option("--order", default="shuffled", show_default=True, help="See docs/loaders.md.")
@click.option("--workers", type=int, default=0, show_default=True, help="0: a thread.")
@click.option(
    "--verify",
    type=click.Choice(["all", "sampled", "none"]),
    default="all",
    show_default=True,
    help="Which members a first reading compares with their SHA-256.",
)
@click.option("--seconds", type=float, default=10.0, show_default=True, help="At least.")
@options.as_json
def speed(
    as_json: bool,
    place: str,
    batch_size: int,
    order: str,
    workers: int,
    seconds: float,
    verify: Verify,
    **asked: Any,
) -> None:
    """Measure how fast batches come.

    Samples and bytes a second, and the first batch.

    mmearth loaders speed data/demo --task biomass --modalities sentinel2,esa_worldcover
    """
    from mmearth.loaders.speed import measure

    found = measure(_select(place, **asked), batch_size, order, workers, seconds, verify)
    if as_json:
        options.echo_json(asdict(found))
        return
    click.echo(
        f"{found.samples_per_s:,.0f} samples/s, {found.bytes_per_s / 1e6:,.0f} MB/s, "
        f"{found.samples / max(found.cpu_seconds, 1e-9):,.0f} samples per second of this process"
    )
    later = "" if found.later_per_s is None else f", later ones {found.later_per_s:,.0f}"
    click.echo(
        f"first batch after {found.first_batch_s:.2f} s, {found.samples:,} samples measured; "
        f"first epoch {found.first_epoch_per_s:,.0f} samples/s{later}"
    )


def _select(
    place: str,
    task: str,
    split: str | None,
    fraction: int,
    modalities: str | None,
    where: str | None,
    limit: int | None,
) -> Selection:
    from mmearth.loaders.dataset import open_dataset

    dataset = open_dataset(place)
    return dataset.select(task, _listed(split), fraction, _listed(modalities), where, limit)


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
