"""`mmearth packaging verify`: a dataset against itself and, if asked, against its source."""

from __future__ import annotations

from pathlib import Path

import click

from mmearth.catalog import options
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.executor import Workers
from mmearth.catalog.progress import shown
from mmearth.catalog.talk import say

_PROBLEMS = 4


@click.command("verify")
@options.directory
@options.workers
@options.executor
@options.scheduler
@click.option(
    "--against-source",
    type=click.IntRange(1),
    metavar="N",
    help="Fetch N random samples again and compare them too.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    help="The configuration that the dataset was built with, for --against-source.",
)
@click.option("--seed", default=0, show_default=True, help="Chooses the samples to fetch again.")
@options.as_json
def command(
    directory: str,
    workers: int | None,
    executor: str | None,
    scheduler: str | None,
    against_source: int | None,
    config: str | None,
    seed: int,
    as_json: bool,
) -> int:
    """Prove DIRECTORY: every file, range and value.

    Checksums, byte ranges, values, and its files against each other. Exits with 4 when
    something is wrong, and names it.
    """
    from mmearth.packaging.verify import verify

    how = Workers.of(workers, executor or "threads", scheduler)
    with shown() as progress:
        findings = verify(Path(directory), how, progress)
    if against_source is not None:
        from mmearth.source_check import against_source as compare

        if config is None:
            raise ConfigError("--against-source needs --config, the file that the build was given")
        findings += compare(Path(directory), Path(config), against_source, seed)
    if as_json:
        entries = [{"path": f.path, "problem": f.problem, "sentence": f.sentence} for f in findings]
        options.echo_json({"whole": not findings, "findings": entries})
    elif findings:
        options.echo_table(
            ["file", "problem", "found"], [[f.path, f.problem, f.sentence] for f in findings]
        )
    else:
        say(f"{directory} is whole: everything in it is as it was published")
        if against_source is not None:
            say("the samples fetched again are the same")
    return _PROBLEMS if findings else 0
