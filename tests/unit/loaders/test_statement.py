"""What SQL may say: a corpus of what it may not, and that nothing on the disk has changed."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

import mmearth
from mmearth.catalog.errors import ConfigError
from mmearth.loaders.query import _gathered, views
from mmearth.loaders.statement import check_statement
from mmearth.tests.unit.loaders.sql_corpus import ALLOWED, FORBIDDEN


def digests(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a directory."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_nothing_but_the_tables_can_be_read_or_changed(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(FORBIDDEN) >= 200
    other = tmp_path / "elsewhere.csv"
    other.write_text("a,b\n1,2\n")
    monkeypatch.chdir(tmp_path)
    before = digests(small_dataset), digests(tmp_path)
    dataset = mmearth.open(small_dataset)
    places = {
        "shard": str(next((small_dataset / "shards/biomass").glob("*.tar"))),
        "manifest": str(small_dataset / "manifests/biomass.parquet"),
        "other": str(other),
        "new": str(tmp_path / "new"),
        "table": "biomass",
    }
    let_through = []
    for text in FORBIDDEN:
        try:
            dataset.sql(text.format(**places))
        except ConfigError as exc:
            assert "\n" not in str(exc), text
        else:
            let_through.append(text)
    assert not let_through
    assert (digests(small_dataset), digests(tmp_path)) == before


def test_ordinary_questions_are_answered(small_dataset: Path) -> None:
    dataset = mmearth.open(small_dataset)
    for text in ALLOWED:
        assert dataset.sql(text.format(table="soil_pH")).num_columns > 0, text


def test_the_text_that_is_checked_is_the_text_that_runs(small_dataset: Path) -> None:
    names = set(views(mmearth.open(small_dataset).tables))
    with duckdb.connect() as connection:
        assert check_statement(connection, "/* COPY */ EXPLAIN FROM tiles", names) == (
            "EXPLAIN  FROM tiles"
        )


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("lat IN (SELECT size FROM read_text('/etc/hostname'))", "table function read_text"),
        ("EXISTS (FROM '/etc/hostname')", "the table '/etc/hostname'"),
        ("getenv('HOME') = ''", "the function getenv"),
        ("EXISTS (WITH x AS (DELETE FROM tiles RETURNING *) FROM x)", "found DELETE inside"),
        ("+".join(["1"] * 900) + " > 0", "nested too deeply"),
    ],
)
def test_where_reads_no_more(small_dataset: Path, where: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        mmearth.open(small_dataset).select("soil_pH", where=where)


@pytest.mark.parametrize(
    "where",
    [
        "lat + 1 - 1 > -lat - 200",
        "year(date) > 0 AND month(date) BETWEEN 1 AND 12 AND quarter(date) < 5",
        "date_trunc('month', date) + INTERVAL 31 DAY > date",
        "age(DATE '2100-01-01', date) > INTERVAL 0 DAY",
        "list_sum(list_transform([1, 2], lambda x: x + 1)) = 5",
        "epsg IN (SELECT range FROM range(40000))",
    ],
)
def test_where_may_calculate(small_dataset: Path, where: str) -> None:
    dataset = mmearth.open(small_dataset)
    assert len(dataset.select("soil_pH", where=where)) == len(dataset.select("soil_pH"))


@pytest.mark.parametrize(
    "where",
    [
        *("date < current_timestamp", "date < LOCALTIMESTAMP", "date < ago(INTERVAL 1 DAY)"),
        *("date < now()", "age(date) > INTERVAL 1 DAY", "uuid()::TEXT < '8'"),
    ],
)
def test_where_is_the_same_tomorrow(small_dataset: Path, where: str) -> None:
    with pytest.raises(ConfigError, match="same for a sample at any time"):
        mmearth.open(small_dataset).select("soil_pH", where=where)


def test_a_failure_at_a_later_row_is_a_sentence(small_dataset: Path) -> None:
    text = "CAST(CASE WHEN range = 900000 THEN 'x' ELSE '1' END AS INTEGER)"
    with pytest.raises(ConfigError, match=r"Could not convert string 'x' to INT32$"):
        mmearth.open(small_dataset).sql(f"SELECT {text} FROM range(1000000)")


def test_an_answer_without_end_is_refused() -> None:
    with duckdb.connect() as connection, pytest.raises(ConfigError, match=r"more than 0.1 GB"):
        _gathered(connection, "FROM range(1000000000000)", 100_000_000)


@pytest.mark.parametrize("wanted", [signal.SIGINT, signal.SIGTERM])
def test_a_long_query_ends_when_it_is_interrupted(
    small_dataset: Path, wanted: signal.Signals
) -> None:
    pairs = "range(1000000000000) a, range(100000) b WHERE a.range * b.range = 7"
    code = f"""
import threading, time
from mmearth import cli
import duckdb, os, sys
threading.Timer(1.5, os.kill, (os.getpid(), {int(wanted)})).start()
sys.argv = ["mmearth", "loaders", "query", {str(small_dataset)!r}, "SELECT count(*) FROM {pairs}"]
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 128 + wanted
    assert done.stderr.strip().endswith("what was done is kept")
    assert "Traceback" not in done.stderr


def test_columns_of_one_name_are_all_there(
    small_dataset: Path, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    text = "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a FROM tiles LIMIT 1"
    expected = {"a": 1, "a_2": 2, "a_1": 3, "a_3": 4}
    assert mmearth.open(small_dataset).sql(text).to_pylist() == [expected]
    code, out, _ = run_cli("loaders", "query", str(small_dataset), text, "--json")
    assert (code, json.loads(out)) == (0, [expected])
    code, out, _ = run_cli("loaders", "query", str(small_dataset), "FROM tiles, observations")
    assert code == 0 and "tile_1" in out.splitlines()[0]


def test_a_failed_query_leaves_nothing_to_a_fork() -> None:
    with duckdb.connect() as connection, pytest.raises(ConfigError) as kept:
        connection.execute("SET threads = 4")
        _gathered(connection, "FROM range(1000000000000)", 1000)
    child = os.fork()
    if child == 0:  # DuckDB's threads are not here: what held them must not end them
        del kept
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
