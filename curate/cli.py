"""`mmearth curate plan | status | retry | failures | prune | view`; `build` is above folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmearth.catalog import options
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.talk import say

if TYPE_CHECKING:
    from mmearth.curate.look import Looks

_WRONG, _FAILURES = 2, 3


@click.group()
def cli() -> None:
    """Places and labels in, observations on disk out."""


@cli.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.option(
    "--calibrate",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Ask Earth Engine for N tiles, keep nothing, to learn what the rest cost.",
)
@click.option(
    "--look",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Draw a window of each raster entry there, as it would be stored.",
)
@click.option(
    "--mbit",
    type=click.FloatRange(min=0, min_open=True),
    default=100.0,
    show_default=True,
    help="Megabits a second that your network takes from hosts of rasters.",
)
@click.option("--strict", is_flag=True, help="End with 2 where anything is suspicious.")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False),
    help="A dataset that is there already: show what is left to collect, and why.",
)
@options.store
@options.as_json
def plan(
    config: str,
    calibrate: int,
    look: str | None,
    mbit: float,
    strict: bool,
    out: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Show what CONFIG would collect and read.

    No dataset is written. Tiles by task and split; labels, rasters and polygons with a window of
    each as it would be stored; bytes, time, requests. Ends with 3 where a file cannot be used.
    """
    from mmearth.curate.estimate import estimate
    from mmearth.curate.plan_text import costs, notes, seen, table, wrapped

    places = (None if path is None else Path(path) for path in (out, store))
    found = estimate(Path(config), calibrate, *places)
    pictures = _draw(found.looks, Path(look)) if look is not None else []
    if as_json:
        options.echo_json({**found.to_json(), "pictures": pictures})
    else:
        options.echo_table(*table(found))
        for line in ["", *notes(found), *seen(found), *costs(found, mbit), *map(str, pictures)]:
            click.echo(line)
    for problem in found.problems:
        click.echo(wrapped(f"cannot be used: {problem}"), err=True)
    for warning in found.warnings:
        click.echo(wrapped(f"look at {warning}"), err=True)
    if strict and (found.problems or found.warnings):
        return _WRONG
    return _FAILURES if found.problems else 0


def _draw(looks: Looks, directory: Path) -> list[Path]:
    """Draw the window of every raster entry; return the pictures' paths."""
    from mmearth.curate.sheet import save
    from mmearth.curate.view import window_sheet

    drawn: list[Path] = []
    for look in looks.rasters:
        found = look.inspection
        if found.window is not None:
            n = sum(path.stem.startswith(found.name) for path in drawn)
            path = directory / f"{found.name}{f'-{n + 1}' if n else ''}.png"
            sheet = window_sheet(found.window.tile, found.window.observation, found.path)
            save(sheet, path)
            drawn.append(path)
    return drawn


@cli.command()
@options.directory
@options.as_json
def status(directory: str, as_json: bool) -> None:
    """Show how far the build in DIRECTORY has come."""
    from mmearth.curate.ledger import Ledger

    with Ledger.reading(Path(directory)) as ledger:
        counts, n_damaged, (n_kept, _) = ledger.counts(), ledger.n_damaged(), ledger.unwanted()
    if n_damaged:
        click.echo(f"{n_damaged} rows are damaged; the next build collects them again", err=True)
    if n_kept:
        say(f"{n_kept} observations more are kept: see `mmearth curate prune`")
    table: dict[str, dict[str, int]] = {}
    for modality, state, permanent, count in counts:
        name = "failed for now" if state == "failed" and not permanent else state
        table.setdefault(modality, {})[name] = count
    if as_json:
        options.echo_json(table)
        return
    states = ["done", "missing", "failed for now", "failed"]
    rows = [[name, *(found.get(state, 0) for state in states)] for name, found in table.items()]
    options.echo_table(["modality", *states], rows)


@cli.command()
@options.directory
@click.option(
    "--only",
    type=click.Choice(["transient", "permanent", "all"]),
    default="all",
    show_default=True,
    help="Which failures.",
)
@options.as_json
def retry(directory: str, only: str, as_json: bool) -> None:
    """Make failures pending again for the next build."""
    from mmearth.curate.ledger import Ledger

    with Ledger.reading(Path(directory)), Ledger(Path(directory)) as ledger:
        count = ledger.retry({"transient": False, "permanent": True, "all": None}[only])
    if as_json:
        options.echo_json({"pending": count})
        return
    click.echo(f"{count} failures are pending again; run the same `mmearth curate build` command")


@cli.command()
@options.directory
@options.as_json
def failures(directory: str, as_json: bool) -> None:
    """List every failed observation of DIRECTORY.

    With --json one JSON object a line.
    """
    from mmearth.curate.ledger import Ledger

    with Ledger.reading(Path(directory)) as ledger:
        found = list(ledger.failures())
    if as_json:
        for failure in found:
            click.echo(json.dumps(failure, ensure_ascii=False))
        return
    names = ["tile", "modality", "tries", "kind", "reason"]
    options.echo_table(names, [[failure[name] for name in names] for failure in found])


@cli.command()
@options.directory
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@options.as_json
def prune(directory: str, dry_run: bool, as_json: bool) -> None:
    """Delete what DIRECTORY's last configuration did not want.

    Observations of tiles, layers and files that a changed configuration no longer names are kept,
    so that one that names them again has them.
    """
    from mmearth.catalog.own_store import compact
    from mmearth.curate.ledger import Ledger
    from mmearth.curate.lock import only_build

    root = Path(directory)
    with Ledger.reading(root) as ledger:
        count, n_bytes = ledger.unwanted()
    if count and not dry_run:
        with only_build(root), Ledger(root) as ledger:
            ledger.prune()
        compact(root)
    if as_json:
        options.echo_json({"observations": count, "bytes": n_bytes, "deleted": not dry_run})
        return
    did = "would be" if dry_run else "are"
    click.echo(f"{count} observations of {n_bytes / 1e6:.1f} MB {did} deleted")


@cli.command()
@options.directory
@click.argument("tile", required=False)
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False), help="PNG, JPEG, WebP or PDF; TILE.png if not."
)
@click.option("--geotiff", type=click.Path(file_okay=False), help="Write its GeoTIFFs there too.")
@options.as_json
def view(
    directory: str, tile: str | None, out: str | None, geotiff: str | None, as_json: bool
) -> None:
    """Draw one TILE of DIRECTORY: modalities and labels.

    TILE is a tile's id or a sample's key; the first tile unless given. The suffix of -o says the
    format: .png, .jpg, .webp or .pdf.

    mmearth curate view data/demo -o tile.png
    """
    from mmearth.catalog.catalogue import read_catalogue
    from mmearth.catalog.observed import check_begun, open_observed
    from mmearth.catalog.sample import tile_of
    from mmearth.curate.geotiff import write_geotiffs
    from mmearth.curate.sheet import check_format, save
    from mmearth.curate.view import contact_sheet

    root = Path(directory)
    if out is not None:
        check_format(Path(out))
    check_begun(root)
    catalogue = read_catalogue(root)
    asked = None if tile is None else tile_of(tile, catalogue.grid)
    with open_observed(root, catalogue, None if asked is None else [asked.id]) as observed:
        chosen = asked or tile_of(observed.first_tile(), catalogue.grid)
        rows = observed.of_tile(chosen.id)
    if not rows:
        raise ConfigError(
            f"tile {chosen.id} is not in this build; those that are: `mmearth loaders query {root} "
            '"SELECT tile FROM tiles"`'
        )
    path = Path(out or f"{chosen.id}.png")
    save(contact_sheet(root, chosen, rows), path)
    copied: list[Path] = []
    if geotiff is not None:
        places = Path(geotiff)
        copied += write_geotiffs(
            root, catalogue, rows.values(), lambda tile, name: places / f"{tile.id}_{name}.tif"
        )
    if as_json:
        options.echo_json({"tile": chosen.id, "picture": path, "geotiffs": copied})
        return
    for written in (path, *copied):
        click.echo(str(written))
