"""`mmearth loaders query`: ask a dataset in SQL."""

from __future__ import annotations

from pathlib import Path

import click

from mmearth.catalog import options

FORMATS = ("table", "json", "csv", "parquet")
"""What an answer can be written as."""
MAX_ROWS = 1000
"""Rows that a table on the terminal shows; a file gets all."""


@click.group("loaders")
def cli() -> None:
    """Manifests in, answers out."""


@cli.command()
@options.directory
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
def query(directory: str, sql: str, form: str | None, out: str | None, as_json: bool) -> None:
    """Ask DIRECTORY a question in SQL (DuckDB's).

    There is a view per task, named as the task; `samples` is all of them, `tiles` what was planned,
    `observations` what was collected or why not.

        mmearth loaders query data/demo "SELECT split, count(*) AS n FROM soil_pH GROUP BY split"
    """
    from mmearth.loaders.answer import cells, render, write
    from mmearth.loaders.query import query as ask

    suffix = Path(out).suffix.removeprefix(".") if out else ""
    form = "json" if as_json else form or (suffix if suffix in FORMATS else "table")
    if form == "parquet" and out is None:
        raise click.UsageError("Parquet is not for a terminal; name a file with -o FILE.parquet")
    answer = ask(Path(directory), sql)
    if out is not None:
        write(answer, form, Path(out))
        click.echo(f"{answer.num_rows} rows in {out}", err=True)
    elif form != "table":
        click.echo(render(answer, form).decode(), nl=False)
    else:
        options.echo_table(answer.column_names, cells(answer.slice(0, MAX_ROWS)))
        if answer.num_rows > MAX_ROWS:
            click.echo(f"{answer.num_rows - MAX_ROWS} more rows; -o FILE writes all", err=True)
