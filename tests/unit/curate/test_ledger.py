"""The ledger: what it keeps, what it forgets, and what it refuses."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.schema import OBSERVATIONS
from mmearth.catalog.store import PackWriter
from mmearth.curate.ledger import Ledger, Record

_DONE = Record(
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
)
_GONE = Record("32633_500000_4649760", "eth_gch", "missing", kind="NoDataError", reason="sea")
_BAD = Record("32633_600000_4649760", "biome", "failed", kind="DataError", reason="too big")
_BUSY = replace(_BAD, modality="month", permanent=False, kind="UnavailableError", reason="busy")


def _settled(ledger: Ledger) -> set[tuple[str, str]]:
    return {(known.tile, known.modality) for known in ledger.known("", "~") if known.permanent}


def _exported(ledger: Ledger) -> pa.Table:
    return pa.concat_tables(ledger.export())


def test_it_keeps_what_it_was_told(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([_DONE, _GONE])
        ledger.record([_BAD, _BUSY])
    with Ledger.reading(tmp_path) as ledger:
        assert not ledger.is_empty()
        assert list(ledger.known(_DONE.tile, _BAD.tile)) == [
            (_DONE.tile, "eth_gch", 1, None, None, None),
            (_DONE.tile, "sentinel2", 1, _DONE.path, 112, "2020-06-01"),
            (_BAD.tile, "biome", 1, None, None, None),
            (_BAD.tile, "month", 0, None, None, None),
        ]
        assert {known.tile for known in ledger.known(_DONE.tile, _DONE.tile)} == {_DONE.tile}
        assert ledger.paths() == {_DONE.path}
        assert ledger.counts() == [
            ("biome", "failed", True, 1),
            ("eth_gch", "missing", True, 1),
            ("month", "failed", False, 1),
            ("sentinel2", "done", True, 1),
        ]


def test_it_exports_no_history(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([_BUSY])
        ledger.record([_DONE, _GONE, replace(_BUSY, state="missing", reason="late")])
        table = _exported(ledger)
    assert table.schema.equals(OBSERVATIONS)
    rows = table.to_pylist()
    assert [(row["tile"], row["modality"], row["state"]) for row in rows] == [
        (_GONE.tile, "eth_gch", "missing"),
        (_DONE.tile, "sentinel2", "done"),
        (_BUSY.tile, "month", "missing"),
    ]
    assert rows[1]["source_ids"] == ["b", "a"]
    assert rows[1]["valid_fraction"] == 0.5
    assert rows[2]["reason"] == "late"


def test_an_empty_ledger_exports_an_empty_table(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert ledger.is_empty()
        assert _exported(ledger).equals(OBSERVATIONS.empty_table())


def test_tries_are_counted_and_failures_become_pending(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        for _ in range(3):
            ledger.record([_BAD, _BUSY])
        found = list(ledger.failures())
        assert [(f["modality"], f["tries"], f["permanent"]) for f in found] == [
            ("biome", 3, True),
            ("month", 3, False),
        ]
        assert (found[0]["kind"], found[0]["reason"]) == ("DataError", "too big")
        assert ledger.retry(permanent=False) == 1
        assert _settled(ledger) == {(_BAD.tile, "biome")}
        assert ledger.retry(permanent=True) == 1
        assert _settled(ledger) == set()
        assert ledger.retry(permanent=None) == 2


def test_a_changed_plan_forgets_what_it_no_longer_wants(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([_DONE, _GONE, _BAD])
        bad = (_BAD.tile, ("biome",), None)
        ledger.keep_only([(_DONE.tile, ("sentinel2", "eth_gch"), None), bad])
        assert len(_settled(ledger)) == 3
        ledger.keep_only([(_DONE.tile, ("sentinel2",), None), bad])
        assert _settled(ledger) == {(_DONE.tile, "sentinel2"), (_BAD.tile, "biome")}
        ledger.keep_only([(_DONE.tile, ("sentinel2",), None)])
        assert _settled(ledger) == {(_DONE.tile, "sentinel2")}
        ledger.keep_only([(_DONE.tile, ("sentinel2",), "2020-07-01")])
        assert ledger.is_empty()


def test_a_name_is_not_taken_for_one_that_it_is_a_part_of(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([replace(_DONE, modality="sentinel")])
        ledger.keep_only([(_DONE.tile, ("month", "sentinel2"), None)])
        assert ledger.is_empty()


def test_a_plan_that_breaks_off_changes_nothing(tmp_path: Path) -> None:
    def planned() -> Iterator[tuple[str, tuple[str, ...], None]]:
        yield _BAD.tile, ("biome",), None
        raise KeyboardInterrupt

    with Ledger(tmp_path) as ledger:
        ledger.record([_DONE])
        with pytest.raises(KeyboardInterrupt):
            ledger.keep_only(planned())
        assert _settled(ledger) == {(_DONE.tile, "sentinel2")}
        ledger.keep_only([])
        assert ledger.is_empty()


def test_a_tile_whose_date_stays_is_kept(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        plan = [(_DONE.tile, ("sentinel2",), "2020-06-01")]
        ledger.keep_only(plan)
        ledger.record([_DONE])
        ledger.keep_only([*plan, (_BAD.tile, ("biome",), "2020-06-02")])
        assert not ledger.is_empty()
        ledger.keep_only([(_DONE.tile, ("sentinel2",), None)])
        assert ledger.is_empty()


def test_what_cannot_be_read_back_is_forgotten(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path)
    with Ledger(tmp_path) as ledger:
        for i in range(4):
            at = writer.add(bytes([i, i, i]))
            place = (at.path, at.byte_offset, at.nbytes, at.sha256)
            ledger.record([Record(f"tile{i}", "sentinel2", "done", True, None, None, *place)])
        ledger.record([_GONE, Record("tile1", "month", "done", values="[1.0, 0.0]")])
        assert ledger.drop_lost() == 0
        pack = tmp_path / at.path
        pack.write_bytes(b"\0\0\0\1X\1\2\2\2\3\3")  # one changed, one cut short
        assert ledger.drop_lost() == 2
        kept = [(known.tile, known.modality) for known in ledger.known("tile", "tile9")]
        assert kept == [("tile0", "sentinel2"), ("tile1", "month"), ("tile2", "sentinel2")]
        pack.unlink()
        assert ledger.drop_lost() == 2


def test_facts(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert ledger.fact("config_sha256") is None
        ledger.set_fact("config_sha256", "a")
        ledger.set_fact("config_sha256", "b")
    with Ledger(tmp_path) as ledger:
        assert ledger.fact("config_sha256") == "b"


def test_half_a_visit_is_never_kept(tmp_path: Path) -> None:
    def records() -> list[Record]:
        return [_DONE, replace(_GONE, tile=None)]  # type: ignore[arg-type]

    with Ledger(tmp_path) as ledger:
        with pytest.raises(Exception, match="NOT NULL"):
            ledger.record(records())
        assert ledger.is_empty()
        ledger.record([_DONE])
        assert not ledger.is_empty()


def test_there_is_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no build; make one with `mmearth curate build`"):
        Ledger.reading(tmp_path)
    assert not (tmp_path / ".curate").exists()


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / LEDGER
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(FormatError, match="is damaged or is not a ledger"):
        Ledger(tmp_path)


def test_a_ledger_in_use_is_said_to_be(tmp_path: Path) -> None:
    with Ledger(tmp_path) as first, Ledger(tmp_path) as second:
        second._db.execute("PRAGMA busy_timeout=10")
        first._db.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="in use by another process"):
            second.record([_DONE])
        first._db.execute("ROLLBACK")
        second.record([_DONE])


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW observations AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) "
        "SELECT i AS tile, i AS modality FROM n",
        "CREATE TABLE other (tile)",
    ],
)
def test_a_ledger_of_somebody_else_is_a_table(tmp_path: Path, statement: str) -> None:
    path = tmp_path / LEDGER
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
    with pytest.raises(FormatError, match="is no ledger: it has no table of observations"):
        Ledger.reading(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FormatError, match="is a named pipe"):
        Ledger.reading(tmp_path)
