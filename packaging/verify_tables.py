"""The tables against each other: manifest ↔ tiles ↔ splits ↔ observations."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from mmearth.catalog.catalogue import CATALOGUE, Catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.grid import Grid
from mmearth.catalog.hilbert import row_key
from mmearth.catalog.sample import sample_key
from mmearth.catalog.schema import manifest_path, member_column, read_table
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile, lonlat_bounds
from mmearth.packaging.findings import Finding, Problem

Row = dict[str, Any]
_PLANNED = ("epsg", "left", "top", "lon", "lat", "cell", "split", "train_5", "train_50", "label_id")
_PROVENANCE = ("valid_fraction", "acquired", "source_ids", "stand_in", "expression")
_NEVER_NULL = frozenset(
    [
        "task",
        "tile",
        "split",
        "train_5",
        "train_50",
        "epsg",
        "left",
        "top",
        "lon",
        "lat",
        "cell",
        "key",
        "geometry",
        "hilbert",
        "shard",
        "modality",
        "state",
    ]
)
"""Columns that say which sample or observation a row is."""
_DEGREES = 2e-7
"""Places are rounded to 1e-7 degrees; another build of PROJ may round the last digit otherwise."""


def load_table(root: Path, name: str) -> pa.Table:
    """Read a table of a dataset that may be damaged anywhere.

    Raises:
        FormatError: The file is missing or damaged, or of another version.
    """
    try:
        return read_table(root / name, root=root)
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise FormatError(f"it cannot be read ({exc})") from exc


def check_splits(name: str, task: str, rows: list[Row]) -> Iterator[Finding]:
    """Yield what is wrong with the splits of one task's rows of a table.

    Args:
        name: The table, relative to the dataset's root.
        task: Its name.
        rows: With the columns tile, split, train_5 and train_50.
    """
    of_tile: dict[str, str] = {}
    for row in rows:
        tile, split = row["tile"], row["split"]
        before = of_tile.setdefault(tile, split)
        if before != split:
            sentence = f"tile {tile} of {task} is in two splits, {before} and {split}"
            yield Finding(name, "split", sentence)
        if split not in SPLITS:
            known = ", ".join(SPLITS)
            sentence = f"tile {tile} of {task} is in split {split!r}; expected one of {known}"
            yield Finding(name, "split", sentence)
        if row["train_5"] and not row["train_50"]:
            yield Finding(name, "split", f"tile {tile} of {task} is in train_5 but not in train_50")
        if row["train_50"] and split != "train":
            yield Finding(name, "split", f"tile {tile} of {task} is in train_50 and in {split}")


def check_manifest(
    catalogue: Catalogue,
    task: Task,
    table: pa.Table,
    tiles: list[Row],
    observed: dict[str, dict[str, Row]],
) -> Iterator[Finding]:
    """Yield where a manifest contradicts itself, tiles.parquet or observations.parquet.

    Args:
        catalogue: Of the dataset.
        task: One of its tasks.
        table: Its manifest.
        tiles: Rows of tiles.parquet of this task.
        observed: Tile → modality → row of observations.parquet.
    """
    name = manifest_path(task.name)
    rows = table.to_pylist()
    yield from check_splits(name, task.name, rows)
    yield from _check_order(name, rows)
    yield from _check_places(name, rows, catalogue.grid)
    yield from _check_geo(name, table)
    planned = {row["tile"]: row for row in tiles}
    for row in rows:
        plan = planned.get(row["tile"])
        if plan is None:
            yield Finding(name, "table", f"tile {row['tile']} is not in tiles.parquet")
            continue
        pairs = [(column, row[column], plan[column]) for column in _PLANNED]
        if not task.is_pixel:
            pairs.append((task.column, row[task.column], plan[task.column]))
        yield from _different(name, row["key"], pairs, "tiles.parquet")
        yield from _check_provenance(name, row, observed.get(row["tile"], {}), catalogue)


def check_schema(
    name: str, expected: pa.Schema, table: pa.Table, optional: Collection[str] = ()
) -> Iterator[Finding]:
    """Yield a finding where a table's columns are not those of its schema.

    Args:
        name: The table, relative to the dataset's root.
        expected: Its schema.
        table: As it was read.
        optional: Columns of structs that may be null.
    """
    lacking = [field for field in expected.names if field not in table.schema.names]
    if lacking:
        yield Finding(name, "table", f"it has no column {', '.join(lacking)}")
    unknown = [column for column in table.schema.names if column not in expected.names]
    if unknown:
        sentence = f"its column {', '.join(unknown)} is of nothing in {CATALOGUE}"
        yield Finding(name, "table", sentence)
    for field in (field for field in expected if field.name not in lacking):
        found = table.schema.field(field.name).type
        if found != field.type:
            yield Finding(
                name, "table", f"its column {field.name} is {found}, expected {field.type}"
            )
        needed = field.name in _NEVER_NULL or pa.types.is_struct(field.type)
        if needed and field.name not in optional and (n_null := table[field.name].null_count):
            sentence = f"its column {field.name} is null in {n_null} rows, expected in none"
            yield Finding(name, "table", sentence)


def check_names(
    name: str, table: pa.Table, column: str, known: Collection[str]
) -> Iterator[Finding]:
    """Yield a finding where a column names what the catalogue has not.

    Args:
        name: The table, relative to the dataset's root.
        table: As it was read.
        column: Of names.
        known: The names of the catalogue.
    """
    found = sorted(set(pc.unique(table[column]).to_pylist()) - set(known))
    if found:
        sentence = f"its {column} is also {', '.join(found)}, of which {CATALOGUE} says nothing"
        yield Finding(name, "table", sentence)


def by_tile(table: pa.Table) -> dict[str, dict[str, Row]]:
    """Return tile → modality → row of observations.parquet."""
    result: dict[str, dict[str, Row]] = {}
    for row in table.to_pylist():
        result.setdefault(row["tile"], {})[row["modality"]] = row
    return result


def rows_by_shard(table: pa.Table) -> dict[str, list[Row]]:
    """Return shard → its rows of a manifest, in their order."""
    shards = pc.unique(table["shard"]).to_pylist()
    return {name: table.filter(pc.equal(table["shard"], name)).to_pylist() for name in shards}


def _check_order(name: str, rows: list[Row]) -> Iterator[Finding]:
    """Rows stand by split, then along the Hilbert curve: what makes a box quick to find."""
    order = {split: i for i, split in enumerate(SPLITS)}
    places = [(order.get(row["split"], len(order)), row["hilbert"], row["key"]) for row in rows]
    for before, after in itertools.pairwise(places):
        if before == after or before[2] == after[2]:
            yield Finding(name, "table", f"sample {after[2]} stands in it twice")
        elif before > after:
            yield Finding(name, "table", f"sample {after[2]} is not where its order puts it")


def _check_places(name: str, rows: list[Row], grid: Grid) -> Iterator[Finding]:
    """Key, tile, corner and Hilbert number must all say the same place."""
    for row in rows:
        try:
            tile = Tile.parse(row["tile"], grid)
        except ConfigError as exc:
            yield Finding(name, "table", str(exc))
            return
        corner = (row["epsg"], row["left"], row["top"])
        if corner != (tile.epsg, tile.left, tile.top):
            yield Finding(name, "table", f"tile {tile.id} is at {corner} in its columns")
        if row["key"] != sample_key(tile, str(row["date"])):
            yield Finding(name, "table", f"key {row['key']} is not its tile and its date")
    if not rows:
        return
    lon, lat = (np.array([row[c] for row in rows]) for c in ("lon", "lat"))
    with np.errstate(invalid="ignore"):  # a place that is nowhere has a number, too
        numbers = row_key(lon, lat, [row["key"] for row in rows])
    boxes = lonlat_bounds([Tile.parse(row["tile"], grid) for row in rows])
    shapes = shapely.from_wkb([row["geometry"] for row in rows], on_invalid="ignore")
    drawn = shapely.bounds(shapes)
    for i, row in enumerate(rows):
        if int(numbers[i]) != row["hilbert"]:
            yield Finding(name, "table", f"sample {row['key']}: hilbert is not that of its place")
        crosses = boxes[i, 2] > 180.0
        if not crosses and not np.allclose(drawn[i], boxes[i], rtol=0, atol=_DEGREES):
            yield Finding(name, "table", f"sample {row['key']}: geometry is not its tile's outline")


def _check_geo(name: str, table: pa.Table) -> Iterator[Finding]:
    """The footer must say, as GeoParquet 1.1, what the geometry column is."""
    try:
        column = json.loads((table.schema.metadata or {})[b"geo"])["columns"]["geometry"]
        encoding = column["encoding"]
    except (KeyError, ValueError, TypeError) as exc:
        yield Finding(name, "table", f"its footer has no GeoParquet metadata ({exc!r})")
        return
    if encoding != "WKB":
        yield Finding(name, "table", f"its geometry is said to be {encoding}, expected WKB")


def _check_provenance(
    name: str, row: Row, seen: dict[str, Row], catalogue: Catalogue
) -> Iterator[Finding]:
    for modality, layer in catalogue.layers.items():
        struct, observation = row[member_column(layer)], seen.get(modality)
        done = observation is not None and observation["state"] == "done"
        if done != struct["present"]:
            said = "present" if struct["present"] else "missing"
            state = observation["state"] if observation else "not collected"
            sentence = (
                f"sample {row['key']}: {modality} is {said}, observations.parquet says {state}"
            )
            yield Finding(name, "table", sentence)
        elif done and observation is not None:
            pairs = [(f"{modality}.{c}", struct[c], observation[c]) for c in _PROVENANCE]
            yield from _different(name, row["key"], pairs, "observations.parquet")


def _different(
    name: str, key: str, pairs: list[tuple[str, Any, Any]], other: str, problem: Problem = "table"
) -> Iterator[Finding]:
    for column, found, expected in pairs:
        if found != expected:
            kind: Problem = "split" if column in {"split", "train_5", "train_50"} else problem
            sentence = f"sample {key}: {column} is {found!r}, {other} says {expected!r}"
            yield Finding(name, kind, sentence)
