"""What is left to visit: compared with plain sets, over more tiles than are looked at together."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.store import BEFORE
from mmearth.catalog.tile import Tile
from mmearth.curate.jobs import Wanted, pending
from mmearth.curate.ledger import Ledger, Record

_N = 20_000
_NAMES = ("sentinel2", "month", "biomass")


def _wanted(n: int) -> Wanted:
    """Return a plan in which every third tile has a pixel-level target and every fifth a date."""
    tiles = sorted((Tile(32633, 10 * i, 10 * i + 50) for i in range(n)), key=lambda tile: tile.id)
    columns = {
        "tile": [tile.id for tile in tiles],
        "epsg": [tile.epsg for tile in tiles],
        "left": [tile.left for tile in tiles],
        "top": [tile.top for tile in tiles],
        "date": ["2019-01-01" if i % 5 == 0 else None for i in range(n)],
    }
    choice = np.array([0b111 if i % 3 == 0 else 0b011 for i in range(n)], dtype=np.int64)
    return Wanted(pa.table(columns), _NAMES, choice, DEFAULT_GRID)


def test_what_is_left_is_the_plan_less_what_is_settled(tmp_path: Path) -> None:
    generator, settled, anchors = random.Random(1), set(), {}
    (tmp_path / "a.pack").write_bytes(b"x")
    place: dict[str, Any] = {"path": "a.pack", "byte_offset": 0, "bytes": 1}
    everything = _wanted(_N)
    with Ledger(tmp_path) as ledger:
        records = []
        for tile, names, _ in everything.planned():
            for name in names:
                luck = generator.random()
                if luck < 0.4:
                    acquired = f"2020-06-{generator.randint(1, 30):02d}"
                    records.append(Record(tile, name, "done", **place, acquired=acquired))
                    settled.add((tile, name))
                    if name == "sentinel2":
                        anchors[tile] = acquired
                elif luck < 0.6:
                    records.append(Record(tile, name, "missing"))
                    settled.add((tile, name))
                elif luck < 0.8:
                    records.append(Record(tile, name, "failed", permanent=False))
        ledger.record([*records, Record("32633_0_5", "month", "done", **place)])
        jobs = pending(everything, ("sentinel2",), ledger, tmp_path)
    expected = [
        (
            *(tile, left, date, left[:1] if "sentinel2" in left else ()),
            *(anchors.get(tile), tuple(name for name in names if name not in left)),
        )
        for tile, names, date in everything.planned()
        if (left := tuple(name for name in names if (tile, name) not in settled))
    ]
    assert [
        (job.tile.id, job.wanted, job.date, job.require, job.anchor, job.settled) for job in jobs
    ] == expected
    assert len(jobs) == len(expected) > 8_192
    assert next(iter(jobs)) == next(iter(jobs))  # every pass begins at the beginning


def test_what_a_file_lost_is_asked_for_again(tmp_path: Path) -> None:
    everything = _wanted(4)
    (tmp_path / "a.pack").write_bytes(b"abcdef")
    # The end of the third and all of the fourth are not there; the first is aside, in a build.
    aside = tmp_path / BEFORE / "shards" / "a.tar"
    aside.parent.mkdir(parents=True)
    aside.write_bytes(b"abc")
    places = (("shards/a.tar", 0), ("a.pack", 3), ("a.pack", 4), ("b.pack", 0))
    with Ledger(tmp_path) as ledger:
        for (tile, _, _), (path, at) in zip(everything.planned(), places, strict=True):
            found = Record(tile, "month", "done", path=path, byte_offset=at, bytes=3)
            ledger.record([found, Record(tile, "biomass", "missing")])
        jobs = pending(everything, (), ledger, tmp_path)
        assert [job.wanted for job in jobs] == [
            ("sentinel2",),
            ("sentinel2",),
            ("sentinel2", "month"),
            ("sentinel2", "month"),
        ]


def test_without_sentinel2_the_plan_settles_the_date(tmp_path: Path) -> None:
    planned = _wanted(6)
    everything = replace(planned, names=("month", "biome", "biomass"))
    with Ledger(tmp_path) as ledger:
        anchors = [job.anchor for job in pending(everything, (), ledger, tmp_path)]
    # Every fifth label asks for a day; the centres of the tiles are south of the equator.
    dates = planned.tiles["date"].to_pylist()
    assert anchors == [date or "2020-02-15" for date in dates]
    assert {"2019-01-01", "2020-02-15"} == set(anchors)


def test_nothing_is_planned(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([Record("32633_0_0", "month", "missing")])
        jobs = pending(_wanted(0), (), ledger, tmp_path)
        ledger.keep_only(_wanted(0).planned())
        assert ledger.is_empty()
    assert len(jobs) == 0
    assert list(jobs) == []
