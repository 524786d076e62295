"""`mmearth benchmark list | check | run | report | power | speed`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mmearth.catalog import options
from mmearth.catalog.catalogues import DEFAULT, catalogue_named
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.extras import needing
from mmearth.catalog.plugins import ENCODERS as GROUP
from mmearth.catalog.plugins import plugins
from mmearth.catalog.progress import duration
from mmearth.catalog.talk import say

if TYPE_CHECKING:
    import pyarrow as pa

    from mmearth.benchmark.run import Step
    from mmearth.catalog.catalogue import Catalogue

_PROBLEMS = 4
"""Exit code: a check found problems (docs/exit-codes.md)."""


@click.group("benchmark")
def cli() -> None:
    """Batches in, results out."""


@cli.command("list")
@options.as_json
def list_encoders(as_json: bool) -> None:
    """Show the encoders, and which are ready on this machine."""
    from mmearth.benchmark.encoders import ENCODERS

    columns = ("name", "title", "weights", "state")
    rows = []
    for name, spec in ENCODERS.items():
        todo = f"needs {', '.join(spec.lacking)}: pip install 'mmearth[{spec.extra}]'"
        rows.append((name, spec.title, spec.weights or "none", todo if spec.lacking else "ready"))
    rows += [(each.name, each.place, "none", f"of {each.package}") for each in plugins(GROUP)]
    if as_json:
        options.echo_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    options.echo_table(["encoder", "what it is", "weights", "here"], rows)


@cli.command()
@click.argument("encoder")
@click.option(
    "--weights",
    type=click.Choice(["none", "published"]),
    default="none",
    show_default=True,
    help="Random, or pretrained.",
)
@click.option("--data", help="A dataset, directory or URL: whose tiles are made up.")
@click.option(
    "--catalogue",
    default=DEFAULT,
    show_default=True,
    help="Of those tiles, where there is no dataset.",
)
@options.as_json
def check(encoder: str, weights: str, data: str | None, catalogue: str, as_json: bool) -> int:
    """Try what ENCODER promises, on made-up tiles.

    ENCODER is a name of `mmearth benchmark list`, module:Class or file.py:Class. Exits with 4 when
    a promise is broken, and names it.

    mmearth benchmark check my_encoder.py:Mine --data data/own
    """
    with needing("benchmark"):
        from mmearth.benchmark.check import check as try_all
        from mmearth.benchmark.check import plain_statistics
        from mmearth.benchmark.encoders import build_encoder
        from mmearth.loaders.dataset import open_dataset

    of = open_dataset(data).catalogue if data else catalogue_named(catalogue)
    made = build_encoder(encoder, plain_statistics(of), of, weights, "default")
    findings = list(try_all(made, of))
    if as_json:
        options.echo_json([{"promise": f.name, "problem": f.problem} for f in findings])
    else:
        rows = [[f.name, "no" if f.problem else "yes", f.problem] for f in findings]
        options.echo_table(["promise", "kept", "found"], rows)
    return _PROBLEMS if any(finding.problem for finding in findings) else 0


@cli.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.option("-o", "--out", required=True, help="Folder of results.parquet and of the runs.")
@click.option("--shard", default="1/1", show_default=True, help="i/n: make the i-th of n parts.")
@click.option("--dry-run", is_flag=True, help="Show what is missing, and make nothing.")
def run(config: str, out: str, shard: str, dry_run: bool) -> None:
    """Make the runs of CONFIG that OUT has no results of yet.

    mmearth benchmark run examples/benchmark-demo.yaml -o runs/demo
    """
    with needing("benchmark"):
        from mmearth.benchmark.config import load_config
        from mmearth.benchmark.matrix import parse_shard
        from mmearth.benchmark.run import plan
        from mmearth.benchmark.run import run as make

    wanted, part = load_config(Path(config)), parse_shard(shard)
    if dry_run:
        todo = plan(wanted, Path(out), part)
        click.echo("\n".join(map(str, todo)))
        say(f"{len(todo)} runs are missing")
        return
    for sentence in make(wanted, Path(out), _tell, part):
        say(f"look at this: {sentence}")
    say(f"{Path(out) / 'results.parquet'}; mmearth benchmark report {out}")


@cli.command()
@click.argument("out", type=click.Path(file_okay=False))
def report(out: str) -> None:
    """Write report.html and report.md of the results in OUT."""
    with needing("benchmark"):
        from mmearth.benchmark.report.writing import report as write
        from mmearth.benchmark.results import RUNS

    for path in write(*_results(out), Path(out) / RUNS, Path(out)):
        click.echo(path)


@cli.command()
@click.argument("out", type=click.Path(file_okay=False))
@click.option(
    "--reference", default="JT", show_default=True, help="The method that others are compared with."
)
@options.as_json
def power(out: str, reference: str, as_json: bool) -> None:
    """Tell how many samples and seeds a difference needs.

    For a difference of 0.01, 0.02 or 0.05, from the variances of the results and predictions in
    OUT; it is found by a two-sided test at 5 % with 80 % power.

    mmearth benchmark power runs/demo
    """
    with needing("benchmark"):
        from mmearth.benchmark.power import HEADER, documents, power_of, table_of
        from mmearth.benchmark.report.cells import scores_of
        from mmearth.benchmark.results import RUNS

    found = power_of(scores_of(*_results(out), Path(out) / RUNS), reference)
    if as_json:
        options.echo_json(documents(found))
    else:
        options.echo_table(HEADER, table_of(found))


@cli.command()
@click.argument("dataset")
@click.option(
    "--encoder",
    default="convnextv2_atto_multimodal",
    show_default=True,
    help="As in a configuration.",
)
@click.option("--task", help="Which of the dataset's.  [default: its first]")
@click.option(
    "--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Samples of a step."
)
@click.option(
    "--precision",
    type=click.Choice(["32-true", "bf16-mixed"]),
    default="32-true",
    show_default=True,
    help="Of training.",
)
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=20, show_default=True, help="Of each row."
)
@options.as_json
def speed(
    dataset: str,
    encoder: str,
    task: str | None,
    batch_size: int,
    precision: Literal["32-true", "bf16-mixed"],
    seconds: float,
    as_json: bool,
) -> None:
    """Measure how fast this machine trains and adapts.

    Batches of DATASET's train split, all modalities: steps a second, and the share of the time that
    waits for a batch. On the GPU, where there is one.

    mmearth benchmark speed data/demo --batch-size 64
    """
    with needing("benchmark"):
        from mmearth.benchmark.config import BenchmarkConfig, Training
        from mmearth.benchmark.speed import HEADER, speeds, table_of
        from mmearth.loaders.dataset import open_dataset

    config = BenchmarkConfig(
        dataset=dataset,
        tasks=(task,) if task else (),
        encoders=(encoder,),
        precision=precision,
        training=Training(batch_size=batch_size),
    )
    found = list(speeds(open_dataset(dataset), config, seconds))
    if as_json:
        options.echo_json([asdict(each) for each in found])
    else:
        options.echo_table(HEADER, table_of(found))


def _results(out: str) -> tuple[pa.Table, Catalogue]:
    from mmearth.benchmark.results import RESULTS_FILE, read_results
    from mmearth.catalog.catalogue import read_catalogue

    if not (Path(out) / RESULTS_FILE).exists():
        raise ConfigError(
            f"{out} holds no runs to report; make some with `mmearth benchmark run CONFIG -o {out}`"
        )
    return read_results(Path(out) / RESULTS_FILE), read_catalogue(Path(out))


def _tell(step: Step) -> None:
    if step.cell is None:
        say(f"{step.total} runs are missing")
        return
    left = f", about {duration(step.left_s)} left" if step.done < step.total else ""
    steps = {None: "", 0: ", K = 0: not adapted"}.get(step.steps, f", K = {step.steps}")
    took = f"took {duration(step.seconds)}"
    say(f"{step.done} of {step.total}: {step.cell} {took}{steps}{left}")
