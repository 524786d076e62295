"""`mmearth curate build`: the options and the summary of a whole build."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmearth.catalog import options
from mmearth.catalog.errors import storage_errors
from mmearth.catalog.progress import shown
from mmearth.catalog.talk import say

if TYPE_CHECKING:
    from mmearth.build import Summary
    from mmearth.curate.jobs import Difference
    from mmearth.curate.source import Price


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Return a length of time such as 90s, 30m or 12h in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is no length of time; expected 90s, 30m, 12h or 2d")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


@click.command("build")
@click.argument("config", type=click.Path(dir_okay=False))
@click.option("-o", "--out", required=True, type=click.Path(file_okay=False), help="The dataset.")
@options.workers
@options.executor
@options.scheduler
@click.option(
    "--budget-requests",
    type=click.IntRange(1),
    help="Stop when so many requests have been sent, with exit code 5.",
)
@click.option(
    "--budget-gb",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop before so many GB have been fetched from hosts of rasters, with exit code 5.",
)
@click.option(
    "--budget-eecu",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop before Earth Engine has charged so many EECU-hours, with exit code 5.",
)
@click.option(
    "--wait",
    "wait_s",
    metavar="TIME",
    callback=_seconds,
    default="30m",
    show_default=True,
    help="How long a service that is out of reach is waited for: 90s, 30m, 12h.",
)
@click.option(
    "--seal-incomplete",
    is_flag=True,
    help="Seal the dataset though some tiles could not be asked for.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Read every byte of a complete dataset, where else sizes and times are compared.",
)
@click.option("--fresh", is_flag=True, help="Forget what was collected in the directory before.")
@click.option("--yes", is_flag=True, help="With --fresh: also what cost requests.")
@click.option("--redeal", is_flag=True, help="Go on though tiles change their split.")
@options.store
@options.as_json
def command(
    config: str,
    out: str,
    workers: int | None,
    executor: str | None,
    scheduler: str | None,
    budget_requests: int | None,
    budget_gb: float | None,
    budget_eecu: float | None,
    wait_s: float,
    seal_incomplete: bool,
    verify: bool,
    fresh: bool,
    yes: bool,
    redeal: bool,
    store: str | None,
    as_json: bool,
) -> int:
    """Build a dataset from CONFIG, or go on with one.

    Of a dataset that is there already only what CONFIG changes is collected: see
    `mmearth curate plan CONFIG -o DIR`.

    Exits with 3 when some observations failed (see `mmearth curate failures`) or a task has no
    sample, and with 4 when verification found problems; the dataset is made in both cases. Where
    what failed may pass, a lost connection for one, or where no task has a sample, it exits with 3
    and the dataset is not sealed.
    """
    from mmearth.build import build
    from mmearth.curate.visits import Options

    n_bytes = None if budget_gb is None else int(budget_gb * 1e9)
    budgets = budget_requests, n_bytes, budget_eecu
    rest = seal_incomplete, verify, redeal
    how = Options(workers, executor, scheduler, fresh, *budgets, wait_s, *rest)
    if store is not None:
        how = replace(how, store=Path(store))
    if fresh and not yes and sys.stdin.isatty():
        _refuse_to_throw_away(Path(out))
    with storage_errors(f"build {out}"), shown() as progress:
        summary = build(Path(config), Path(out), how, progress, _tell_difference)
    if as_json:
        options.echo_json({**asdict(summary), "exit_code": summary.exit_code})
    _tell(summary)
    return summary.exit_code


def _refuse_to_throw_away(out: Path) -> None:
    """Refuse, in a terminal, to delete what cost requests without being told to."""
    from mmearth.catalog.errors import ConfigError, FormatError
    from mmearth.catalog.observed_sql import LEDGER
    from mmearth.curate.ledger import Ledger

    n_paid = 0
    if (out / LEDGER).exists():
        with suppress(FormatError), Ledger.reading(out) as ledger:
            n_paid = ledger.n_paid()
    if n_paid:
        raise ConfigError(
            f"--fresh would delete {n_paid} observations that cost requests; leave it out to "
            "collect only what changed, or pass --yes as well"
        )


def _tell_difference(found: Difference, price: Price | None) -> None:
    """Say on standard error what is collected, and why, where something is there already."""
    from mmearth.curate.plan_text import differing

    if not (found.tiles["kept"] or found.tiles["gone"]) or not (found.why or found.unwanted):
        return
    for line in differing(found):
        say(line)
    if price is not None:
        sent = "" if price.n_bytes is None else f" and {price.n_bytes / 1e9:.1f} GB"
        say(f"about {price.requests} requests{sent} of services")


def _tell(summary: Summary) -> None:
    """Say on standard error what the build came to."""
    from mmearth.curate.plan_text import wrapped

    for note in summary.notes:
        say(wrapped(note))
    for task, count in summary.samples.items():
        splits = ", ".join(f"{name} {n}" for name, n in summary.splits[task].items())
        n_tiles = sum(summary.tiles[task].values())
        say(f"{task}: {count} samples of {n_tiles} tiles ({splits})")
        for reason, n in summary.dropped[task].items():
            say(f"  {n} without a sample: {reason}")
    if summary.failures:
        mend = "" if summary.unsealed else ", then `mmearth curate retry` and build again"
        seen = f"see `mmearth curate failures {summary.out}`{mend}"
        click.echo(f"{summary.failures} observations failed: {seen}", err=True)
    for problem in summary.problems:
        click.echo(f"verify: {problem}", err=True)
    if summary.unsealed is not None:
        click.echo(f"{summary.out} is not sealed. {summary.unsealed}", err=True)
        return
    state = "was complete, nothing to do" if summary.unchanged else "is complete"
    say(f"{summary.out} {state}: dataset hash {summary.dataset_hash}")
