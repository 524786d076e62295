"""What packaging starts from: the planned tiles, and what was collected of them, as columns.

No row is a Python object here: a million samples take a few hundred bytes each.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.grid import Grid
from mmearth.catalog.hilbert import row_key
from mmearth.catalog.schema import (
    OBSERVATIONS,
    ROW_GROUP_ROWS,
    STATES,
    check_columns,
    read_batches,
    read_table,
    tiles_schema,
)
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.task import Task
from mmearth.catalog.tile import Tile
from mmearth.packaging.shard import TAR_BLOCK, shard_name

_NEVER_NULL = ("lon", "lat", "cell", "train_5", "train_50")
_DOCUMENT_BYTES = 4096  # of a sample's JSON in a tar, about
_NPY_HEADER = 128
_SEEN = ["tile", "modality", "state", "reason", "bytes", "acquired", "source_ids"]
_NOT_COLLECTED, _NOTHING = "it was not collected", "nothing was collected"


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """A task's samples in the order of its shards, and how many tiles make none."""

    samples: pa.Table
    """Rows of `tiles_schema`, with `key`, `day` (the anchor date), `hilbert` and `nbytes` (in a
    tar, about); sorted by split, then along the Hilbert curve."""
    dropped: dict[str, int]
    """Why tiles make no sample → how many; see `count_reasons`."""


def read_inputs(
    root: Path, catalogue: Catalogue, task: Task, require: tuple[str, ...]
) -> TaskInputs:
    """Return what a task is packed from.

    Args:
        root: The dataset's directory.
        catalogue: Its own.
        task: One of its tasks.
        require: Modalities that every sample must have.

    Raises:
        FormatError: A table is missing or of another version, or a row cannot be one of ours.
    """
    path = root / "tiles.parquet"
    planned = read_table(path, root=root, schema=tiles_schema(catalogue.tasks.values()))
    mine = planned.filter(pc.equal(planned["task"], task.name)).sort_by("tile").combine_chunks()
    check_planned(path, mine, catalogue.grid)
    tiles = mine["tile"].combine_chunks()
    asked = _asked(planned, tiles, catalogue)
    needed = [*require, *([task.name] if task.is_pixel and not task.optional else [])]
    seen = _see(root, tiles, catalogue, task, needed)
    dropped = seen.lacking(needed)
    makes_none = (seen.why >= 0).any(axis=0)
    nothing = ~makes_none & ~seen.has_layer
    dropped.update(_why_nothing(root, tiles.filter(pa.array(nothing)), catalogue))
    rows = np.flatnonzero(~makes_none & ~nothing)
    days = seen.days(asked, mine["lat"].to_numpy())
    more = {"day": days, "nbytes": pa.array(seen.nbytes)}
    samples = _add(mine, more).take(pa.array(rows)).combine_chunks()
    return TaskInputs(_ordered(samples), count_reasons(dropped))


def cut(task: Task, samples: pa.Table, shard_bytes: int) -> Iterator[tuple[str, pa.Table]]:
    """Yield the name of each shard, and its samples.

    Cut by size before anything is written, so that every shard can be written by another worker,
    and what is in it does not depend on who did it.
    """
    total = np.cumsum(samples["nbytes"].to_numpy())
    ranks = pc.index_in(samples["split"], pa.array(SPLITS)).to_numpy()
    for rank, split in enumerate(SPLITS):
        begin, end = np.searchsorted(ranks, [rank, rank + 1]).tolist()
        number = 0
        while begin < end:
            before = total[begin - 1] if begin else 0
            full = int(np.searchsorted(total, before + shard_bytes)) + 1
            rows = pa.array(range(begin, min(full, end)))  # taken: a slice is pickled as a whole
            yield shard_name(task.name, split, number), samples.take(rows)
            begin, number = min(full, end), number + 1


def count_reasons(dropped: Mapping[str, int]) -> dict[str, int]:
    """Return why tiles make no sample → how many, the most frequent first.

    Reasons that differ in what follows `no sentinel2` alone, as an Earth Engine tile's number of
    scenes does, count together, under the most frequent of them.
    """
    by_head: dict[str, Counter[str]] = {}
    for reason, n in dropped.items():
        by_head.setdefault(reason.partition(":")[0], Counter())[reason] += n
    counted = {max(sorted(c), key=c.__getitem__): c.total() for c in by_head.values()}
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def check_planned(path: Path, tiles: pa.Table, grid: Grid) -> None:
    """Refuse rows of tiles.parquet that cannot be places of ours.

    Raises:
        FormatError: A tile or split is none, or the columns say otherwise than the tile.
    """
    corner = [tiles[name].cast(pa.string()) for name in ("epsg", "left", "top")]
    ids = pc.binary_join_element_wise(*corner, "_", null_handling="replace", null_replacement="")
    zone = pc.is_in(tiles["epsg"], pa.array([*range(32601, 32661), *range(32701, 32761)]))
    is_right = pc.and_(pc.equal(ids, tiles["tile"]), zone)
    is_right = pc.and_(is_right, pc.is_in(tiles["split"], pa.array(SPLITS)))
    for name in ("left", "top"):
        number = pc.fill_null(tiles[name], 1)
        pixels = pc.multiply(pc.divide(number, grid.resolution_m), grid.resolution_m)
        is_right = pc.and_(is_right, pc.equal(number, pixels))
    for name in _NEVER_NULL:
        is_right = pc.and_(is_right, pc.is_valid(tiles[name]))
    wrong = pc.index(pc.fill_null(is_right, False), False).as_py()
    if wrong >= 0:
        raise _no_place(path, tiles.slice(wrong, 1).to_pylist()[0], grid)


def _no_place(path: Path, row: dict[str, Any], grid: Grid) -> FormatError:
    """Return what is wrong with a row of tiles.parquet that cannot be a place of ours."""
    try:
        tile = Tile.parse(str(row["tile"]), grid)
    except ConfigError as exc:
        return FormatError(f"{path}: {exc}; build it again")
    lacking = [name for name in _NEVER_NULL if row[name] is None]
    if lacking:
        return FormatError(f"{path}: tile {tile.id} has no {lacking[0]}; build it again")
    return FormatError(
        f"{path}: tile {row['tile']} is said to be at {row['epsg']}, {row['left']}, {row['top']} "
        f"and in split {row['split']!r}; expected its own grid and one of {', '.join(SPLITS)}: "
        "build it again"
    )


@dataclass(slots=True)
class _Seen:
    """What was collected of a task's tiles."""

    has_layer: NDArray[np.bool_]
    """Whether any layer is there, (n,)."""
    nbytes: NDArray[np.int64]
    """What a sample takes in a tar, about, (n,)."""
    image: NDArray[np.int32]
    """Which of `dates` its Sentinel-2 image is of; -1 where there is none, (n,)."""
    why: NDArray[np.int32]
    """Which of `reasons` keeps it from a needed layer; -1 where the layer is there, (needed, n)."""
    dates: dict[str, int] = field(default_factory=dict)
    """Every date, in the order of their numbers."""
    reasons: dict[str, int] = field(default_factory=lambda: {_NOT_COLLECTED: 0})
    """Every reason, likewise."""

    def lacking(self, needed: list[str]) -> Counter[str]:
        """Return why tiles lack something needed → how many; of several the first counts."""
        found: Counter[str] = Counter()
        reasons, counted = list(self.reasons), np.zeros(len(self.nbytes), dtype=np.bool_)
        for name, why in zip(needed, self.why, strict=True):
            codes, counts = np.unique(why[(why >= 0) & ~counted], return_counts=True)
            for code, n in zip(codes.tolist(), counts.tolist(), strict=True):
                found[f"no {name}: {reasons[code]}"] += n
            counted |= why >= 0
        return found

    def days(self, asked: pa.Array, lat: NDArray[np.float64]) -> pa.Array:
        """Return each tile's anchor date, (n,): its image's, or that of what was asked for.

        Args:
            asked: The date that was asked for, null for any, (n,).
            lat: Degrees north, (n,).
        """
        coded = asked.dictionary_encode()
        whens = [*coded.dictionary.to_pylist(), None]
        code = pc.fill_null(coded.indices, len(whens) - 1).to_numpy(zero_copy_only=False)
        pairs, which = np.unique(code * 2 + (lat >= 0), return_inverse=True)
        known = list(self.dates)
        known += [anchor_date(whens[pair // 2], pair % 2 - 0.5) for pair in pairs.tolist()]
        number = np.where(self.image >= 0, self.image, len(self.dates) + which)
        return pa.array(known, pa.string()).take(pa.array(number))


def _see(root: Path, tiles: pa.Array, catalogue: Catalogue, task: Task, needed: list[str]) -> _Seen:
    """Go through observations.parquet once, a row group at a time."""
    n = len(tiles)
    seen = _Seen(
        np.zeros(n, dtype=np.bool_),
        np.full(n, _DOCUMENT_BYTES),
        np.full(n, -1, dtype=np.int32),
        np.zeros((len(needed), n), dtype=np.int32),
    )
    members = {layer.name: layer.nbytes + _NPY_HEADER for layer in catalogue.members(task)}
    for part in _parts(root, tiles, catalogue):
        row = part["row"].to_numpy()
        is_done = pc.equal(part["state"], "done").to_numpy()
        for name in pc.unique(part["modality"]).to_pylist():
            is_mine = pc.equal(part["modality"], name).to_numpy()
            rows, done = part.filter(pa.array(is_mine)), row[is_mine & is_done]
            if name in catalogue.layers:
                seen.has_layer[done] = True
            if name in members:
                stored = rows.filter(pc.equal(rows["state"], "done"))["bytes"]
                nbytes = pc.fill_null(stored, members[name]).to_numpy()
                seen.nbytes[done] += -(-nbytes // TAR_BLOCK) * TAR_BLOCK + TAR_BLOCK
            if name == "sentinel2":
                dated = rows.filter(pc.greater(pc.utf8_length(rows["acquired"]), 0))
                dated = dated.filter(pc.equal(dated["state"], "done"))
                seen.image[dated["row"].to_numpy()] = _numbers(seen.dates, dated["acquired"])
            if name in needed:
                why = seen.why[needed.index(name)]
                failed = rows.filter(pc.not_equal(rows["state"], "done"))
                reason = pc.if_else(pc.equal(failed["reason"], ""), None, failed["reason"])
                reason = pc.fill_null(reason, _NOT_COLLECTED)
                why[failed["row"].to_numpy()] = _numbers(seen.reasons, reason)
                why[done] = -1
    return seen


def _numbers(known: dict[str, int], texts: pa.ChunkedArray) -> NDArray[np.int32]:
    """Return each text's number, (n,); a new one gets the next number."""
    coded = texts.combine_chunks().dictionary_encode()
    numbers = [known.setdefault(text, len(known)) for text in coded.dictionary.to_pylist()]
    found: NDArray[np.int32] = np.array(numbers, dtype=np.int32)[coded.indices.to_numpy()]
    return found


def _why_nothing(root: Path, tiles: pa.Array, catalogue: Catalogue) -> Counter[str]:
    """Return why tiles have no layer at all → how many: of several reasons the first one."""
    least: dict[int, str] = {}
    for part in _parts(root, tiles, catalogue) if len(tiles) else ():
        layers = part.filter(pc.is_in(part["modality"], pa.array(list(catalogue.layers))))
        for row, reason in zip(*(layers[n].to_pylist() for n in ("row", "reason")), strict=True):
            if reason:
                least[row] = min(reason, least.get(row, reason))
    found = Counter(f"no layer: {reason}" for reason in least.values())
    if len(least) < len(tiles):
        found[f"no layer: {_NOTHING}"] = len(tiles) - len(least)
    return found


def _parts(root: Path, tiles: pa.Array, catalogue: Catalogue) -> Iterator[pa.Table]:
    """Yield what observations.parquet says of some tiles, a row group at a time.

    Args:
        root: The dataset's directory.
        tiles: Their ids, sorted.
        catalogue: Of the dataset.

    Yields:
        The columns of `_SEEN`, and `row`: which of the tiles it is of.
    """
    path = root / "observations.parquet"
    fields = check_columns(path, map(OBSERVATIONS.field, _SEEN), root)
    for read in read_batches(path, _SEEN, root, ROW_GROUP_ROWS):
        part = read
        _check_observed(path, part, catalogue)
        if "path" in fields.names:  # of a dataset that had GeoTIFFs: `bytes` is their length
            at = part.schema.get_field_index("bytes")
            part = part.set_column(at, "bytes", pa.nulls(part.num_rows, pa.int64()))
        ends = pc.min_max(part["tile"]).as_py()
        if ends["min"] is None:
            continue
        # Both are sorted: a row group is of a stretch of the tiles.
        begin = bisect_left(tiles, ends["min"], key=lambda tile: tile.as_py())
        end = bisect_right(tiles, ends["max"], key=lambda tile: tile.as_py())
        row = pc.add(pc.index_in(part["tile"], tiles.slice(begin, end - begin)), begin)
        yield part.append_column("row", row).filter(pc.is_valid(row))


def _check_observed(path: Path, part: pa.Table, catalogue: Catalogue) -> None:
    """Refuse rows of observations.parquet that cannot be of our store.

    Raises:
        FormatError: One names no modality or state, or no list of sources.
    """
    for name in pc.unique(part["modality"]).to_pylist():
        try:
            catalogue.observed(name)
        except ConfigError as exc:
            tile = part["tile"][pc.index(part["modality"], name).as_py()]
            raise FormatError(f"{path}: tile {tile}: {exc}; build it again") from exc
    is_known = pc.is_in(part["state"], pa.array(STATES))
    has_ids = pc.or_(pc.is_valid(part["source_ids"]), pc.not_equal(part["state"], "done"))
    wrong = pc.index(pc.fill_null(pc.and_(is_known, has_ids), False), False).as_py()
    if wrong >= 0:
        row = part.slice(wrong, 1).to_pylist()[0]
        raise FormatError(
            f"{path}: tile {row['tile']} has {row['modality']} in the state {row['state']!r} and "
            f"of {row['source_ids']}; expected one of {', '.join(STATES)} and a list: build it "
            "again"
        )


def _asked(planned: pa.Table, tiles: pa.Array, catalogue: Catalogue) -> pa.Array:
    """Return the date that was asked for of each tile, (n,); of several tasks' the earlier's."""
    asked = pa.nulls(len(tiles), pa.string())
    dated = planned.select(["task", "tile", "date"]).filter(pc.is_valid(planned["date"]))
    for name in catalogue.tasks:
        rows = dated.filter(pc.equal(dated["task"], name)).combine_chunks()
        at = pc.index_in(tiles, rows["tile"].combine_chunks())
        asked = pc.coalesce(asked, rows["date"].combine_chunks().take(at))
    return asked


def _ordered(samples: pa.Table) -> pa.Table:
    """Return samples in the order of the manifest, with the columns `key` and `hilbert`."""
    day = pc.replace_substring(samples["day"], "-", "")
    keys = pc.binary_join_element_wise(samples["tile"], day, "_")
    lon, lat = (samples[name].to_numpy() for name in ("lon", "lat"))
    places = pa.array(row_key(lon, lat, keys.to_pylist()))
    split = pc.index_in(samples["split"], pa.array(SPLITS))
    samples = _add(samples, {"key": keys, "hilbert": places, "rank": split})
    by = [(name, "ascending") for name in ("rank", "hilbert", "key")]
    return samples.sort_by(by).drop_columns("rank").combine_chunks()


def _add(table: pa.Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table
