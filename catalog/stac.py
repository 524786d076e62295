"""Manifests → a static STAC catalogue: collections of tasks, a table of items, JSON of items.

`items.parquet` has every item. A file for each item is there, too, where the card or the size of
the dataset says so: clients that walk links need them, and a million files nobody wants.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pystac
import stac_geoparquet.arrow

import mmearth
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.files import TEMPORARY, atomic_path, check_regular, write_atomic
from mmearth.catalog.schema import check_version, manifest_path, read_batches, read_table
from mmearth.catalog.stac_asset import Row
from mmearth.catalog.stac_collection import stac_collection
from mmearth.catalog.stac_item import stac_item

STAC = "stac"
"""Name of the catalogue's directory in a dataset."""
MOST_JSON = 1_000
"""Samples of the largest task up to which each has a JSON of its own, unless the card says."""
_ITEMS_AT_ONCE = 1024
"""Items held as Python objects, some 100 kB each."""
_ROW_GROUP = 8192
"""Items held as Arrow arrays, some 14 kB each: a row group of the table."""
Stored = Callable[[str], dict[str, Row]]
"""Tile → modality → row of observations.parquet, for GeoTIFFs that are in the store."""
Item = dict[str, Any]


def build(root: Path, card: DatasetCard) -> Path:
    """Write the catalogue of a packed dataset; return `stac/catalog.json`.

    Args:
        root: Holds catalogue.json, the manifests, observations.parquet and perhaps the store.
        card: What the dataset says about itself, and whether items are files.

    Raises:
        FormatError: A table is missing or of another version.
        StorageError: The disk is full.
    """
    home = root / STAC
    shutil.rmtree(home, ignore_errors=True)
    stored, catalogue = _stored(root), read_catalogue(root)
    catalog = pystac.Catalog(card.name, card.description or card.title, card.title)
    catalog.links = [pystac.Link("root", "catalog.json", pystac.MediaType.JSON)]
    columns = ["key", "tile", "cell", "split", "date"]
    tables = {task: read_table(root / manifest_path(task), columns, root) for task in card.tasks}
    is_json = card.stac_items == "json" or (
        card.stac_items != "parquet" and max(map(len, tables.values()), default=0) <= MOST_JSON
    )
    for task, table in tables.items():
        kept = bool(len(table)) and bool(stored(table["tile"][0].as_py()))
        spec = catalogue.task(task)
        collection = stac_collection(spec, card, catalogue, table, stored=kept, is_json=is_json)
        write_atomic(home / task / "collection.json", _indented(collection))
        href = f"{task}/collection.json"
        catalog.links.append(pystac.Link("child", href, pystac.MediaType.JSON, spec.title))
        if is_json:
            for document in chain.from_iterable(_items(root, task, stored, catalogue, nested=True)):
                cell = document.pop("cell")
                path = home / task / "items" / cell / f"{document['id']}.json"
                write_atomic(path, _compact(document))
    items = (_items(root, task, stored, catalogue, nested=False) for task in card.tasks)
    _write_parquet(home / "items.parquet", chain.from_iterable(items))
    path = home / "catalog.json"
    document = catalog.to_dict(include_self_link=False, transform_hrefs=False)
    write_atomic(path, _indented(document))
    return path


def read_items(root: Path) -> Iterator[Item]:
    """Yield the items of the table, as their JSON would be; links are from `stac`.

    Raises:
        FormatError, OSError, ValueError, pa.ArrowException: It is no table of items.
    """
    path = root / STAC / "items.parquet"
    check_regular(path, root)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ITEMS_AT_ONCE):
            table = pa.Table.from_batches([batch])
            yield from map(_without_nulls, stac_geoparquet.arrow.stac_table_to_items(table))


def _without_nulls(part: Any) -> Any:
    """Return a document without the nulls that other items of the table make."""
    if isinstance(part, dict):
        return {key: _without_nulls(each) for key, each in part.items() if each is not None}
    return [_without_nulls(each) for each in part] if isinstance(part, list) else part


def _items(
    root: Path, task: str, stored: Stored, catalogue: Catalogue, *, nested: bool
) -> Iterator[list[Item]]:
    """Yield a task's items in the manifest's order, so many at once.

    Args:
        root: The dataset's directory.
        task: Its name.
        stored: What is in the store.
        catalogue: Of the dataset.
        nested: Whether links are from `stac/<task>/items/<cell>`, the cell an entry of each
            item; or from `stac`.
    """
    software = {"mmearth": mmearth.__version__}
    for batch in read_batches(root / manifest_path(task), root=root, rows=_ITEMS_AT_ONCE):
        found = []
        for row in batch.to_pylist():
            folder = f"{STAC}/{task}/items/{row['cell']}" if nested else STAC
            item = stac_item(row, stored(row["tile"]), software, catalogue, folder)
            found.append(item | ({"cell": row["cell"]} if nested else {}))
        yield found


def _stored(root: Path) -> Stored:
    """Return what the store of a dataset of before packs has; later ones have none."""
    observations = root / "observations.parquet"
    if "path" not in check_version(observations, root).names:
        return lambda _: {}
    columns = ["tile", "modality", "path", "bytes", "sha256"]
    table = read_table(observations, columns, root)
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


def _write_parquet(path: Path, items: Iterable[list[Item]]) -> None:
    """Write the items of all tasks as stac-geoparquet: no row, where there is no sample.

    Row groups may differ in the assets that their items have: all are on the disk before the
    schema of the table is known.
    """
    with TemporaryDirectory(TEMPORARY, ".", path.parent) as folder:
        parts: list[Path] = []
        schemas = []
        for table in _row_groups(items):
            parts.append(Path(folder, str(len(parts))))
            schemas.append(table.schema)
            with pa.ipc.new_file(parts[-1], table.schema, options=_ZSTD) as stream:
                stream.write_table(table)
        unified = pa.unify_schemas([*schemas, *_NO_ITEMS[len(parts) :]], promote_options=_PROMOTE)
        batches = (batch for part in parts for batch in _read_part(part, unified).to_batches())
        with atomic_path(path) as temporary:
            reader = pa.RecordBatchReader.from_batches(unified, batches)
            stac_geoparquet.arrow.to_parquet(reader, temporary, compression="zstd")


def _row_groups(items: Iterable[list[Item]]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for documents in items:
        waiting.append(stac_geoparquet.arrow.parse_stac_items_to_arrow(documents).read_all())
        if sum(map(len, waiting)) >= _ROW_GROUP:
            yield pa.concat_tables(waiting, promote_options=_PROMOTE)
            waiting.clear()
    if waiting:
        yield pa.concat_tables(waiting, promote_options=_PROMOTE)


def _read_part(path: Path, schema: pa.Schema) -> pa.Table:
    with pa.ipc.open_file(path) as stream:
        tables = [schema.empty_table(), stream.read_all()]
    return pa.concat_tables(tables, promote_options=_PROMOTE).combine_chunks()


_PROMOTE = "permissive"
_ZSTD = pa.ipc.IpcWriteOptions(compression="zstd")
_NO_ITEMS = [
    pa.schema([("id", pa.string()), ("geometry", pa.binary()), ("collection", pa.string())])
]
"""The schema of a table without any."""
