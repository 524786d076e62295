"""What differs between two datasets: samples, targets, layers, and why; bytes by their digests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.catalogue import Catalogue, read_catalogue
from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.errors import printable
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import OBSERVATIONS, check_columns, manifest_path, member_column
from mmearth.catalog.task import Task

_REASONS = {
    "source": "another source",
    "version": "another version of the source",
    "acquired": "another date",
    "source_ids": "other images",
    "expression": "another request",
    "stand_in": "another product stands in",
}
"""Column that says why an observation differs → in words, the first that differs counts."""
_OTHERWISE = "other bytes from the same images"


@dataclass(frozen=True, slots=True)
class Change:
    """One kind of difference."""

    what: str
    """`dataset`, `task`, `layer`, `samples`, or `layer of tiles in both`."""
    name: str
    """Of the task or the layer; of what the card or the catalogue says."""
    change: str
    """`added`, `gone` or `changed`."""
    why: str
    """In words; empty where there is nothing to say."""
    n: int
    """Samples or tiles; 1 of anything else."""
    first: str
    """One of them: a tile, or what was and what is."""


def diff(a: Path, b: Path) -> list[Change]:
    """Return how the second dataset differs from the first; nothing where they are equal.

    Samples are compared by task and tile, layers by tile over the tiles that both have; values by
    their digests, so members in two codecs are not compared.

    Raises:
        ConfigError: One is no finished dataset.
        FormatError: A table is missing or damaged.
    """
    cards = [DatasetCard.from_json(read_dataset(root)) for root in (a, b)]
    catalogues = read_catalogue(a), read_catalogue(b)
    found = [*_of_cards(*cards), *_of_catalogues(*catalogues)]
    for name in catalogues[0].tasks:
        if name in catalogues[1].tasks:
            found += _of_samples(a, b, catalogues[0].task(name), catalogues[1].task(name))
    for name in _observed(catalogues[0]):
        if name in _observed(catalogues[1]):
            found += _of_layer(a, b, catalogues, name)
    return found


def _observed(catalogue: Catalogue) -> list[str]:
    pixels = [task.name for task in catalogue.tasks.values() if task.is_pixel]
    return [*catalogue.layers, *pixels]


def _of_cards(a: DatasetCard, b: DatasetCard) -> Iterator[Change]:
    for each in fields(DatasetCard):
        if each.name in ("tasks", "modalities", "config_sha256"):
            continue  # the catalogue says it; how a file was written makes no difference by itself
        was, now = getattr(a, each.name), getattr(b, each.name)
        if was != now:
            yield _said("dataset", each.name, was, now)


def _of_catalogues(a: Catalogue, b: Catalogue) -> Iterator[Change]:
    for name, was, now in (("grid", a.grid, b.grid), ("codec", a.codec.name, b.codec.name)):
        if was != now:
            yield _said("dataset", name, was, now)
    for what, ours, theirs in (("task", a.tasks, b.tasks), ("layer", a.layers, b.layers)):
        yield from (Change(what, name, "gone", "", 1, "") for name in ours if name not in theirs)
        yield from (Change(what, name, "added", "", 1, "") for name in theirs if name not in ours)
        for name in ours:
            if name in theirs and ours[name] != theirs[name]:
                yield Change(what, name, "changed", "catalogue.json says otherwise", 1, "")


def _said(what: str, name: str, was: object, now: object) -> Change:
    return Change(what, name, "changed", "", 1, printable(f"{was} → {now}"))


def _of_samples(a: Path, b: Path, ours: Task, theirs: Task) -> Iterator[Change]:
    """Compare the samples of a task by tile."""
    columns = ["tile", "date", "split", "train_5", "train_50", "label_id"]
    target = {ours.column} & {theirs.column} if not ours.is_pixel else set()
    path, wanted = manifest_path(ours.name), [*columns, *target]
    was, now = (_read(root / path, wanted) for root in (a, b))
    was, now, gone, added = _aligned(was, now)
    yield from _some("samples", ours.name, "gone", "", gone)
    yield from _some("samples", ours.name, "added", "", added)
    whys = {"date": "another date", "split": "another split", "label_id": "another label"}
    whys |= {"train_50": "another subset", "train_5": "another subset"}
    whys |= dict.fromkeys(target, "another target")
    for why in dict.fromkeys(whys.values()):
        masks = [differs(was[c], now[c]) for c, each in whys.items() if each == why]
        yield from _some("samples", ours.name, "changed", why, was["tile"].filter(_any(masks)))


def _of_layer(
    a: Path, b: Path, catalogues: tuple[Catalogue, Catalogue], name: str
) -> Iterator[Change]:
    """Compare what both saw of a layer, at the tiles that both have."""
    what, columns = "layer of tiles in both", [*OBSERVATIONS.names]
    path, filters = "observations.parquet", [("modality", "=", name)]
    was, now = (_read(root / path, columns, filters) for root in (a, b))
    was, now, _, _ = _aligned(was, now)
    done = [pc.equal(each["state"], "done") for each in (was, now)]
    both = pc.and_(*done)
    gone, added = pc.and_not(done[0], done[1]), pc.and_not(done[1], done[0])
    yield from _some(what, name, "gone", "", was["tile"].filter(gone))
    yield from _some(what, name, "added", "", was["tile"].filter(added))
    layer = catalogues[0].observed(name)
    if layer.is_pixel:
        if catalogues[0].codec != catalogues[1].codec:
            return
        other = differs(was["sha256"], now["sha256"])
    else:
        other = pc.is_in(was["tile"], _other_values(a, b, catalogues, layer))
    changed = pc.and_(both, other)
    yield from _with_reasons(name, was.filter(changed), now.filter(changed))


def _with_reasons(name: str, was: pa.Table, now: pa.Table) -> Iterator[Change]:
    what, tiles = "layer of tiles in both", np.array(was["tile"].to_pylist(), object)
    if not len(tiles):
        return
    names = [[str(s).rpartition(" ")[0] for s in each["source"].to_pylist()] for each in (was, now)]
    another = np.array(names[0]) != np.array(names[1])
    masks = [another, _np(differs(was["source"], now["source"]))]
    masks += [_np(differs(was[column], now[column])) for column in [*_REASONS][2:]]
    why = np.select(masks, [*_REASONS.values()], _OTHERWISE)
    for each in (*_REASONS.values(), _OTHERWISE):
        yield from _some(what, name, "changed", each, pa.array(tiles[why == each].tolist()))


def _other_values(
    a: Path, b: Path, catalogues: tuple[Catalogue, Catalogue], layer: Layer
) -> pa.Array:
    """Return the tiles at which a layer without pixels has other values, in any task."""
    tiles: set[str] = set()
    column = f"{member_column(layer)}.values"
    for task in catalogues[0].tasks:
        if task in catalogues[1].tasks:
            paths, wanted = [root / manifest_path(task) for root in (a, b)], ["tile", column]
            was, now = (pq.read_table(p, columns=wanted, partitioning=None) for p in paths)
            was, now, _, _ = _aligned(was, now)
            tiles.update(was["tile"].filter(differs(was.column(1), now.column(1))).to_pylist())
    return pa.array(sorted(tiles), pa.string())


def _read(path: Path, columns: list[str], filters: Any = None) -> pa.Table:
    """Return columns of a table of ours, those that it has."""
    there = check_columns(path, ()).names
    wanted = [column for column in columns if column in there]
    return pq.read_table(path, columns=wanted, filters=filters, partitioning=None)


def _aligned(a: pa.Table, b: pa.Table) -> tuple[pa.Table, pa.Table, pa.Array, pa.Array]:
    """Return the rows of tiles that both have, in one order, then the tiles of one alone."""
    at = pc.index_in(a["tile"], b["tile"].combine_chunks())
    ours, theirs = a.filter(pc.is_valid(at)), b.take(pc.drop_null(at))
    gone = a["tile"].filter(pc.is_null(at))
    added = b["tile"].filter(pc.invert(pc.is_in(b["tile"], a["tile"].combine_chunks())))
    return ours, theirs, gone, added


def differs(a: pa.ChunkedArray, b: pa.ChunkedArray) -> pa.Array:
    """Return where two columns differ; null is a value of its own."""
    if a.type != b.type or pa.types.is_nested(a.type):
        pairs = zip(a.to_pylist(), b.to_pylist(), strict=True)
        return pa.array([x != y for x, y in pairs], pa.bool_())
    one_null = pc.xor(pc.is_null(a), pc.is_null(b))
    return pc.fill_null(pc.or_kleene(one_null, pc.not_equal(a, b)), False)


def _any(masks: Iterable[Any]) -> Any:
    found = None
    for mask in masks:
        found = mask if found is None else pc.or_(found, mask)
    return found


def _np(mask: Any) -> NDArray[np.bool_]:
    return np.asarray(mask.to_pylist(), np.bool_)


def _some(what: str, name: str, change: str, why: str, tiles: Any) -> Iterator[Change]:
    if n := len(tiles):
        yield Change(what, name, change, why, n, printable(str(tiles[0])))
