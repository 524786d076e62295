"""The tables against each other: manifest ↔ tiles ↔ splits ↔ observations.

Columns are compared, some thousand rows at once; only a row in which something differs becomes a
Python object, to be told about. So a million samples take the memory of a few columns.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from mmearth.catalog.catalogue import CATALOGUE, Catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.grid import Grid
from mmearth.catalog.hilbert import row_key
from mmearth.catalog.sample import sample_key
from mmearth.catalog.schema import check_version, manifest_path, member_column, read_batches
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile, Tiles, lonlat_bounds
from mmearth.packaging.findings import MOST, Finding, Problem
from mmearth.packaging.verify_observed import Observed

Row = dict[str, Any]
_SPLITS = pa.array(SPLITS)
_PLANNED = ("epsg", "left", "top", "lon", "lat", "cell", "split", "train_5", "train_50", "label_id")
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
        "bbox",
        "hilbert",
        "shard",
        "modality",
        "state",
    ]
)
"""Columns that say which sample or observation a row is."""
KEPT = ("key", "task", "tile", "split", "train_5", "train_50", "hilbert", "shard")
"""Columns of a manifest that are held for all of its samples."""
_DEGREES = 2e-7
"""Places are rounded to 1e-7 degrees; another build of PROJ may round the last digit otherwise."""


def load_table(
    root: Path,
    name: str,
    schema: pa.Schema,
    kept: Collection[str],
    optional: Collection[str] = (),
) -> tuple[pa.Table, list[Finding]]:
    """Read a table of a dataset that may be damaged anywhere, and keep some of its columns.

    Args:
        root: The dataset's directory.
        name: The table, relative to it.
        schema: What it should have.
        kept: Columns of the schema.
        optional: As for `check_schema`.

    Returns:
        Those of the columns that it has, and what is wrong with any of its columns.

    Raises:
        FormatError: The file is missing or damaged, or of another version.
    """
    try:
        found = check_version(root / name, root)
        here = [column for column in kept if column in found.names]
        nulls: Counter[str] = Counter()
        parts = []
        for part in read_batches(root / name, root=root):
            for column, values in zip(part.schema.names, part.columns, strict=True):
                nulls[column] += values.null_count
            parts.append(part.select(here))
    except (pa.ArrowException, OSError, ValueError) as exc:
        raise FormatError(f"it cannot be read ({exc})") from exc
    held = pa.schema([found.field(column) for column in here])
    table = pa.concat_tables([held.empty_table(), *parts]).combine_chunks()
    return table, list(check_schema(name, schema, found, nulls, optional))


def check_splits(name: str, task: str, table: pa.Table) -> Iterator[Finding]:
    """Yield what is wrong with the splits of one task's rows of a table.

    Args:
        name: The table, relative to the dataset's root.
        task: Its name.
        table: With the columns tile, split, train_5 and train_50.
    """
    counts = pc.value_counts(table["tile"].combine_chunks())
    often = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    five, fifty = table["train_5"], table["train_50"]
    doubtful = pc.or_(
        pc.or_(pc.is_in(table["tile"], often), pc.invert(pc.is_in(table["split"], _SPLITS))),
        pc.or_(pc.and_not(five, fifty), pc.and_(fifty, pc.not_equal(table["split"], "train"))),
    )
    of_tile: dict[str, str] = {}
    for row in table.select(["tile", "split", "train_5", "train_50"]).filter(doubtful).to_pylist():
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
    root: Path,
    catalogue: Catalogue,
    task: Task,
    kept: pa.Table,
    planned: pa.Table,
    observed: Observed,
) -> Iterator[Finding]:
    """Yield where a manifest contradicts itself, tiles.parquet or observations.parquet.

    Args:
        root: The dataset's directory.
        catalogue: Of the dataset.
        task: One of its tasks.
        kept: KEPT of its manifest.
        planned: Rows of tiles.parquet of this task.
        observed: What observations.parquet says.
    """
    name = manifest_path(task.name)
    yield from check_splits(name, task.name, kept)
    yield from _check_order(name, kept)
    planned = planned.take(np.arange(len(planned))[::-1])  # of a tile that is there twice the last
    tiles = planned["tile"].combine_chunks()
    places: list[Finding] = []
    others: list[Finding] = []
    for part in read_batches(root / name, root=root):
        places += _check_places(name, part, catalogue.grid)
        places += _check_others(name, part, catalogue, task)
        plans = planned.take(pc.index_in(part["tile"], tiles))
        others += _check_rows(name, part, plans, observed, catalogue, task)
        if len(places) + len(others) > MOST:
            break
    yield from places
    yield from _check_geo(root, name)
    yield from others


def _check_rows(
    name: str,
    part: pa.Table,
    plans: pa.Table,
    observed: Observed,
    catalogue: Catalogue,
    task: Task,
) -> Iterator[Finding]:
    """Compare rows of a manifest with those of the plan, and with what was observed."""
    columns = [*_PLANNED, *([] if task.is_pixel else [task.column])]
    doubtful = plans["tile"].is_null().to_numpy() | _unobserved(part, observed, catalogue)
    for column in columns:
        doubtful |= _differ(part[column], plans[column])
    if not doubtful.any():
        return
    rows = part.filter(doubtful).to_pylist()
    seen = observed.rows({row["tile"] for row in rows})
    for row, plan in zip(rows, plans.filter(doubtful).to_pylist(), strict=True):
        if plan["tile"] is None:
            yield Finding(name, "table", f"tile {row['tile']} is not in tiles.parquet")
            continue
        pairs = [(column, row[column], plan[column]) for column in columns]
        yield from _different(name, row["key"], pairs, "tiles.parquet")
        yield from _check_provenance(name, row, seen.get(row["tile"], {}), observed, catalogue)


def check_schema(
    name: str,
    expected: pa.Schema,
    schema: pa.Schema,
    nulls: Mapping[str, int],
    optional: Collection[str] = (),
) -> Iterator[Finding]:
    """Yield a finding where a table's columns are not those of its schema.

    Args:
        name: The table, relative to the dataset's root.
        expected: What it should have.
        schema: What it has.
        nulls: Column → rows in which it is null.
        optional: Columns of structs that may be null.
    """
    lacking = [field for field in expected.names if field not in schema.names]
    if lacking:
        yield Finding(name, "table", f"it has no column {', '.join(lacking)}")
    unknown = [column for column in schema.names if column not in expected.names]
    if unknown:
        sentence = f"its column {', '.join(unknown)} is of nothing in {CATALOGUE}"
        yield Finding(name, "table", sentence)
    for field in (field for field in expected if field.name not in lacking):
        found = schema.field(field.name).type
        if found != field.type:
            yield Finding(
                name, "table", f"its column {field.name} is {found}, expected {field.type}"
            )
        needed = field.name in _NEVER_NULL or pa.types.is_struct(field.type)
        if needed and field.name not in optional and (n_null := nulls.get(field.name, 0)):
            sentence = f"its column {field.name} is null in {n_null} rows, expected in none"
            yield Finding(name, "table", sentence)


def check_names(
    name: str, column: str, names: Collection[str], known: Collection[str]
) -> Iterator[Finding]:
    """Yield a finding where a column names what the catalogue has not.

    Args:
        name: The table, relative to the dataset's root.
        column: One of names.
        names: All in it.
        known: The names of the catalogue.
    """
    found = sorted(set(names) - set(known))
    if found:
        sentence = f"its {column} is also {', '.join(found)}, of which {CATALOGUE} says nothing"
        yield Finding(name, "table", sentence)


def _check_order(name: str, kept: pa.Table) -> Iterator[Finding]:
    """Rows stand by split, then along the Hilbert curve: what makes a box quick to find."""
    split = pc.fill_null(pc.index_in(kept["split"], _SPLITS), len(SPLITS)).to_numpy()
    hilbert, keys = kept["hilbert"].to_numpy(), kept["key"]
    same = pc.equal(keys[1:], keys[:-1]).to_numpy()
    back = (hilbert[1:] < hilbert[:-1]) | (
        (hilbert[1:] == hilbert[:-1]) & pc.less(keys[1:], keys[:-1]).to_numpy()
    )
    back = (split[1:] < split[:-1]) | ((split[1:] == split[:-1]) & back)
    for i in np.flatnonzero(same | back).tolist():
        where = "stands in it twice" if same[i] else "is not where its order puts it"
        yield Finding(name, "table", f"sample {keys[i + 1]} {where}")


def _check_places(name: str, part: pa.Table, grid: Grid) -> Iterator[Finding]:
    """Key, tile, corner and Hilbert number must all say the same place."""
    try:
        tiles = Tiles.parse(part["tile"], grid)
    except ConfigError as exc:
        yield Finding(name, "table", str(exc))
        return
    corners = {"epsg": tiles.epsg, "left": tiles.left, "top": tiles.top}
    numbers = [pa.array(values).cast(pa.string()) for values in corners.values()]
    date = pc.strftime(part["date"], "%Y%m%d").combine_chunks()
    doubtful = _differ(part["key"], pc.binary_join_element_wise(*numbers, date, "_"))
    for column, values in corners.items():
        doubtful |= part[column].to_numpy() != values
    for row in part.filter(doubtful).to_pylist():
        tile = Tile.parse(row["tile"], grid)
        corner = (row["epsg"], row["left"], row["top"])
        if corner != (tile.epsg, tile.left, tile.top):
            yield Finding(name, "table", f"tile {tile.id} is at {corner} in its columns")
        if row["key"] != sample_key(tile, str(row["date"])):
            yield Finding(name, "table", f"key {row['key']} is not its tile and its date")
    yield from _misplaced(name, part, tiles)


def _misplaced(name: str, part: pa.Table, tiles: Tiles) -> Iterator[Finding]:
    """Yield which rows have another number or another outline than their tiles."""
    keys = part["key"].to_pylist()
    with np.errstate(invalid="ignore"):  # a place that is nowhere has a number, too
        numbers = row_key(part["lon"].to_numpy(), part["lat"].to_numpy(), keys)
    elsewhere = numbers != part["hilbert"].to_numpy()
    boxes = lonlat_bounds(tiles)
    shapes = shapely.from_wkb(part["geometry"].to_numpy(), on_invalid="ignore")
    crosses = boxes[:, 2] > 180.0
    drawn = shapely.bounds(shapes)
    fits = np.isclose(drawn, boxes, rtol=0, atol=_DEGREES).all(axis=1)
    other = ~crosses & ~fits
    uncovered = ~_covers(part, drawn)
    for i in np.flatnonzero(elsewhere | other | uncovered).tolist():
        if elsewhere[i]:
            yield Finding(name, "table", f"sample {keys[i]}: hilbert is not that of its place")
        if other[i]:
            yield Finding(name, "table", f"sample {keys[i]}: geometry is not its tile's outline")
        if uncovered[i]:
            yield Finding(name, "table", f"sample {keys[i]}: bbox does not cover its geometry")


def _covers(part: pa.Table, bounds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each bbox covers west, south, east, north, (n,); a table may have none."""
    if "bbox" not in part.column_names:
        return np.ones(len(part), bool)
    west, south, east, north = (
        side.to_numpy(zero_copy_only=False) for side in part["bbox"].combine_chunks().flatten()
    )
    is_less = (west <= bounds[:, 0]) & (south <= bounds[:, 1])
    found: NDArray[np.bool_] = is_less & (east >= bounds[:, 2]) & (north >= bounds[:, 3])
    return found


def _check_others(name: str, part: pa.Table, catalogue: Catalogue, task: Task) -> Iterator[Finding]:
    """Targets of other tasks are columns of every manifest, and null in it."""
    for column in sorted({each.column for each in catalogue.tasks.values()} - {task.column}):
        if column in part.column_names and part[column].null_count < len(part):
            row = part.filter(part[column].is_valid()).slice(0, 1)
            key = row["key"][0].as_py()
            yield Finding(name, "table", f"sample {key}: {column} is of another task, and not null")


def _check_geo(root: Path, name: str) -> Iterator[Finding]:
    """The footer must say, as GeoParquet 1.1, what the geometry column is."""
    metadata = check_version(root / name, root).metadata
    try:
        column = json.loads(metadata[b"geo"])["columns"]["geometry"]
        encoding = column["encoding"]
    except (KeyError, ValueError, TypeError) as exc:
        yield Finding(name, "table", f"its footer has no GeoParquet metadata ({exc!r})")
        return
    if encoding != "WKB":
        yield Finding(name, "table", f"its geometry is said to be {encoding}, expected WKB")


def _differ(found: pa.ChunkedArray, expected: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return which values are not the same, (n,); two nulls are, two NaN are not."""
    if pa.types.is_nested(found.type):
        pairs = zip(found.to_pylist(), expected.to_pylist(), strict=True)
        return np.array([one != other for one, other in pairs], dtype=bool)
    same = pc.fill_null(pc.equal(found, expected), False)
    return ~np.asarray(pc.or_(same, pc.and_(found.is_null(), expected.is_null())))


def _unobserved(part: pa.Table, observed: Observed, catalogue: Catalogue) -> NDArray[np.bool_]:
    """Return which rows have a member that observations.parquet has not, or another, (n,)."""
    at = observed.places(part["tile"])
    wrong = np.zeros(len(part), bool)
    for modality, layer in catalogue.layers.items():
        struct = part[member_column(layer)].combine_chunks()
        present, done = struct.field("present"), observed.done(modality, at)
        wrong |= present.is_null().to_numpy(zero_copy_only=False)
        wrong |= pc.fill_null(present, False).to_numpy(zero_copy_only=False) != done
        wrong |= done & ~observed.same(layer, at, struct)
    return wrong


def _check_provenance(
    name: str, row: Row, seen: dict[str, Row], observed: Observed, catalogue: Catalogue
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
            fields = observed.fields(layer).items()
            pairs = [(f"{modality}.{field}", struct[field], observation[c]) for c, field in fields]
            yield from _different(name, row["key"], pairs, "observations.parquet")


def _different(
    name: str, key: str, pairs: list[tuple[str, Any, Any]], other: str, problem: Problem = "table"
) -> Iterator[Finding]:
    for column, found, expected in pairs:
        if found != expected:
            kind: Problem = "split" if column in {"split", "train_5", "train_50"} else problem
            sentence = f"sample {key}: {column} is {found!r}, {other} says {expected!r}"
            yield Finding(name, kind, sentence)
