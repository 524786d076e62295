"""Manifests → a static STAC catalogue: collections of tasks, a table of items, JSON of items.

`items.parquet` has every item. A file for each item is there, too, where the card or the size of
the dataset says so: clients that walk links need them, and a million files nobody wants.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pystac
import stac_geoparquet.arrow

import mmearth
from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.documents import read_json
from mmearth.catalog.files import TEMPORARY, atomic_path, check_regular, write_atomic
from mmearth.catalog.schema import manifest_path, read_batches, read_table
from mmearth.catalog.stac_asset import File
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
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rasters:
    """GeoTIFFs of a dataset, to be catalogued themselves."""

    root: Path
    """Where their `stac` shall be."""
    files: Mapping[str, Mapping[str, File]]
    """Tile → layer, or THUMBNAIL → file, relative to that root; other tiles are left out."""


def build(root: Path, card: DatasetCard, rasters: Rasters | None = None) -> Path:
    """Write the catalogue of a packed dataset, or of its GeoTIFFs; return `stac/catalog.json`.

    Args:
        root: Holds catalogue.json, the manifests and statistics.
        card: What the dataset says about itself, and whether items are files.
        rasters: What it was exported as; then its items are files in any case.

    Raises:
        FormatError: A table is missing or of another version.
        StorageError: The disk is full.
    """
    home = (root if rasters is None else rasters.root) / STAC
    shutil.rmtree(home, ignore_errors=True)
    catalogue = read_catalogue(root)
    catalog = pystac.Catalog(card.name, card.description or card.title, card.title)
    catalog.links = [pystac.Link("root", "catalog.json", pystac.MediaType.JSON)]
    tables = {task: _chosen(_columns(root, task), rasters) for task in card.tasks}
    is_json = (
        card.stac_items == "json"
        or rasters is not None
        or (card.stac_items != "parquet" and max(map(len, tables.values()), default=0) <= MOST_JSON)
    )
    for task, table in tables.items():
        spec, statistics = catalogue.task(task), None
        if rasters is not None:
            statistics = read_json(root / f"statistics/{task}.json", root)
        collection = stac_collection(spec, card, catalogue, table, statistics, is_json=is_json)
        write_atomic(home / task / "collection.json", _indented(collection))
        href = f"{task}/collection.json"
        catalog.links.append(pystac.Link("child", href, pystac.MediaType.JSON, spec.title))
        if is_json:
            found = _items(root, task, rasters, catalogue, nested=True)
            for document in chain.from_iterable(found):
                cell = document.pop("cell")
                path = home / task / "items" / cell / f"{document['id']}.json"
                write_atomic(path, _compact(document))
    items = (_items(root, task, rasters, catalogue, nested=False) for task in card.tasks)
    _write_parquet(home / "items.parquet", chain.from_iterable(items))
    path = home / "catalog.json"
    document = catalog.to_dict(include_self_link=False, transform_hrefs=False)
    write_atomic(path, _indented(document))
    return path


def _columns(root: Path, task: str) -> pa.Table:
    return read_table(root / manifest_path(task), ["key", "tile", "cell", "split", "date"], root)


def _chosen(table: pa.Table, rasters: Rasters | None) -> pa.Table:
    """Return the rows of tiles that have files."""
    if rasters is None:
        return table
    return table.filter(pc.is_in(table["tile"], pa.array(rasters.files, pa.string())))


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
    root: Path, task: str, rasters: Rasters | None, catalogue: Catalogue, *, nested: bool
) -> Iterator[list[Item]]:
    """Yield a task's items in the manifest's order, so many at once.

    Args:
        root: The dataset's directory.
        task: Its name.
        rasters: See `build`.
        catalogue: Of the dataset.
        nested: Whether links are from `stac/<task>/items/<cell>`, the cell an entry of each
            item; or from `stac`.
    """
    software = {"mmearth": mmearth.__version__}
    for batch in read_batches(root / manifest_path(task), root=root, rows=_ITEMS_AT_ONCE):
        found = []
        for row in _chosen(batch, rasters).to_pylist():
            folder = f"{STAC}/{task}/items/{row['cell']}" if nested else STAC
            files = None if rasters is None else rasters.files[row["tile"]]
            item = stac_item(row, files, software, catalogue, folder)
            found.append(item | ({"cell": row["cell"]} if nested else {}))
        if found:
            yield found


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
