"""Two datasets of one catalogue become one: their tables joined, their shards packed together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import CATALOGUE, Catalogue, read_catalogue, write_catalogue
from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.errors import ConfigError, storage_errors
from mmearth.catalog.executor import Workers
from mmearth.catalog.files import sha256_bytes
from mmearth.catalog.progress import Progress, silent
from mmearth.catalog.schema import (
    OBSERVATIONS,
    manifest_path,
    read_table,
    tiles_schema,
    write_table,
)
from mmearth.catalog.splits import LEFT_OUT, default
from mmearth.catalog.store import BEFORE
from mmearth.catalog.tile import Tiles
from mmearth.curate.overlap import keep_apart
from mmearth.packaging.build import Built
from mmearth.packaging.diff import differs
from mmearth.packaging.rebuild import rebuild, write_card

_BEGUN = ".curate/merge"
_ADVICE = "deal all splits anew with --redeal, which leaves one of them out"


def merge(
    sources: tuple[Path, Path],
    out: Path,
    redeal: bool = False,
    workers: Workers | None = None,
    progress: Progress = silent,
) -> tuple[Built, str]:
    """Write the dataset of two, proved member by member as it is packed.

    What both have of a tile is kept once, as the first has it; it must have the same date and
    target, and be in the same split. Tiles of one task that touch without being the same must be in
    one split.

    Args:
        sources: The datasets, sealed, of one catalogue. The first one's card is kept.
        out: The directory of the new one; must be empty, or what an interrupted merge left.
        redeal: Deal all tiles by the default rule and the first dataset's seed; of tiles that
            touch the one with most conflicts is left out.
        workers: Who writes shards; None for one.
        progress: Told about every step.

    Returns:
        What packaging made, and the dataset's hash.

    Raises:
        ConfigError: They cannot be joined, or `out` holds something else.
        FormatError, IntegrityError: One is damaged.
        StorageError: The disk is full.
    """
    catalogue = _catalogue_of(*sources)
    cards = [DatasetCard.from_json(read_dataset(root)) for root in sources]
    _refuse_foreign(out)
    tables = [read_table(root / "tiles.parquet", root=root) for root in sources]
    tiles = _joined_tiles(tables, catalogue, cards[0].seed, redeal)
    shutil.rmtree(out, ignore_errors=True)
    with storage_errors(f"write {out}"):
        (out / _BEGUN).mkdir(parents=True)
    write_catalogue(out, catalogue)
    schema = tiles_schema(catalogue.tasks.values())
    write_table(tiles, out / "tiles.parquet", schema)
    write_table(_joined_observations(sources, tiles), out / "observations.parquet", OBSERVATIONS)
    for number, root in enumerate(sources):
        _put_aside(root, out, number)
    _join_manifests(out, sources, catalogue)
    write_card(out, _joined_card(*cards))
    found = rebuild(out, workers, progress)
    shutil.rmtree(out / ".curate")
    return found


def _catalogue_of(first: Path, second: Path) -> Catalogue:
    ours, theirs = read_catalogue(first), read_catalogue(second)
    if ours == theirs:
        return ours
    raise ConfigError(
        f"{first} and {second} have unlike {CATALOGUE}; expected the same grid, layers, tasks and "
        f"codec: `mmearth packaging diff {first} {second}` tells what differs"
    )


def _joined_card(first: DatasetCard, second: DatasetCard) -> DatasetCard:
    """Return the first one's card, with what is of both."""
    sources = dict.fromkeys((first.source, second.source))
    configs = f"{first.config_sha256} {second.config_sha256}"
    return replace(
        first,
        source=" and ".join(sources),
        config_sha256=sha256_bytes(configs.encode()),
        require=tuple(name for name in first.require if name in second.require),
    )


def _refuse_foreign(out: Path) -> None:
    """Refuse a directory that a merge did not begin."""
    if out.exists() and not (out / _BEGUN).is_dir():
        found = next(iter(sorted(out.iterdir())), None) if out.is_dir() else out
        if found is not None:
            raise ConfigError(f"{out} holds {found.name}; choose an empty directory")


def _joined_tiles(
    tables: list[pa.Table], catalogue: Catalogue, seed: int, redeal: bool
) -> pa.Table:
    """Return tiles.parquet of both, or say why there is none."""
    joined = _of_first(tables, ["task", "tile"])
    targets = {task.column for task in catalogue.tasks.values() if not task.is_pixel}
    for column in ("date", *sorted(targets), *(() if redeal else ("split",))):
        _refuse_other(tables, column)
    parts = []
    for task in catalogue.tasks:
        mine = joined.filter(pc.equal(joined["task"], task))
        tiles = Tiles.parse(mine["tile"], catalogue.grid)
        parts.append(_dealt(mine, tiles, seed) if redeal else _apart(mine, tiles, task))
    found = pa.concat_tables(parts)
    return found.sort_by([("task", "ascending"), ("tile", "ascending")])


def _joined_observations(sources: tuple[Path, Path], tiles: pa.Table) -> pa.Table:
    """Return observations.parquet of both, for these tiles."""
    wanted = pc.unique(tiles["tile"])
    tables = []
    for root in sources:
        table = read_table(root / "observations.parquet", root=root)
        tables.append(table.filter(pc.is_in(table["tile"], wanted)))
    keys = [pc.binary_join_element_wise(t["tile"], t["modality"], " ") for t in tables]
    done = [pc.equal(t["state"], "done") for t in tables]
    at = pc.index_in(keys[0].filter(done[0]), keys[1].filter(done[1]).combine_chunks())
    was = tables[0].filter(done[0]).filter(pc.is_valid(at))
    now = tables[1].filter(done[1]).take(pc.drop_null(at))
    for name in ("sha256", "source", "acquired", "expression"):
        if other := was.filter(differs(was[name], now[name])).slice(0, 1).to_pylist():
            raise ConfigError(
                f"{other[0]['modality']} of tile {other[0]['tile']} is in both, with another "
                f"{name}: which one is right cannot be told; leave the tile out of one of them, or "
                "build both with the same source (`mmearth packaging diff` lists all)"
            )
    # What one of them lacks the other may have.
    has = pc.is_in(keys[0], keys[1].filter(done[1]).combine_chunks())
    return _of_first(
        [tables[0].filter(pc.or_(done[0], pc.invert(has))), tables[1]], ["tile", "modality"]
    )


def _of_first(tables: list[pa.Table], by: list[str]) -> pa.Table:
    """Return the rows of both, the first one's where both have one; sorted."""
    keys = [pc.binary_join_element_wise(*(t[name] for name in by), " ") for t in tables]
    new = pc.invert(pc.is_in(keys[1], keys[0].combine_chunks()))
    joined = pa.concat_tables([tables[0], tables[1].filter(new)], promote_options="default")
    return joined.sort_by([(name, "ascending") for name in by])


def _refuse_other(tables: list[pa.Table], column: str) -> None:
    """Refuse a tile of one task that the two datasets have otherwise."""
    keys = [pc.binary_join_element_wise(t["task"], t["tile"], " ") for t in tables]
    at = pc.index_in(keys[0], keys[1].combine_chunks())
    was = tables[0][column].filter(pc.is_valid(at))
    now = tables[1][column].take(pc.drop_null(at))
    other = differs(was, now)
    if differing := keys[0].filter(pc.is_valid(at)).filter(other).to_pylist():
        task, tile = differing[0].split(" ")
        values = was.filter(other)[0].as_py(), now.filter(other)[0].as_py()
        advice = _ADVICE if column == "split" else "leave the tile out of one of them"
        raise ConfigError(
            f"{len(differing)} tiles are in both with another {column}, such as {tile} of {task}: "
            f"{values[0]} and {values[1]}; {advice}"
        )


def _apart(mine: pa.Table, tiles: Tiles, task: str) -> pa.Table:
    """Return the tiles of a task of which none touches one of another split."""
    splits = np.array(mine["split"].to_pylist(), np.str_)
    stays = keep_apart(tiles)
    for i in np.flatnonzero(~stays).tolist():
        others = [j for j in _touching(tiles, i) if splits[j] != splits[i]]
        if others:
            raise ConfigError(
                f"tiles {tiles[i].id} ({splits[i]}) and {tiles[others[0]].id} "
                f"({splits[others[0]]}) of {task} overlap; {_ADVICE}"
            )
    return mine.filter(pa.array(stays))


def _touching(tiles: Tiles, i: int) -> Iterator[int]:
    """Yield the tiles that overlap one, beside itself."""
    near = np.flatnonzero(
        (tiles.epsg == tiles[i].epsg)
        & (np.abs(tiles.left - tiles[i].left) < 2 * tiles[i].grid.side_m)
        & (np.abs(tiles.top - tiles[i].top) < 2 * tiles[i].grid.side_m)
    )
    for j in near.tolist():
        if j != i and not keep_apart([tiles[i], tiles[j]]).all():
            yield j


def _dealt(mine: pa.Table, tiles: Tiles, seed: int) -> pa.Table:
    """Return a task's tiles dealt anew by the default rule, none touching another."""
    stays = keep_apart(tiles)
    mine, tiles = mine.filter(pa.array(stays)), tiles[np.flatnonzero(stays)]
    assignment = default(tiles, seed)
    for name in ("split", "train_5", "train_50"):
        at, kind = mine.column_names.index(name), mine.schema.field(name)
        mine = mine.set_column(at, kind, pa.array(getattr(assignment, name).tolist(), kind.type))
    return mine.filter(pc.not_equal(mine["split"], LEFT_OUT))


def _put_aside(root: Path, out: Path, number: int) -> None:
    """Give the new dataset a dataset's shards to read from: hard links, or copies elsewhere."""
    for path in sorted((root / "shards").rglob("*.tar")):
        into = out / BEFORE / "shards" / str(number) / path.relative_to(root / "shards")
        with storage_errors(f"write {into}"):
            into.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, into)
            except OSError:
                shutil.copyfile(path, into)


def _join_manifests(out: Path, sources: tuple[Path, Path], catalogue: Catalogue) -> None:
    """Write manifests that say where in those shards everything is; of both, the first's last."""
    for task in catalogue.tasks:
        path, parts = manifest_path(task), []
        for number, root in reversed([*enumerate(sources)]):
            table = pq.read_table(root / path, partitioning=None)
            there = f"shards/{number}/"
            shards = pc.replace_substring(table["shard"], "shards/", there, max_replacements=1)
            at = table.column_names.index("shard")
            parts.append(table.set_column(at, "shard", shards))
        joined = pa.concat_tables(parts, promote_options="default")
        into = out / BEFORE / path
        with storage_errors(f"write {into}"):
            into.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(joined.replace_schema_metadata(parts[0].schema.metadata), into)
