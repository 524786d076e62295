"""The STAC catalogue against the manifests: which samples, which shard, which byte ranges."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import MMEarthError
from mmearth.catalog.files import check_regular
from mmearth.catalog.schema import member_column
from mmearth.packaging.findings import DAMAGE, Finding, run_all

ITEMS = "stac/items.parquet"
"""All items of all collections."""
Row = dict[str, Any]
Facts = dict[str, Any]
"""What an item and a row of a manifest both say about a sample, by the words of findings."""


def check_stac(
    root: Path, catalogue: Catalogue, manifests: dict[str, list[Row]], workers: int
) -> Iterator[Finding]:
    """Yield where STAC contradicts the manifests.

    Args:
        root: The dataset's directory.
        catalogue: Its own.
        manifests: Task → rows.
        workers: Threads that read items.
    """
    expected = {(task, row["key"]): row for task, rows in manifests.items() for row in rows}
    if not expected:
        return
    yield from _check_table(root, catalogue, expected)
    check = partial(_check_item, root, catalogue)
    for findings in run_all(lambda entry: check(*entry), expected.items(), workers):
        yield from findings


def _check_table(
    root: Path, catalogue: Catalogue, expected: dict[tuple[str, str], Row]
) -> Iterator[Finding]:
    path = root / ITEMS
    try:
        check_regular(path, root)
        wanted = ["id", "collection", "mmearth:split", "assets"]
        table = pq.read_table(path, columns=wanted, partitioning=None)
        assets = pc.struct_field(table["assets"].combine_chunks(), "shard")
        parts = (table["collection"], table["id"], table["mmearth:split"], assets)
        found = {
            (task, key): _facts_of_item(split, shard)
            for task, key, split, shard in zip(*(c.to_pylist() for c in parts), strict=True)
        }
    except (FileNotFoundError, NotADirectoryError):
        yield Finding(ITEMS, "missing", "it is not there; the catalogue has no table of its items")
        return
    except DAMAGE as exc:
        yield Finding(ITEMS, "unreadable", f"it is not a table of STAC items ({exc})")
        return
    for task, key in sorted(found.keys() - expected.keys()):
        yield Finding(ITEMS, "stac", f"item {key} of {task} is in no manifest")
    for (task, key), row in expected.items():
        if (task, key) not in found:
            yield Finding(ITEMS, "stac", f"sample {key} of {task} has no item")
        else:
            yield from _compare(ITEMS, key, _facts_of_row(catalogue, task, row), found[task, key])


def _check_item(root: Path, catalogue: Catalogue, at: tuple[str, str], row: Row) -> list[Finding]:
    task, key = at
    name = f"stac/{task}/items/{key}.json"
    try:
        item = read_json(root / name, root)
        facts = _facts_of_item(item["properties"]["mmearth:split"], item["assets"]["shard"])
    except FileNotFoundError:
        return [Finding(name, "missing", "it is not there; the manifest has its sample")]
    except DAMAGE as exc:
        said = str(exc) if isinstance(exc, MMEarthError) else repr(exc)
        return [Finding(name, "unreadable", f"it is not a STAC item of mmearth ({said})")]
    return list(_compare(name, key, _facts_of_row(catalogue, task, row), facts))


def _compare(name: str, key: str, expected: Facts, found: Facts) -> Iterator[Finding]:
    for what in expected.keys() | found.keys():
        if found.get(what) != expected.get(what):
            sentence = (
                f"item {key}: {what} is {found.get(what)}, the manifest says {expected.get(what)}"
            )
            yield Finding(name, "stac", sentence)


def _facts_of_item(split: str, shard: Row) -> Facts:
    facts: Facts = {"the split": split, "the shard": shard["href"].removeprefix("../../../")}
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
