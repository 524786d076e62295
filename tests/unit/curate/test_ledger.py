"""The ledger: what it keeps, what it forgets, and what it refuses."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.observed_sql import LEDGER
from mmearth.catalog.schema import OBSERVATIONS
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
    return {(known.tile, known.modality) for known in ledger.known("", None) if known.permanent}


def _exported(ledger: Ledger) -> pa.Table:
    return pa.concat_tables(ledger.export())


def test_it_keeps_what_it_was_told(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([_DONE, _GONE])
        ledger.record([_BAD, _BUSY])
    with Ledger.reading(tmp_path) as ledger:
        assert not ledger.is_empty()
        assert list(ledger.known("", _BAD.tile)) == [
            (_DONE.tile, "eth_gch", "", 1, "missing", 1, 1, 0, None, None, None),
            (_DONE.tile, "sentinel2", "", 1, "done", 1, 1, 12, _DONE.path, 112, "2020-06-01"),
            (_BAD.tile, "biome", "", 1, "failed", 1, 1, 0, None, None, None),
            (_BAD.tile, "month", "", 1, "failed", 0, 1, 0, None, None, None),
        ]
        assert {known.tile for known in ledger.known(_DONE.tile, None)} == {_BAD.tile}
        assert {known.tile for known in ledger.known("", _DONE.tile)} == {_DONE.tile}
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


def test_what_is_not_wanted_is_kept_until_it_is_pruned(tmp_path: Path) -> None:
    old, new = replace(_DONE, identity="old"), replace(_DONE, identity="new", bytes=7)
    with Ledger(tmp_path) as ledger:
        ledger.record([old, _GONE])
        ledger.want([(0, old.tile, old.modality, "old")])
        ledger.record([new])
        assert ledger.unwanted() == (1, 12)
        assert [row["bytes"] for row in _exported(ledger).to_pylist()] == [None, 7]
        assert [found[-1] for found in ledger.counts()] == [1, 1]
        ledger.want([(1, old.tile, old.modality, "old"), (0, old.tile, old.modality, "new")])
        assert ledger.unwanted() == (1, 7)
        ledger.prune()
        assert ledger.unwanted() == (0, 0)
        assert [row["bytes"] for row in _exported(ledger).to_pylist()] == [None, 12]


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.record([_DONE])
        ledger._db.execute("PRAGMA user_version = 1")
    for opened in (Ledger, Ledger.reading):
        with pytest.raises(FormatError, match=r"of version 1, expected 2: use the mmearth that"):
            opened(tmp_path)


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
