"""SQL on a dataset through DuckDB: a view per task over its manifests; nothing can be written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.query import Query
from mmearth.catalog.schema import manifest_path
from mmearth.catalog.splits import SPLITS

TABLES = ("tiles", "observations")
"""Views over `<name>.parquet`: what was planned, and what was collected or why not."""
SAMPLES = "samples"
"""The view of all tasks' manifests, joined by the names of their columns."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Where the Parquet files of one dataset are, for DuckDB to read."""

    place: str
    """The dataset, as the user wrote it."""
    tasks: tuple[str, ...]
    """Those that have a manifest."""
    find: Callable[[str], Path]
    """From a file's name, relative to the dataset's root, to a whole local file; may fetch it."""
    directory: Path | None
    """A local dataset's absolute directory, where SQL may read any file; None if it is remote."""


def query(tables: Tables, sql: str) -> pa.Table:
    """Return the answer to an SQL query on a dataset.

    There is a view per task under the task's name, `samples` over all of them, `tiles` and
    `observations`. Other files can be read by SQL only inside a local dataset's directory.

    Args:
        tables: The dataset's.
        sql: One DuckDB query.

    Raises:
        ConfigError: The query is not one or cannot be answered.
    """
    with connect(tables, sql) as connection:
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
            raise ConfigError(f"the query cannot be answered: {said(exc)}") from exc


@contextmanager
def connect(tables: Tables, sql: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection with the views that a text of SQL names, which can only read.

    A view is there if its name stands anywhere in `sql`, and all are if none does: so a remote
    dataset is not fetched for nothing, and a name that is hidden from this is an unknown table,
    never an empty one.

    Raises:
        ConfigError: A table is missing or unreadable.
    """
    wanted = _files(tables, sql)
    paths = {name: [tables.find(file) for file in wanted[name]] for name in wanted}
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET parquet_metadata_cache = true")
        # It would go to standard output, among what a program reads there.
        connection.execute("SET enable_progress_bar = false")
        for name, files in paths.items():
            listed = ", ".join(_text(path) for path in files)
            try:
                connection.execute(
                    f'CREATE VIEW "{name}" AS FROM read_parquet([{listed}], union_by_name => true)'
                )
            except duckdb.Error as exc:
                raise ConfigError(
                    f"{tables.place} cannot be queried: {said(exc)}; see `mmearth packaging verify`"
                ) from exc
        _lock(connection, tables, [path for files in paths.values() for path in files])
        yield connection


def rows(query: Query) -> str:
    """Return `FROM … WHERE … LIMIT …` of the samples that a checked query chooses."""
    clause = " AND ".join(condition for _, condition in conditions(query)) or "true"
    limit = "" if query.limit is None else f" LIMIT {query.limit}"
    return f'FROM "{query.task}" WHERE {clause}{limit}'


def conditions(query: Query) -> list[tuple[str, str]]:
    """Return what a sample must be for a query: as people read it, and in SQL."""
    found = []
    if query.split != SPLITS:
        names = ", ".join(_quoted(name) for name in query.split)
        found.append((f"split {' or '.join(query.split)}", f"split IN ({names})"))
    if query.fraction != 100 and "train" in query.split:
        subset = f"train_{query.fraction}"
        found.append((f"fraction {query.fraction}", f"(split <> 'train' OR {subset})"))
    if query.where is not None:
        # The line break ends a comment that the expression may end with.
        found.append((f"where {query.where}", f"(\n{query.where}\n)"))
    return found


def check_where(connection: duckdb.DuckDBPyConnection, query: Query) -> None:
    """Refuse a `where` that is not one expression, not a yes or no, or not the same every time.

    Raises:
        ConfigError: With DuckDB's first line, where it is DuckDB that refuses.
    """
    if query.where is None:
        return
    tree = _expression(connection, query.where)
    volatile = connection.execute(
        "SELECT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    ).fetchall()
    changing = sorted(_names(tree) & {name for (name,) in volatile})
    if changing:
        raise ConfigError(
            f"found {changing[0]} in where {query.where!r}; expected an expression that is the "
            "same for a sample at any time: of the manifest's columns alone"
        )
    try:
        kind = connection.sql(f'SELECT (\n{query.where}\n) FROM "{query.task}" LIMIT 0').types[0]
    except duckdb.Error as exc:
        raise ConfigError(f"where {query.where!r} cannot be asked: {said(exc)}") from exc
    if str(kind) != "BOOLEAN":
        raise ConfigError(
            f"where {query.where!r} is a {kind}; expected a condition that is true or false, "
            "such as 'biome = 12 AND lat < 0'"
        )


def said(exc: duckdb.Error) -> str:
    """Return what DuckDB says, on one line, without the copy of the query below it."""
    lines = str(exc).split("\n\nLINE ")[0].splitlines()
    return " ".join(line.strip() for line in lines if line.strip())


def _expression(connection: duckdb.DuckDBPyConnection, where: str) -> Any:
    """Return DuckDB's syntax tree of one expression.

    Raises:
        ConfigError: It is more than an expression, or none.
    """
    asked = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT\n{where}\n"]).fetchall()
    tree = json.loads(asked[0][0])
    if tree["error"] and tree["error_type"] == "parser":
        raise ConfigError(
            f"where {where!r} cannot be asked: {' '.join(tree['error_message'].split())}"
        )
    nodes = [statement["node"] for statement in tree.get("statements", ())]
    chosen = [column for node in nodes for column in node.get("select_list", ())]
    plain = len(nodes) == len(chosen) == 1 and not (
        chosen[0]["alias"]
        or chosen[0]["class"] == "STAR"
        or nodes[0]["from_table"]["type"] != "EMPTY"
        or any(nodes[0][part] for part in ("modifiers", "where_clause", "group_expressions"))
        or any(nodes[0][part] for part in ("having", "qualify", "sample"))
    )
    if not plain:
        raise ConfigError(f"where {where!r} is more than one SQL expression; expected just one")
    return chosen[0]


def _names(tree: Any) -> set[str]:
    """Return the functions, and what may be one, in a syntax tree; `USING SAMPLE` as well."""
    if isinstance(tree, list):
        return set().union(*(_names(part) for part in tree)) if tree else set()
    if not isinstance(tree, dict):
        return set()
    found = {str(tree.get("function_name", "")).lower()}
    if len(tree.get("column_names") or ()) == 1:
        found.add(str(tree["column_names"][0]).lower())
    if tree.get("sample"):
        found.add("random")
    return found.union(*(_names(part) for part in tree.values()))


def _files(tables: Tables, sql: str) -> dict[str, list[str]]:
    """Return view → files, of the views that `sql` names; all of them if it names none."""
    files = {task: [manifest_path(task)] for task in tables.tasks}
    files[SAMPLES] = [manifest_path(task) for task in tables.tasks]
    files.update({name: [f"{name}.parquet"] for name in TABLES})
    words = set(re.findall(r"\w+", sql.lower()))
    return {name: files[name] for name in files if name.lower() in words} or files


def _lock(connection: duckdb.DuckDBPyConnection, tables: Tables, files: list[Path]) -> None:
    """Allow a connection to read these files, or a local dataset, and nothing else, for good."""
    # A query from elsewhere must not read this machine's other files, nor fetch or write any.
    # Both spellings: the views' paths have their wildcards escaped, the files found do not.
    if tables.directory is None:
        allowed = ", ".join(f"{_quoted(str(path))}, {_text(path)}" for path in files)
        connection.execute(f"SET allowed_paths = [{allowed}]")
    else:
        root = tables.directory
        connection.execute(f"SET allowed_directories = [{_quoted(str(root))}, {_text(root)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


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
