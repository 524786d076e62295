"""SQL on a dataset through DuckDB: a view per task over its manifests; nothing can be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from mmearth.catalog.checksums import read_dataset
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.schema import manifest_path

TABLES = ("tiles", "observations")
"""Views over `<name>.parquet`: what was planned, and what was collected or why not."""
SAMPLES = "samples"
"""The view of all tasks' manifests, joined by the names of their columns."""


def query(root: Path, sql: str) -> pa.Table:
    """Return the answer to an SQL query on a dataset.

    There is a view per task under the task's name, `samples` over all of them, `tiles` and
    `observations`. Other files can be read by SQL only inside the dataset's directory.

    Args:
        root: The dataset's directory.
        sql: One DuckDB query.

    Raises:
        ConfigError: The directory holds no dataset, or the query is not one or cannot be answered.
    """
    with _connect(root) as connection:
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or not _reads(statements[0]):
                found = "another" if len(statements) == 1 else str(len(statements))
                raise ConfigError(
                    f"found {found} where one statement that reads was expected: SELECT, FROM, "
                    "WITH, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN"
                )
            return connection.sql(sql).to_arrow_table()
        except duckdb.Error as exc:
            raise ConfigError(f"the query cannot be answered: {_first_lines(exc)}") from exc


def views(root: Path) -> dict[str, str]:
    """Return the views of a dataset: name → the SQL that it stands for.

    Raises:
        ConfigError: The directory holds no complete dataset.
    """
    tasks = read_dataset(root)["tasks"]
    found = {task: f"FROM read_parquet({_text(root / manifest_path(task))})" for task in tasks}
    files = ", ".join(_text(root / manifest_path(task)) for task in tasks)
    found[SAMPLES] = f"FROM read_parquet([{files}], union_by_name => true)"
    for name in TABLES:
        found[name] = f"FROM read_parquet({_text(root / f'{name}.parquet')})"
    return found


@contextmanager
def _connect(root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    root = root.resolve()
    stand_for = views(root)
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET parquet_metadata_cache = true")
        for name, sql in stand_for.items():
            try:
                connection.execute(f'CREATE VIEW "{name}" AS {sql}')
            except duckdb.Error as exc:
                raise ConfigError(
                    f"{root} cannot be queried: {_first_lines(exc)}; see `mmearth packaging verify`"
                ) from exc
        # A query from elsewhere must not read this machine's other files, nor fetch or write any.
        # Both spellings: the views' paths have their wildcards escaped, the files found do not.
        allowed = f"[{_quoted(str(root))}, {_text(root)}]"
        connection.execute(f"SET allowed_directories = {allowed}")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection


def _reads(statement: duckdb.Statement) -> bool:
    reading = {
        duckdb.StatementType.SELECT,
        duckdb.StatementType.EXPLAIN,
        duckdb.StatementType.RELATION,
    }
    return statement.type in reading


def _text(path: Path) -> str:
    """Return a path as an SQL string, its wildcards taken literally."""
    literal = "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
    return _quoted(literal)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first_lines(exc: duckdb.Error) -> str:
    """Return what DuckDB says, on one line, without the copy of the query below it."""
    lines = str(exc).split("\n\nLINE ")[0].splitlines()
    return " ".join(line.strip() for line in lines if line.strip())
