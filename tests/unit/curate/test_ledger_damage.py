"""A ledger whose bytes have changed: one sentence or the rows that are whole, never a wrong row."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.errors import FormatError, MMEarthError
from mmearth.catalog.observed import Observed, open_observed
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.ledger import Ledger, Record
from mmearth.tests.damage import TIMES

_ROW = Record(
    tile="32633_500000_4649760",
    modality="sentinel2",
    state="done",
    path=".curate/packs/a.pack",
    byte_offset=100,
    bytes=12,
    sha256="ab" * 32,
    acquired="2020-06-01",
    valid_fraction=0.5,
    source="files",
    source_ids=("b", "a"),
    stand_in="why",
    expression="cd" * 32,
)
_MUTATIONS = 1000 * TIMES


def _make(root: Path) -> Path:
    """Make a ledger of several pages; return its file."""
    with Ledger(root) as ledger:
        for i in range(60):
            left = 500_000 + 1280 * i
            here = replace(_ROW, tile=f"32633_{left}_4649760")
            ledger.record([here, replace(here, modality="biome", state="failed", reason="big")])
    return root / LEDGER


def _rows(ledger: Ledger) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [row for part in ledger.export() for row in part.to_pylist()]
    return rows


def _seen(root: Path) -> set[Observed]:
    """Return what packaging reads, as long as no row of it is damaged."""
    seen = set()
    with open_observed(root, MMEARTH_BENCH) as observed, suppress(MMEarthError):
        for row in observed.here():
            seen.add(row)
    return seen


def _edit(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "change",
    [
        "state = 'missing'",
        "source = 'other'",
        "acquired = '2021-06-01'",
        "valid_fraction = 0.25",
        "permanent = 0",
        "reason = x'ff'",
        "path = NULL",
        "byte_offset = 101",
        "\"values\" = '[1]'",
        'source_ids = \'["b", "c"]\'',
    ],
)
def test_a_changed_row_is_forgotten(change: str, tmp_path: Path) -> None:
    path = _make(tmp_path)
    _edit(path, f"UPDATE observations SET {change} WHERE tile LIKE '%500000%' AND state = 'done'")
    with Ledger.reading(tmp_path) as ledger:
        assert ledger.n_damaged() == 1
    with Ledger(tmp_path) as ledger:
        assert ledger.drop_damaged() == 1
        assert len(_rows(ledger)) == 119
        assert ledger.drop_damaged() == 0


def test_a_failure_that_is_pending_again_is_no_damage(tmp_path: Path) -> None:
    _make(tmp_path)
    with Ledger(tmp_path) as ledger:
        assert ledger.retry(permanent=None) == 60
        assert ledger.n_damaged() == 0
        ledger.record([_ROW])
        assert ledger.n_damaged() == 0


def test_rows_out_of_order_cannot_be_deleted(tmp_path: Path) -> None:
    """SQLite finds the second row to delete by its key, among rows that it takes for sorted."""
    with Ledger(tmp_path) as ledger:
        ledger.record([_ROW, replace(_ROW, modality="biome")])
    path = tmp_path / LEDGER
    data = bytearray(path.read_bytes().replace(b"done", b"gone"))
    size = int.from_bytes(data[16:18])
    pointers = data.index(b"gone") // size * size + 8  # of a leaf to its rows, two bytes each
    data[pointers : pointers + 4] = (
        data[pointers + 2 : pointers + 4] + data[pointers : pointers + 2]
    )
    path.write_bytes(data)
    with Ledger(tmp_path) as ledger, pytest.raises(FormatError, match="rows cannot be deleted"):
        ledger.drop_damaged()


@pytest.mark.fuzz
def test_random_damage_never_becomes_a_wrong_row(tmp_path: Path) -> None:
    whole = _make(tmp_path / "whole").read_bytes()
    with Ledger.reading(tmp_path / "whole") as ledger:
        expected, here = {repr(row) for row in _rows(ledger)}, _seen(tmp_path / "whole")
    assert len(here) == 60
    draw, refused, kept = random.Random(3), 0, 0
    for i in range(_MUTATIONS):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 1, 1, 4, 64))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        root = tmp_path / str(i)
        (root / LEDGER).parent.mkdir(parents=True)
        (root / LEDGER).write_bytes(damaged)
        try:
            with Ledger.reading(root) as ledger:
                ledger.counts(), list(ledger.failures()), ledger.n_damaged(), ledger.paths()
            assert _seen(root) <= here
            with Ledger(root) as ledger:
                ledger.drop_damaged()
                found = [repr(row) for row in _rows(ledger)]
            assert set(found) <= expected
            assert len(found) == len(set(found))
            kept += 1
        except MMEarthError as exc:
            assert str(root / LEDGER) in str(exc)
            refused += 1
        shutil.rmtree(root)
    assert refused > 20
    assert kept > 20


def _written(folder: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_reading_writes_nothing(tmp_path: Path) -> None:
    path = _make(tmp_path)
    before = _written(path.parent)
    with Ledger.reading(tmp_path) as ledger:
        assert ledger.counts() == [("biome", "failed", True, 60), ("sentinel2", "done", True, 60)]
    assert _written(path.parent) == before


def test_a_build_at_work_can_be_read(tmp_path: Path) -> None:
    with Ledger(tmp_path) as writer:
        writer.record([_ROW])
        with Ledger.reading(tmp_path) as ledger:
            assert ledger.counts() == [("sentinel2", "done", True, 1)]


def test_a_ledger_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / LEDGER
    path.parent.mkdir()
    _edit(path, "CREATE TABLE observations (tile TEXT, modality TEXT)")
    with pytest.raises(FormatError, match="a ledger of version 0, expected 2"):
        Ledger.reading(tmp_path)
