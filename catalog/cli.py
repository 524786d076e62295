"""`mmearth catalog modalities | tasks | validate | audit | stac | explorer`."""

from __future__ import annotations

from pathlib import Path

import click

from mmearth.catalog import options

_PROBLEMS = 4


@click.group()
def cli() -> None:
    """What exists: modalities, tasks, splits, the published catalogue."""


@cli.command()
@options.as_json
def modalities(as_json: bool) -> None:
    """List the modalities: units, types, sources, licences."""
    from mmearth.catalog.published import MMEARTH_BENCH

    if as_json:
        options.echo_json(MMEARTH_BENCH.to_json()["layers"])
        return
    rows = [
        [
            m.name,
            " × ".join(map(str, m.shape)),
            m.dtype,
            m.nodata,
            ", ".join(dict.fromkeys(band.unit for band in m.bands)),
            m.timing,
            m.description,
            m.licence,
        ]
        for m in MMEARTH_BENCH.layers.values()
    ]
    options.echo_table(
        ["modality", "shape", "dtype", "no data", "unit", "timing", "source", "licence"],
        rows,
        "--json shows all",
    )


@cli.command()
@options.as_json
def tasks(as_json: bool) -> None:
    """List the tasks: units, shapes, metrics, licences."""
    from mmearth.catalog.published import MMEARTH_BENCH

    if as_json:
        options.echo_json(MMEARTH_BENCH.to_json()["tasks"])
        return
    rows = [
        [
            t.name,
            t.title,
            " × ".join(map(str, t.shape)),
            t.unit,
            ", ".join(t.metrics),
            t.target.licence,
        ]
        for t in MMEARTH_BENCH.tasks.values()
    ]
    header = ["task", "predicts", "shape", "unit", "metrics", "licence"]
    options.echo_table(header, rows, "--json shows all")


@cli.command()
@options.directory
@click.option(
    "--schemas",
    type=click.Path(exists=True, file_okay=False),
    help="Directory of STAC extension schemas, laid out as host/path.",
)
@options.as_json
def validate(directory: str, schemas: str | None, as_json: bool) -> int:
    """Validate STAC and Croissant metadata of DIRECTORY.

    Without a network; exits with 4 on problems.
    """
    from mmearth.catalog.validate import validate_croissant, validate_stac

    root = Path(directory)
    found = [validate_stac(root, Path(schemas) if schemas else None), validate_croissant(root)]
    problems = [text for validation in found for text in validation.problems]
    not_checked = [text for validation in found for text in validation.not_checked]
    n_objects = sum(validation.n_objects for validation in found)
    if as_json:
        options.echo_json(
            {"n_objects": n_objects, "problems": problems, "not_checked": not_checked}
        )
    else:
        for text in problems:
            click.echo(text)
        for text in not_checked:
            click.echo(f"not checked, its schema is not at hand: {text}")
        click.echo(f"{n_objects} objects, {len(problems)} problems")
    return _PROBLEMS if problems else 0


@cli.command()
@click.argument("path", type=click.Path())
@click.option(
    "--buffer-m",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Distance that train must keep from the tests.",
)
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="Write a Markdown report there.")
@options.as_json
def audit(path: str, buffer_m: float, out: str | None, as_json: bool) -> int:
    """Measure the splits of PATH: overlaps, balance.

    PATH is a dataset's directory, or a table with columns `tile` and `split`: Parquet or CSV. Exits
    with 4 when the splits make a test number wrong.
    """
    from mmearth.catalog.audit import audit_dataset, audit_table, to_markdown
    from mmearth.catalog.files import write_atomic

    one = Path(path)
    found = (audit_table if one.is_file() else audit_dataset)(one, buffer_m)
    report = to_markdown(found)
    if out is not None:
        write_atomic(Path(out), report.encode())
    if as_json:
        options.echo_json([task.to_json() for task in found])
    elif out is None:
        click.echo(report)
    return _PROBLEMS if any(task.violations for task in found) else 0


@cli.command()
@options.directory
@options.as_json
def stac(directory: str, as_json: bool) -> None:
    """Write the STAC catalogue of DIRECTORY anew from its manifests."""
    from mmearth.catalog import stac as catalogue
    from mmearth.catalog.card import DatasetCard
    from mmearth.catalog.catalogue import read_catalogue
    from mmearth.catalog.checksums import read_dataset, seal, unseal

    root = Path(directory)
    card = DatasetCard.from_json(read_dataset(root))
    card.check(read_catalogue(root))
    unseal(root)
    path = catalogue.build(root, card)
    dataset_hash = seal(root, card)
    if as_json:
        options.echo_json({"catalog": str(path), "dataset_hash": dataset_hash})
        return
    click.echo(str(path))


@cli.command()
@options.directory
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False),
    help="Write the page there and not into DIRECTORY/explorer.",
)
@click.option("--serve", is_flag=True, help="Write nothing: show it on this machine until Ctrl-C.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Of --serve; 0 takes a free one.",
)
@click.option(
    "--results",
    type=click.Path(exists=True, file_okay=False),
    help="A benchmark's folder, or one of its runs: errors on the map.",
)
def explorer(directory: str, out: str | None, serve: bool, port: int, results: str | None) -> None:
    """Put a page into DIRECTORY that shows it in any browser."""
    from mmearth.catalog.explorer_page import page_files, write_page
    from mmearth.catalog.explorer_server import listening

    root, runs = Path(directory), Path(results) if results else None
    if not serve:
        index = write_page(root, Path(out) if out else None, runs)
        click.echo(f"{index}: upload it with the dataset, or look at it now with --serve")
        return
    if out is not None:
        raise click.UsageError("--serve writes nothing: leave out --out, or --serve")
    files = page_files(root, {"data": "../", "path": directory}, runs)
    with listening(root, files, port) as server:
        click.echo(f"http://127.0.0.1:{server.server_port}/explorer/ (Ctrl-C ends it)")
        server.serve_forever()
