"""Which visits are left: the plan less what the ledger has settled and the disk still holds.

All of it is columns, a few dozen bytes a tile: a plan of millions of tiles fits in any driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import repeat
from pathlib import Path

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
from mmearth.curate.ledger import Ledger
from mmearth.curate.plan import Plan

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
                yield Job(tile, names, date, here, day, chosen(whole & ~choice))


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


def pending(everything: Wanted, require: tuple[str, ...], ledger: Ledger, root: Path) -> Pending:
    """Return the visits that are left.

    Args:
        everything: What is wanted at every tile.
        require: Modalities without which a tile makes no sample.
        ledger: Knows what is settled.
        root: The dataset's directory: what was in a file that was deleted or cut short there is
            collected again.
    """
    size_of = cache(partial(_size, root))
    bits = {name: 1 << i for i, name in enumerate(everything.names)}
    rest = everything.choice.copy()
    anchors: dict[int, str] = {}
    same: dict[str, str] = {}  # one string for each date, however many tiles have it
    for begin in range(0, len(rest), _AT_ONCE):
        tiles = everything.tiles["tile"].slice(begin, _AT_ONCE).to_pylist()
        row = dict(zip(tiles, range(begin, begin + len(tiles)), strict=True))
        for known in ledger.known(tiles[0], tiles[-1]):
            i = row.get(known.tile)
            if i is None:
                continue
            if known.modality == "sentinel2" and known.path and known.acquired:
                anchors[i] = same.setdefault(known.acquired, known.acquired)
            if known.permanent and (known.path is None or size_of(known.path) >= (known.end or 0)):
                rest[i] &= ~bits.get(known.modality, 0)
    rows = np.flatnonzero(rest)
    left = tuple(map(anchors.get, rows.tolist()))
    return Pending(everything, require, rows, rest[rows], left)


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
