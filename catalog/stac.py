"""Manifests → a static STAC catalogue: collections of tasks, items of samples, items.parquet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pystac
import stac_geoparquet.arrow

import mmearth
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.files import atomic_path, write_atomic
from mmearth.catalog.schema import manifest_path, read_table
from mmearth.catalog.stac_asset import Row
from mmearth.catalog.stac_collection import stac_collection
from mmearth.catalog.stac_item import stac_item

STAC = "stac"
"""Name of the catalogue's directory in a dataset."""
_ITEMS_AT_ONCE = 1024
"""Items held as Python objects, some 100 kB each; a table of all is held as Arrow arrays."""
Stored = Callable[[str], dict[str, Row]]
"""Tile → modality → row of observations.parquet, for GeoTIFFs that are in the store."""


def build(root: Path, card: DatasetCard) -> Path:
    """Write the catalogue of a packed dataset; return `stac/catalog.json`.

    Args:
        root: Holds catalogue.json, the manifests, observations.parquet and perhaps the store.
        card: What the dataset says about itself.

    Raises:
        FormatError: A table is missing or of another version.
        StorageError: The disk is full.
    """
    home = root / STAC
    shutil.rmtree(home, ignore_errors=True)
    stored, catalogue = _stored(root), read_catalogue(root)
    catalog = pystac.Catalog(card.name, card.description or card.title, card.title)
    catalog.links = [pystac.Link("root", "catalog.json", pystac.MediaType.JSON)]
    tables: list[pa.Table] = []
    for task in card.tasks:
        manifest = read_table(root / manifest_path(task), root=root)
        for documents in _items(manifest, stored, catalogue):
            for document in documents:
                path = home / task / "items" / f"{document['id']}.json"
                write_atomic(path, _compact(document))
            tables.append(stac_geoparquet.arrow.parse_stac_items_to_arrow(documents).read_all())
        kept = bool(manifest.num_rows) and bool(stored(manifest["tile"][0].as_py()))
        spec = catalogue.task(task)
        collection = stac_collection(spec, card, catalogue, manifest, stored=kept)
        write_atomic(home / task / "collection.json", _indented(collection))
        href = f"{task}/collection.json"
        catalog.links.append(pystac.Link("child", href, pystac.MediaType.JSON, spec.title))
    _write_parquet(home / "items.parquet", tables)
    path = home / "catalog.json"
    document = catalog.to_dict(include_self_link=False, transform_hrefs=False)
    write_atomic(path, _indented(document))
    return path


def _items(
    manifest: pa.Table, stored: Stored, catalogue: Catalogue
) -> Iterator[list[dict[str, Any]]]:
    """Yield a task's items in the manifest's order, so many at once."""
    software = {"mmearth": mmearth.__version__}
    for batch in manifest.to_batches(max_chunksize=_ITEMS_AT_ONCE):
        rows = batch.to_pylist()
        yield [stac_item(row, stored(row["tile"]), software, catalogue) for row in rows]


def _stored(root: Path) -> Stored:
    columns = ["tile", "modality", "path", "bytes", "sha256"]
    table = read_table(root / "observations.parquet", columns, root)
    is_raster = pc.and_(pc.ends_with(table["path"], ".tif"), pc.is_valid(table["tile"]))
    table = table.filter(is_raster).sort_by("tile").combine_chunks()
    names, first, count = np.unique(
        table["tile"].to_numpy(zero_copy_only=False), return_index=True, return_counts=True
    )
    at = dict(zip(names.tolist(), zip(first.tolist(), count.tolist(), strict=True), strict=True))

    def rows(tile: str) -> dict[str, Row]:
        found = table.slice(*at[tile]).to_pylist() if tile in at else []
        return {row["modality"]: row for row in found if (root / row["path"]).exists()}

    return rows


def _compact(document: dict[str, Any]) -> bytes:
    """Return JSON without spaces: there are as many items as samples."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _indented(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def _write_parquet(path: Path, tables: list[pa.Table]) -> None:
    """Write the items of all tasks as stac-geoparquet: no row, where there is no sample."""
    # Permissive: two batches may differ in the assets that their items have.
    table = pa.concat_tables(tables, promote_options="permissive") if tables else _NO_ITEMS
    with atomic_path(path) as temporary:
        stac_geoparquet.arrow.to_parquet(table.combine_chunks(), temporary)


_NO_ITEMS = pa.table(
    {
        "id": pa.array([], pa.string()),
        "geometry": pa.array([], pa.binary()),
        "collection": pa.array([], pa.string()),
    }
)
