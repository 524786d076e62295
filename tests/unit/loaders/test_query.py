"""SQL on a dataset: views, formats, and questions that are refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmearth.catalog.errors import ConfigError
from mmearth.loaders.answer import cells, render
from mmearth.loaders.dataset import open_dataset
from mmearth.loaders.query import _prepare

RunCli = Callable[..., tuple[int, str, str]]


def query(root: Path, sql: str) -> pa.Table:
    return open_dataset(root).sql(sql)


def test_a_view_per_task_and_one_over_all(small_dataset: Path) -> None:
    names = query(small_dataset, "SHOW TABLES")["name"].to_pylist()
    assert names == ["biomass", "observations", "samples", "soil_pH", "species", "tiles"]
    for task in ("biomass", "soil_pH", "species"):
        manifest = pq.read_table(small_dataset / f"manifests/{task}.parquet")
        counted = query(small_dataset, f"SELECT count(*) AS n FROM {task}")
        assert counted["n"].to_pylist() == [manifest.num_rows]
    total = query(small_dataset, "SELECT count(*) AS n FROM samples")["n"].to_pylist()[0]
    parts = query(
        small_dataset,
        "SELECT (SELECT count(*) FROM biomass) + (SELECT count(*) FROM soil_pH)"
        " + (SELECT count(*) FROM species) AS n",
    )
    assert parts["n"].to_pylist() == [total]


def test_columns_of_other_tasks_are_null_in_the_view_over_all(small_dataset: Path) -> None:
    sql = "SELECT DISTINCT task FROM samples WHERE target IS NOT NULL"
    assert query(small_dataset, sql)["task"].to_pylist() == ["soil_pH"]


def test_a_long_query_says_nothing_meanwhile(small_dataset: Path) -> None:
    """A bar on standard output would break what `--format json` is piped into."""
    with duckdb.connect(":memory:") as connection:
        _prepare(connection, open_dataset(small_dataset).tables, "FROM tiles")
        shown = connection.execute("SELECT current_setting('enable_progress_bar')").fetchall()
    assert shown == [(False,)]


def test_a_box_to_byte_ranges(small_dataset: Path) -> None:
    row = query(
        small_dataset,
        "SELECT shard, sentinel2.byte_offset AS first, sentinel2.byte_length AS n FROM soil_pH "
        "WHERE lon BETWEEN -180 AND 180 AND lat BETWEEN -90 AND 90 LIMIT 1",
    ).to_pylist()[0]
    data = (small_dataset / row["shard"]).read_bytes()[row["first"] :][: row["n"]]
    assert data.startswith(b"\x93NUMPY") and len(data) == 12 * 128 * 128 * 2 + 128


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nosuch FROM species", "nosuch"),
        ("SELECT * FROM nowhere", "the table 'nowhere'; a query may read the dataset's own tables"),
        ("", "found none; expected one statement that reads"),
        ("SELECT 1; SELECT 2", "found 2 statements"),
        ("COPY species TO 'x.csv'", "a statement of COPY"),
        ("CREATE TABLE t (a INT)", "a statement of CREATE"),
        ("INSTALL spatial", "a statement of LOAD"),
        ("SET enable_external_access = true", "a statement of SET"),
        ("EXPLAIN ANALYZE SELECT 1", "without ANALYZE, which would run it"),
        ("EXPLAIN COPY species TO 'x.csv'", "a statement of COPY"),
        ("SELECT * FROM read_text('/etc/hostname')", "the table function read_text"),
        ("SELECT * FROM 'https://example.com/x.parquet'", "'https://example.com/x.parquet'"),
        ("SELECT content FROM query('FROM soil' || '_pH') WHERE species > 0", "function query"),
    ],
)
def test_refused(small_dataset: Path, run_cli: RunCli, sql: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        query(small_dataset, sql)
    code, out, err = run_cli("loaders", "query", str(small_dataset), sql)
    assert (code, out) == (2, "")
    assert said in err and "Traceback" not in err


def test_what_is_no_dataset(tmp_path: Path, run_cli: RunCli) -> None:
    code, _, err = run_cli("loaders", "query", str(tmp_path), "SELECT 1")
    assert code == 2
    assert "no complete dataset" in err


def test_a_path_with_signs_that_mean_something_in_sql(small_dataset: Path, tmp_path: Path) -> None:
    odd = tmp_path / "it's [a] *dataset?"
    odd.symlink_to(small_dataset)
    copy = tmp_path / "it's [another] *one?"
    for name in (
        "dataset.json",
        "SHA256SUMS",
        "catalogue.json",
        "tiles.parquet",
        "observations.parquet",
        "manifests",
    ):
        source = small_dataset / name
        copy.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy / name)
        else:
            shutil.copy(source, copy / name)
    for root in (odd, copy):
        assert query(root, "SELECT count(*) > 0 AS some FROM samples")["some"].to_pylist() == [True]


SQL = "SELECT task, count(*) AS n FROM samples GROUP BY task ORDER BY task"


def test_formats(small_dataset: Path, tmp_path: Path, run_cli: RunCli) -> None:
    expected = query(small_dataset, SQL).to_pylist()
    ask = ("loaders", "query", str(small_dataset), SQL)

    code, out, _ = run_cli(*ask)
    assert code == 0
    assert [line.split() for line in out.splitlines()][2:] == [
        [row["task"], str(row["n"])] for row in expected
    ]
    assert json.loads(run_cli(*ask, "--format", "json")[1]) == expected
    assert json.loads(run_cli(*ask, "--json")[1]) == expected
    read = list(csv.DictReader(io.StringIO(run_cli(*ask, "--format", "csv")[1])))
    assert read == [{"task": row["task"], "n": str(row["n"])} for row in expected]
    path = tmp_path / "answer.parquet"
    code, out, err = run_cli(*ask, "-o", str(path))  # the format by the name of the file
    assert (code, out) == (0, "")
    assert "3 rows" in err
    assert pq.read_table(path).to_pylist() == expected
    assert run_cli(*ask, "--format", "parquet")[0] == 2


def test_every_type_of_a_manifest_has_a_form(small_dataset: Path) -> None:
    answer = query(small_dataset, "SELECT * FROM biomass LIMIT 2")
    rows = json.loads(render(answer, "json"))
    assert rows[0]["date"] == str(answer["date"][0].as_py())
    assert rows[0]["sentinel2"]["present"] is True
    table = list(csv.DictReader(io.StringIO(render(answer, "csv").decode())))
    assert json.loads(table[0]["sentinel2"]) == rows[0]["sentinel2"]
    assert pq.read_table(pa.BufferReader(render(answer, "parquet"))).equals(answer)


def test_special_values() -> None:
    answer = pa.table({"a": [float("nan"), 1.5], "b": ["x\ny", None], "c": ["l" * 99, "s"]})
    assert json.loads(render(answer, "json"))[0]["a"] is None
    assert cells(answer)[0] == [None, "x y", "l" * 99]
    assert cells(answer)[1] == [1.5, None, "s"]
