"""`mmearth curate export`: what a dataset holds, in files that any GIS opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmearth.catalog import options
from mmearth.catalog.talk import say

if TYPE_CHECKING:
    from mmearth.catalog.catalogue import Catalogue
    from mmearth.catalog.observed import Observed


@click.command("export")
@options.directory
@click.option(
    "--geotiff",
    required=True,
    type=click.Path(file_okay=False),
    metavar="OUT",
    help="Write <epsg>/<tile>/<layer>.tif and stac/ there.",
)
@click.option("--where", metavar="SQL", help="Only tiles of samples that this is true of.")
@options.as_json
def command(directory: str, geotiff: str, where: str | None, as_json: bool) -> None:
    """Write layers and targets with pixels as GeoTIFFs.

    All that DIRECTORY holds, be it finished, interrupted or downloaded. Of a finished one also a
    STAC catalogue of them, and --where, an expression of SQL on its samples as in `mmearth loaders
    query`.

        mmearth curate export data/demo --where "task = 'biomass' AND lat > 60" --geotiff out
    """
    from mmearth.catalog.catalogue import read_catalogue
    from mmearth.catalog.observed import check_begun
    from mmearth.curate.catalogued import write_catalogue
    from mmearth.curate.geotiff import write_geotiffs

    root, out = Path(directory), Path(geotiff)
    check_begun(root)
    catalogue = read_catalogue(root)
    rows = _rows(root, catalogue, where)
    paths = list(
        write_geotiffs(
            root, catalogue, rows, lambda tile, name: out / str(tile.epsg) / tile.id / f"{name}.tif"
        )
    )
    write_catalogue(root, out, paths)
    n_tiles = len({path.parent for path in paths})
    if as_json:
        options.echo_json({"out": out, "tiles": n_tiles, "geotiffs": len(paths)})
    else:
        say(f"{len(paths)} GeoTIFFs of {n_tiles} tiles in {out}")


def _rows(root: Path, catalogue: Catalogue, where: str | None) -> Iterator[Observed]:
    """Yield what was observed at all tiles, or at those of the samples that were chosen."""
    from mmearth.catalog.observed import open_observed

    if where is None:
        with open_observed(root, catalogue) as observed:
            yield from observed.here()
        return
    from mmearth.loaders.dataset import open_dataset

    query = f"SELECT DISTINCT tile FROM samples WHERE ({where}) ORDER BY tile"
    tiles = open_dataset(root).sql(query)["tile"].to_pylist()
    with open_observed(root, catalogue, tiles) as observed:
        for tile in tiles:
            yield from (row for row in observed.of_tile(tile).values() if row.is_here)
