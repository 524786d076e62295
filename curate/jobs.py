"""Which visits are left: the plan less what the ledger has settled and the disk still holds.

What is known is compared with what is wanted by identity, so that of a plan that changed only the
difference is left. What one layer of a tile lacks can decide about its others, and so they are
looked at together; see `_follow`.

All of it is columns, a few dozen bytes a tile: a plan of millions of tiles fits in any driver.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.anchor import anchor_date
from mmearth.catalog.grid import Grid
from mmearth.catalog.store import BEFORE
from mmearth.catalog.tile import Tile, Tiles, cells_at, centres
from mmearth.curate.collect import Job
from mmearth.curate.config import BuildConfig
from mmearth.curate.identity import SCENE, Identities, is_same, why_other
from mmearth.curate.ledger import Known, Ledger
from mmearth.curate.plan import Plan

_FOLLOWED = "follows another layer"
_AT_ONCE = 8_192  # tiles that are Python objects at one time


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plan wants to be collected."""

    tiles: pa.Table
    """`tile`, `epsg`, `left`, `top` and `date` (the one its label asks for; null: any) of every
    tile, sorted by `tile`."""
    names: tuple[str, ...]
    """Modalities, then tasks with pixel-level targets: all that is wanted anywhere."""
    choice: NDArray[np.int64]
    """What is wanted of each tile: bit i stands for `names[i]`, (n,)."""
    grid: Grid
    """Of every tile."""

    def anchor(self, tile: Tile, date: str | None) -> str | None:
        """Return the anchor date, where no image will fix it; None where one may."""
        return None if "sentinel2" in self.names else anchor_date(date, tile.lat)

    def planned(self) -> Iterator[tuple[str, tuple[str, ...], str | None]]:
        """Yield each tile with the names that are wanted there and its date."""
        chosen = _chooser(self.names)
        for begin in range(0, len(self.choice), _AT_ONCE):
            tiles = self.tiles.slice(begin, _AT_ONCE)
            choice = self.choice[begin : begin + _AT_ONCE].tolist()
            columns = tiles["tile"].to_pylist(), map(chosen, choice), tiles["date"].to_pylist()
            yield from zip(*columns, strict=True)


@dataclass(frozen=True, slots=True)
class Pending:
    """The visits that are left, by tile or by cell; each pass over them makes the jobs anew."""

    wanted: Wanted
    """What they are a part of."""
    require: tuple[str, ...]
    """Modalities without which a tile makes no sample."""
    rows: NDArray[np.int64]
    """Rows of `wanted.tiles`, (n,)."""
    choice: NDArray[np.int64]
    """What is left of each: bits as in `wanted.choice`, never none, (n,)."""
    anchors: tuple[str | None, ...]
    """Dates of the Sentinel-2 images that are there already, (n,); None where there is none."""
    identities: Identities
    """What observations are known by."""

    def __len__(self) -> int:
        return len(self.rows)

    def by_cell(self) -> Pending:
        """Return the same visits in another order: those of one cell of ~100 km together."""
        columns = self.wanted.tiles.take(pa.array(self.rows))
        epsg, left, top = (columns[name].to_numpy() for name in ("epsg", "left", "top"))
        row, column = cells_at(*centres(Tiles(epsg, left, top, self.wanted.grid)))
        order = np.lexsort((top, left, epsg, column, row))
        anchors = tuple(self.anchors[i] for i in order.tolist())
        return replace(self, rows=self.rows[order], choice=self.choice[order], anchors=anchors)

    def __iter__(self) -> Iterator[Job]:
        chosen = _chooser(self.wanted.names)
        for begin in range(0, len(self.rows), _AT_ONCE):
            stretch = slice(begin, begin + _AT_ONCE)
            tiles = self.wanted.tiles.take(pa.array(self.rows[stretch])).to_pydict()
            corners = tiles["epsg"], tiles["left"], tiles["top"]
            places = map(Tile, *corners, repeat(self.wanted.grid))
            planned = self.wanted.choice[self.rows[stretch]].tolist()
            rest = self.choice[stretch].tolist(), planned, self.anchors[stretch], tiles["date"]
            for tile, choice, whole, anchor, date in zip(places, *rest, strict=True):
                names = chosen(choice)
                here = tuple(name for name in self.require if name in names)
                day = anchor or self.wanted.anchor(tile, date)
                known_by = self.identities.all_of(tile, names, date, chosen(whole))
                yield Job(tile, names, date, here, day, chosen(whole & ~choice), known_by)


def wanted(config: BuildConfig, plan: Plan) -> Wanted:
    """Return what is wanted at every tile.

    Where two tasks ask for different dates of one tile, the earlier task in the catalogue's order
    decides.
    """
    tasks = config.catalogue.tasks
    targets = tuple(name for name, task in tasks.items() if task.is_pixel)
    names = config.modalities + targets
    rank = pc.index_in(plan.table["task"], pa.array(list(tasks)))
    rows = plan.table.select(["tile", "epsg", "left", "top", "date"]).append_column("rank", rank)
    rows = rows.sort_by([("tile", "ascending"), ("rank", "ascending")]).combine_chunks()
    is_first = np.ones(rows.num_rows, dtype=np.bool_)
    is_first[1:] = pc.not_equal(rows["tile"][1:], rows["tile"][:-1])
    first, group = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    bits = [1 << names.index(task) if task in names else 0 for task in tasks]
    choice = np.full(len(first), (1 << len(config.modalities)) - 1, dtype=np.int64)
    np.bitwise_or.at(choice, group, np.array(bits, dtype=np.int64)[rows["rank"].to_numpy()])
    dated = np.flatnonzero(pc.is_valid(rows["date"]))
    asking, which = np.unique(group[dated], return_index=True)
    source = np.full(len(first), -1, dtype=np.int64)
    source[asking] = dated[which]
    dates = rows["date"].take(pa.array(source, mask=source < 0))
    tiles = rows.select(["tile", "epsg", "left", "top"]).take(pa.array(first))
    return Wanted(tiles.append_column("date", dates), names, choice, config.catalogue.grid)


@dataclass(slots=True)
class Difference:
    """How a plan differs from what a directory has."""

    why: dict[str, Counter[str]] = field(default_factory=dict)
    """Modality, or task with pixel-level targets → why it is collected → how often."""
    tiles: Counter[str] = field(default_factory=Counter)
    """How many are `new`, `kept` and `gone`."""
    unwanted: int = 0
    """Observations that the dataset had and has no more; they are kept until they are pruned."""
    unwanted_bytes: int = 0
    """Of their pixels."""
    stored: Counter[str] = field(default_factory=Counter)
    """Of those that are collected, how many a store that builds share has, by modality."""
    n_followed: int = 0
    """Tiles where something else decided than what their other layers were collected by."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        tiles = {name: self.tiles[name] for name in ("new", "kept", "gone")}
        collect = {name: dict(sorted(self.why[name].items())) for name in sorted(self.why)}
        left = {"observations": self.unwanted, "bytes": self.unwanted_bytes}
        stored = dict(sorted(self.stored.items()))
        return {"tiles": tiles, "collect": collect, "stored": stored, "unwanted": left}


Change = Callable[[list[tuple[int, str, str, str]]], None]
"""Takes note of observations that become, or cease to be, the dataset's own; see `Ledger.want`."""


def pending(
    everything: Wanted,
    identities: Identities,
    require: tuple[str, ...],
    ledger: Ledger,
    root: Path,
    change: Change | None = None,
) -> tuple[Pending, Difference]:
    """Return the visits that are left, and how the plan differs from what is there.

    Args:
        everything: What is wanted at every tile.
        identities: What observations are known by.
        require: Modalities without which a tile makes no sample.
        ledger: Knows what is settled.
        root: The dataset's directory: what was in a file that was deleted or cut short there is
            collected again.
        change: Told what becomes of observations that are known; None to change nothing.
    """
    names, difference = everything.names, Difference()
    rest = everything.choice.copy()
    anchors: dict[int, str] = {}
    same: dict[str, str] = {}  # one string for each date, however many tiles have it
    chosen, look = _chooser(names), _Look(identities, require, cache(partial(_size, root)))
    last = ""
    for begin in range(0, len(rest) + 1, _AT_ONCE):
        tiles = everything.tiles.slice(begin, _AT_ONCE)
        ids = tiles["tile"].to_pylist()
        is_end = begin + _AT_ONCE > len(rest)
        known = _by_tile(ledger.known(last, None if is_end else ids[-1]))
        columns = (tiles[name].to_pylist() for name in ("epsg", "left", "top", "date"))
        changes: list[tuple[int, str, str, str]] = []
        for i, (tile, epsg, x, y, date) in enumerate(zip(ids, *columns, strict=True), begin):
            rows = known.pop(tile, {})
            wanted_here = chosen(int(rest[i]))
            place = Tile(epsg, x, y, everything.grid)
            expected = identities.all_of(place, wanted_here, date, wanted_here)
            found = look.at(dict(zip(wanted_here, expected, strict=True)), rows, difference)
            difference.tiles["kept" if rows else "new"] += 1
            rest[i] &= ~sum(1 << k for k, name in enumerate(names) if name in found.settled)
            if (scene := found.settled.get(SCENE)) and scene.path and scene.acquired:
                anchors[i] = same.setdefault(scene.acquired, scene.acquired)
            changes += found.changes
        for rows in known.values():
            changes += _gone(rows, difference)
        if change is not None and changes:
            change(changes)
        last = ids[-1] if ids else last
    left = np.flatnonzero(rest)
    dates = tuple(map(anchors.get, left.tolist()))
    return Pending(everything, require, left, rest[left], dates, identities), difference


Rows = dict[str, list[Known]]
"""What is known of one tile, by modality."""


@dataclass(slots=True)
class _Found:
    """What of one tile is settled."""

    settled: dict[str, Known]
    """By modality."""
    changes: list[tuple[int, str, str, str]]
    """See `Change`."""


@dataclass(frozen=True, slots=True)
class _Look:
    """Compares what is known of a tile with what is wanted there."""

    identities: Identities
    require: tuple[str, ...]
    size_of: Callable[[str], int]

    def at(self, wanted: dict[str, str], rows: Rows, difference: Difference) -> _Found:
        """Return what is settled.

        Args:
            wanted: Modality → identity.
            rows: What is known.
            difference: Added to.
        """
        found = _Found({}, [])
        same: dict[str, Known] = {}
        for name, known in rows.items():
            identity = wanted.get(name)
            own = next((k for k in known if identity is not None and _is_own(k, identity)), None)
            if own is not None:
                same[name] = own
                if own.permanent and (own.path is None or self.size_of(own.path) >= (own.end or 0)):
                    found.settled[name] = own
            found.changes += _changes(known, own, difference)
        before = found.settled.copy()
        self._follow(wanted, found.settled)
        difference.n_followed += len(found.settled) < len(before)
        for name in wanted.keys() - found.settled.keys():
            why = _FOLLOWED if name in before else _why(rows, name, wanted[name], same.get(name))
            difference.why.setdefault(name, Counter())[why] += 1
        return found

    def _follow(self, wanted: dict[str, str], settled: dict[str, Known]) -> None:
        """Unsettle what was collected when another layer of the tile was not what it is now.

        A visit keeps nothing where a required layer is not there, and Earth Engine sees nothing
        where there is no scene. So where such a layer is asked for again, what was missing is, too;
        and where what was kept and what was not contradict each other, the whole tile is.
        """
        deciding = {SCENE, *self.require} & wanted.keys()
        if deciding - settled.keys():
            for name in [n for n, known in settled.items() if known.state != "done"]:
                del settled[name]
        lacking = [n for n in self.require if n in settled and settled[n].state != "done"]
        if lacking and any(known.state == "done" for known in settled.values()):
            settled.clear()
        if not lacking:
            for name in [n for n, known in settled.items() if not known.was_kept]:
                del settled[name]


def _is_own(known: Known, identity: str) -> bool:
    return is_same(known.identity, identity, known.state == "done")


def _changes(
    known: list[Known], own: Known | None, difference: Difference
) -> list[tuple[int, str, str, str]]:
    """Return which rows of one tile and modality become the dataset's own, or cease to be."""
    changes = []
    for each in known:
        if each.wanted != (each is own):
            changes.append((int(each is own), each.tile, each.modality, each.identity))
            if each.wanted and each.state == "done":
                difference.unwanted += 1
                difference.unwanted_bytes += each.nbytes
    return changes


def _gone(rows: Rows, difference: Difference) -> list[tuple[int, str, str, str]]:
    """Return the changes of a tile that is not planned any more."""
    changes = [each for known in rows.values() for each in _changes(known, None, difference)]
    difference.tiles["gone"] += bool(changes)
    return changes


def _why(rows: Rows, name: str, identity: str, own: Known | None) -> str:
    """Return why a modality of a tile is collected."""
    if not rows:
        return "new tile"
    if name not in rows:
        return "new layer"
    if own is None:
        known = next((each for each in rows[name] if each.wanted), rows[name][-1])
        return why_other(known.identity, identity)
    return "lost" if own.permanent else "failed before"


def _by_tile(known: Iterable[Known]) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for each in known:
        found.setdefault(each.tile, {}).setdefault(each.modality, []).append(each)
    return found


def _chooser(names: tuple[str, ...]) -> Callable[[int], tuple[str, ...]]:
    """Return the function from bits to the names that they stand for."""

    @cache
    def chosen(bits: int) -> tuple[str, ...]:
        return tuple(name for i, name in enumerate(names) if bits >> i & 1)

    return chosen


def _size(root: Path, path: str) -> int:
    """Return the bytes of a pack or shard, wherever it is read from; -1 where there is none."""
    places = Path(root, path), Path(root, BEFORE, path)
    return max((place.stat().st_size for place in places if place.is_file()), default=-1)
