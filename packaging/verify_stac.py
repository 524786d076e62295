"""The STAC catalogue against the manifests: which samples, which shard, which byte ranges."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.files import check_regular
from mmearth.catalog.schema import BATCH_ROWS, manifest_path, member_column, read_batches
from mmearth.packaging.findings import DAMAGE, Finding, run_all

ITEMS = "stac/items.parquet"
"""All items of all collections."""
Row = dict[str, Any]
Facts = dict[str, Any]
"""What an item and a row of a manifest both say about a sample, by the words of findings."""
Marks = dict[str, NDArray[np.int64]]
"""Task → a number for the facts of each sample's item, in the order of its manifest; 0: none."""


def check_stac(
    root: Path, catalogue: Catalogue, manifests: dict[str, pa.Table], workers: int
) -> Iterator[Finding]:
    """Yield where STAC contradicts the manifests.

    Args:
        root: The dataset's directory.
        catalogue: Its own.
        manifests: Task → the keys of its manifest, in a column `key`.
        workers: Threads that read items.
    """
    keys = {task: table["key"].combine_chunks() for task, table in manifests.items()}
    if not any(map(len, keys.values())):
        return
    marks = None
    try:
        marks, unknown = _read_marks(root, keys)
        for task, key in sorted(unknown):
            yield Finding(ITEMS, "stac", f"item {key} of {task} is in no manifest")
    except (FileNotFoundError, NotADirectoryError):
        yield Finding(ITEMS, "missing", "it is not there; the catalogue has no table of its items")
    except DAMAGE as exc:
        yield Finding(ITEMS, "unreadable", f"it is not a table of STAC items ({exc})")
    later: list[Finding] = []
    for task in keys:
        check = partial(_check_item, root, catalogue, task)
        is_json, first = (root / f"stac/{task}/items").is_dir(), 0
        for rows in _rows(root, catalogue, task):
            if marks is not None:
                found = marks[task][first : first + len(rows)]
                yield from _check_rows(root, catalogue, task, rows, found)
            first += len(rows)
            if is_json:
                later += chain.from_iterable(run_all(check, rows, workers))
    yield from later


def _rows(root: Path, catalogue: Catalogue, task: str) -> Iterator[list[Row]]:
    """Yield what an item says, too, of the rows of a manifest, some at a time."""
    layers = (*catalogue.members(catalogue.tasks[task]), *catalogue.tile_layers)
    parts = ("byte_offset", "byte_length", "sha256")
    columns = [f"{member_column(layer)}.{part}" for layer in layers for part in parts]
    wanted = ["key", "split", "cell", "shard", *columns]
    for part in read_batches(root / manifest_path(task), wanted, root):
        yield part.to_pylist()


def _check_rows(
    root: Path, catalogue: Catalogue, task: str, rows: list[Row], found: NDArray[np.int64]
) -> Iterator[Finding]:
    """Compare rows of a manifest with the marks of their items in the table."""
    facts = [_facts_of_row(catalogue, task, row) for row in rows]
    wrong = [i for i, each in enumerate(facts) if _mark(each) != found[i]]
    items = _read_facts(root, task, {rows[i]["key"] for i in wrong if found[i]})
    for i in wrong:
        key = rows[i]["key"]
        if not found[i]:
            yield Finding(ITEMS, "stac", f"sample {key} of {task} has no item")
        else:
            yield from _compare(ITEMS, key, facts[i], items[key])


def _read_marks(root: Path, keys: dict[str, pa.Array]) -> tuple[Marks, list[tuple[str, str]]]:
    """Return the marks of all items, and the (collection, id) of those of no sample."""
    marks = {task: np.zeros(len(mine), np.int64) for task, mine in keys.items()}
    unknown: list[tuple[str, str]] = []
    for part in _items(root):
        collections = part["collection"].to_pylist()
        for task in set(collections) - keys.keys():
            ids = part["id"].filter(pc.equal(part["collection"], task)).to_pylist()
            unknown += [(str(task), str(key)) for key in ids]
        for task in set(collections) & keys.keys():
            items = part.filter(pc.equal(part["collection"], task))
            at = pc.index_in(items["id"], keys[task])
            unknown += [(task, str(key)) for key in items["id"].filter(at.is_null()).to_pylist()]
            items = items.filter(at.is_valid())
            found = [_mark(_facts_of_item(ITEMS, item)) for item in items.to_pylist()]
            marks[task][at.drop_null().to_numpy()] = found
    return marks, unknown


def _read_facts(root: Path, task: str, keys: set[str]) -> dict[str, Facts]:
    """Return the facts of some items of a collection."""
    found = {}
    if keys:
        for part in _items(root):
            mine = pc.and_(
                pc.equal(part["collection"], task),
                pc.is_in(part["id"], pa.array(keys, pa.string())),
            )
            for item in part.filter(mine).to_pylist():
                found[item["id"]] = _facts_of_item(ITEMS, item)
    return found


def _items(root: Path) -> Iterator[pa.Table]:
    """Yield id, collection, split and the asset of the shard of all items, some at a time."""
    check_regular(root / ITEMS, root)
    wanted = ["id", "collection", "mmearth:split", "assets.shard"]
    with pq.ParquetFile(root / ITEMS) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
            table = pa.Table.from_batches([batch])
            table.validate(full=True)
            yield table


def _check_item(root: Path, catalogue: Catalogue, task: str, row: Row) -> list[Finding]:
    name = f"stac/{task}/items/{row['cell']}/{row['key']}.json"
    flat = f"stac/{task}/items/{row['key']}.json"  # in older datasets
    name = flat if not (root / name).exists() and (root / flat).exists() else name
    try:
        item = read_json(root / name, root)
        item["mmearth:split"] = item["properties"]["mmearth:split"]
        facts = _facts_of_item(name, item)
    except FileNotFoundError:
        return [Finding(name, "missing", "it is not there; the manifest has its sample")]
    except DAMAGE as exc:
        said = str(exc) if isinstance(exc, MMEarthError) else repr(exc)
        return [Finding(name, "unreadable", f"it is not a STAC item of mmearth ({said})")]
    return list(_compare(name, row["key"], _facts_of_row(catalogue, task, row), facts))


def _compare(name: str, key: str, expected: Facts, found: Facts) -> Iterator[Finding]:
    for what in expected.keys() | found.keys():
        if found.get(what) != expected.get(what):
            sentence = (
                f"item {key}: {what} is {found.get(what)}, the manifest says {expected.get(what)}"
            )
            yield Finding(name, "stac", sentence)


def _mark(facts: Facts) -> int:
    """Return a number that is another for other facts, in this process, and never 0."""
    return hash(frozenset(facts.items())) or 1


def _facts_of_item(name: str, item: Row) -> Facts:
    shard = item["assets"]["shard"]
    place = posixpath.normpath(posixpath.join(posixpath.dirname(name), shard["href"]))
    place = place.removeprefix("../../")  # older tables of items have the links of their JSON
    facts: Facts = {"the split": item["mmearth:split"], "the shard": place}
    for member in shard["archive"]:
        first, last = member["range"]
        facts[f"the range of {member['href']}"] = (first, last - first + 1, member["file:checksum"])
    return facts


def _facts_of_row(catalogue: Catalogue, task: str, row: Row) -> Facts:
    facts: Facts = {"the split": row["split"], "the shard": row["shard"]}
    for layer in (*catalogue.members(catalogue.tasks[task]), *catalogue.tile_layers):
        struct = row[member_column(layer)]
        if struct is not None and struct["byte_length"] is not None:
            suffix = catalogue.codec.member(layer.name) if layer.is_pixel else "json"
            member = f"{row['key']}.{suffix}"
            # 12 20: the codes of SHA-256 and of its length in a multihash.
            place = (struct["byte_offset"], struct["byte_length"], f"1220{struct['sha256']}")
            facts[f"the range of {member}"] = place
    return facts
