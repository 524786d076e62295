"""`mmearth packaging`: pack a collected dataset anew, prove a finished one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmearth.catalog import options
from mmearth.catalog.progress import shown
from mmearth.catalog.talk import say

if TYPE_CHECKING:
    from mmearth.catalog.codec import CodecName
_DIFFERENT = 4
"""Exit code: two datasets differ (docs/exit-codes.md)."""


@click.group("packaging")
def cli() -> None:
    """Observations in, shards and manifests out."""


@cli.command()
@options.directory
@options.workers
@options.executor
@options.scheduler
@options.as_json
def build(
    directory: str,
    workers: int | None,
    executor: str | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Pack DIRECTORY again from what it holds.

    Shards, manifests, statistics, catalogue and checksums are made anew, the same
    from the same observations. It needs room for the shards once more.
    """
    from mmearth.catalog.executor import Workers
    from mmearth.packaging.rebuild import rebuild

    with shown() as progress:
        how = Workers.of(workers, executor, scheduler)
        built, dataset_hash = rebuild(Path(directory), how, progress)
    facts = {"dataset_hash": dataset_hash, "samples": built.n_samples, "bytes": built.nbytes}
    if as_json:
        options.echo_json(facts)
        return
    rows = [[task, n, sum(built.dropped[task].values())] for task, n in built.n_samples.items()]
    options.echo_table(["task", "samples", "tiles that make none"], rows)
    say(f"{built.nbytes / 1e6:.1f} MB of shards; dataset hash {dataset_hash}")


@cli.command()
@options.directory
@click.option("-o", "--out", required=True, help="The copy's directory; empty or not there.")
@click.option(
    "--codec",
    type=click.Choice(["npy", "blosc-zstd", "blosc-lz4"]),
    required=True,
    help="Of the members of the copy; see docs/data-format.md.",
)
@options.workers
@options.executor
@options.scheduler
@options.as_json
def recode(
    directory: str,
    out: str,
    codec: CodecName,
    workers: int | None,
    executor: str | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Copy DIRECTORY with its members in another codec.

    Samples, values, splits and statistics stay, and DIRECTORY too.
    """
    from mmearth.catalog.codec import Codec
    from mmearth.catalog.executor import Workers
    from mmearth.packaging.recode import recode as run

    with shown() as progress:
        how = Workers.of(workers, executor, scheduler)
        dataset_hash = run(Path(directory), Path(out), Codec(codec), how, progress)
    if as_json:
        options.echo_json({"dataset_hash": dataset_hash})
    say(f"dataset hash {dataset_hash}")


@cli.command()
@options.directory
@click.argument("place")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@options.as_json
def push(directory: str, place: str, private: bool, as_json: bool) -> None:
    """Copy a complete dataset to a hub or bucket, proved there.

    PLACE is hf://datasets/ORGANISATION/NAME, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX. After an
    interruption the same command goes on.

    mmearth packaging push data/demo hf://datasets/me/demo
    """
    from mmearth.packaging.push import push as run

    with shown() as progress:
        pushed = run(Path(directory), place, private, progress)
    if as_json:
        options.echo_json(pushed.to_json())
        return
    click.echo(
        f"{pushed.n_files} files at {pushed.place}, {pushed.n_sent} of them new "
        f"({pushed.bytes_sent / 1e6:.1f} MB), {pushed.n_deleted} of the dataset before deleted; "
        f"dataset hash {pushed.dataset_hash}"
    )


@cli.command("diff")
@click.argument("first", metavar="A", type=click.Path(exists=True, file_okay=False))
@click.argument("second", metavar="B", type=click.Path(exists=True, file_okay=False))
@options.as_json
def compare(first: str, second: str, as_json: bool) -> int:
    """Tell how dataset B differs from dataset A.

    Samples and layers added, gone and changed, and why. Exits with 4 where they differ.
    """
    from dataclasses import asdict

    from mmearth.packaging.diff import diff

    found = diff(Path(first), Path(second))
    if as_json:
        options.echo_json({"equal": not found, "changes": [asdict(each) for each in found]})
    elif found:
        header = ["what", "name", "change", "why", "n", "first"]
        options.echo_table(header, [[*asdict(each).values()] for each in found])
    else:
        say(f"{first} and {second} are equal")
    return _DIFFERENT if found else 0


@cli.command("import-h5")
@click.argument("source", type=click.Path(exists=True))
@click.option("-o", "--out", required=True, help="The dataset's directory; empty or not there.")
@options.workers
@options.as_json
def import_h5(source: str, out: str, workers: int | None, as_json: bool) -> None:
    """Turn SOURCE, published HDF5 files, into a dataset.

    SOURCE is the folder of MMEarth-Bench, one task's, or one file. Splits and statistics stay as
    published.
    """
    import os

    from mmearth.packaging.h5.import_h5 import import_h5 as run

    built, dataset_hash = run(Path(source), Path(out), workers or os.cpu_count() or 1, _tell)
    if as_json:
        options.echo_json({"dataset_hash": dataset_hash, "samples": built.n_samples})
        return
    options.echo_table(["task", "samples"], [[*each] for each in built.n_samples.items()])
    say(f"prove it: mmearth packaging verify {out}")


@cli.command("export-h5")
@options.directory
@click.option("-o", "--out", required=True, help="The folder that gets <task>/<task>.h5.")
@click.option("--task", "tasks", multiple=True, help="A task; more than once for more; all.")
@click.option("--published-chunks", is_flag=True, help="h5py's chunks and gzip 9, as published.")
def export_h5(directory: str, out: str, tasks: tuple[str, ...], published_chunks: bool) -> None:
    """Write DIRECTORY in the published HDF5 layout.

    A chunk a tile; imports come out as they were.

    mmearth packaging export-h5 data/demo -o h5 --task biomass
    """
    from mmearth.packaging.h5.export_h5 import export_h5 as run

    paths = run(Path(directory), Path(out), tasks, published_chunks)
    for path in paths:
        click.echo(path)
    beside = [path.with_name(f"{path.stem}_mmearth.parquet") for path in paths]
    if found := ", ".join(str(path) for path in beside if path.is_file()):
        say(
            "the published layout has no field for the labels' ids and dates, sources, images, "
            f"acquisition dates, stand-ins, expressions and reasons: {found} keeps them, and "
            "`import-h5` reads it; other readers do not",
        )


def _tell(step: str, _: int | None) -> None:
    say(step)
