"""What is left to visit: compared with plain sets, over more tiles than are looked at together."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmearth.catalog.grid import DEFAULT_GRID
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.store import BEFORE
from mmearth.catalog.tile import Tile
from mmearth.curate.identity import Identities
from mmearth.curate.jobs import Difference, Pending, Wanted, pending
from mmearth.curate.ledger import Ledger, Record
from mmearth.curate.sources.synthetic import Synthetic

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


def _pending(
    everything: Wanted, require: tuple[str, ...], ledger: Ledger, root: Path
) -> tuple[Pending, Difference]:
    return pending(everything, _identities(require), require, ledger, root)


def _identities(require: tuple[str, ...]) -> Identities:
    return Identities(MMEARTH_BENCH, Synthetic(1), require)


def _known_by(
    tile: str, names: tuple[str, ...], date: str | None, require: tuple[str, ...] = ()
) -> dict[str, str]:
    place = Tile.parse(tile, DEFAULT_GRID)
    found = _identities(require).all_of(place, names, date, names)
    return dict(zip(names, found, strict=True))


def _left(states: dict[str, str]) -> set[str]:
    """Return what of a tile is asked for again, where sentinel2 is required."""
    left = {name for name, state in states.items() if state in ("", "later")}
    if "sentinel2" in left:
        left |= {name for name, state in states.items() if state == "missing"}
    elif states["sentinel2"] == "missing" and "done" in states.values():
        left = set(states)
    return left


def test_what_is_left_is_the_plan_less_what_is_settled(tmp_path: Path) -> None:
    generator, states, anchors = random.Random(1), {}, {}
    (tmp_path / "a.pack").write_bytes(b"x")
    place: dict[str, Any] = {"path": "a.pack", "byte_offset": 0, "bytes": 1}
    everything, require = _wanted(_N), ("sentinel2",)
    with Ledger(tmp_path) as ledger:
        records = []
        for tile, names, date in everything.planned():
            identities = _known_by(tile, names, date, require)
            states[tile] = dict.fromkeys(names, "")
            for name in names:
                luck = generator.random()
                base = Record(tile, name, "missing", identity=identities[name])
                if luck < 0.4:
                    acquired = f"2020-06-{generator.randint(1, 30):02d}"
                    records.append(replace(base, state="done", **place, acquired=acquired))
                    if name == "sentinel2":
                        anchors[tile] = acquired
                elif luck < 0.6:
                    records.append(base)
                elif luck < 0.8:
                    records.append(replace(base, state="failed", permanent=False))
                else:
                    continue
                state = records[-1].state
                states[tile][name] = "later" if state == "failed" else state
        ledger.record([*records, Record("32633_0_5", "month", "done", **place)])
        jobs, difference = _pending(everything, require, ledger, tmp_path)
    expected = [
        (
            *(tile, left, date, left[:1] if "sentinel2" in left else ()),
            *(
                None if "sentinel2" in left else anchors.get(tile),
                tuple(name for name in names if name not in left),
            ),
        )
        for tile, names, date in everything.planned()
        if (left := tuple(name for name in names if name in _left(states[tile])))
    ]
    assert [
        (job.tile.id, job.wanted, job.date, job.require, job.anchor, job.settled) for job in jobs
    ] == expected
    assert len(jobs) == len(expected) > 8_192
    assert next(iter(jobs)) == next(iter(jobs))  # every pass begins at the beginning
    new = sum(not any(found.values()) for found in states.values())
    assert difference.tiles == {"new": new, "kept": _N - new, "gone": 1}
    told = sum((counts for counts in difference.why.values()), Counter())
    assert told["failed before"] > 1_000 < told["new layer"] and told["follows another layer"] > 100
    assert sum(told.values()) == sum(len(job[1]) for job in expected)


def test_what_a_file_lost_is_asked_for_again(tmp_path: Path) -> None:
    everything = _wanted(4)
    (tmp_path / "a.pack").write_bytes(b"abcdef")
    # The end of the third and all of the fourth are not there; the first is aside, in a build.
    aside = tmp_path / BEFORE / "shards" / "a.tar"
    aside.parent.mkdir(parents=True)
    aside.write_bytes(b"abc")
    places = (("shards/a.tar", 0), ("a.pack", 3), ("a.pack", 4), ("b.pack", 0))
    with Ledger(tmp_path) as ledger:
        for (tile, names, date), (path, at) in zip(everything.planned(), places, strict=True):
            known = _known_by(tile, names, date)
            found = Record(tile, "month", "done", path=path, byte_offset=at, bytes=3)
            ledger.record([replace(found, identity=known["month"])])
        jobs, difference = _pending(everything, (), ledger, tmp_path)
    assert [set(job.wanted) - {"biomass"} for job in jobs] == [
        *[{"sentinel2"}] * 2,
        *[{"sentinel2", "month"}] * 2,
    ]
    assert difference.why["month"] == {"lost": 2}


def test_what_is_known_by_something_else_is_asked_for_again_and_told(tmp_path: Path) -> None:
    everything = _wanted(1)
    ((tile, names, date),) = everything.planned()
    known, month = _known_by(tile, names, date), {"tile": tile, "modality": "month"}
    rest = {name: Record(tile, name, "done", identity=known[name]) for name in names}
    codec, asked, layer, source, *others = known["month"].split(".")
    for why, identity in {
        "codec changed": [f"blosc{codec}", asked, layer, source, *others],
        "date changed": [codec, "0", layer, source, *others],
        "layer changed": [codec, asked, "0", source, *others],
        "recipe or source changed": [codec, asked, layer, "0", *others],
        "sentinel2 changed": [codec, asked, layer, source, "0", *others[1:]],
        "file changed": [codec, asked, layer, source, others[0], "0", others[2]],
    }.items():
        with Ledger(tmp_path / why) as ledger:
            stale = replace(rest["month"], identity=".".join(identity), values="[1.0]")
            ledger.record([*(rest[name] for name in names if name != "month"), stale])
            jobs, difference = pending(
                everything, _identities(()), (), ledger, tmp_path, ledger.want
            )
            assert [job.wanted for job in jobs] == [("month",)]
            assert difference.why == {"month": {why: 1}}
            assert (difference.unwanted, ledger.unwanted()) == (1, (1, 0))
            ledger.record([rest["month"]])
            assert not _pending(everything, (), ledger, tmp_path)[0]
    # Another way why something is not there is of no account for what is.
    other = ".".join([codec, asked, layer, source, *others[:2], "0"])
    for state, left in (("done", 0), ("missing", 1)):
        with Ledger(tmp_path / state) as ledger:
            found = Record(**month, state=state, identity=other)
            ledger.record([*(rest[name] for name in names if name != "month"), found])
            assert len(_pending(everything, (), ledger, tmp_path)[0]) == left


def test_without_sentinel2_the_plan_settles_the_date(tmp_path: Path) -> None:
    planned = _wanted(6)
    everything = replace(planned, names=("month", "biome", "biomass"))
    with Ledger(tmp_path) as ledger:
        anchors = [job.anchor for job in _pending(everything, (), ledger, tmp_path)[0]]
    # Every fifth label asks for a day; the centres of the tiles are south of the equator.
    dates = planned.tiles["date"].to_pylist()
    assert anchors == [date or "2020-02-15" for date in dates]
    assert {"2019-01-01", "2020-02-15"} == set(anchors)


def test_nothing_is_planned(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([Record("32633_0_0", "month", "missing")])
        jobs, difference = pending(_wanted(0), _identities(()), (), ledger, tmp_path, ledger.want)
        assert ledger.unwanted() == (1, 0)
    assert difference.tiles == {"gone": 1}
    assert len(jobs) == 0
    assert list(jobs) == []
