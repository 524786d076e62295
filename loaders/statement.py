"""What SQL may say: one query over the dataset's own tables, known from DuckDB's syntax tree.

The tree is compared with lists of what is allowed, so that a function which a later DuckDB brings
is refused until somebody has looked at it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from typing import Any

import duckdb

from mmearth.catalog.errors import ConfigError
from mmearth.catalog.query import Query

_EXPECTED = (
    "expected one statement that reads: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, "
    "SHOW TABLES, or EXPLAIN of one"
)
_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_SOURCES = frozenset({"JOIN", "SUBQUERY", "EMPTY", "EXPRESSION_LIST", "PIVOT"})
"""What may stand after FROM besides tables and functions: what only joins or lists."""
_TABLE_FUNCTIONS = frozenset(
    {"unnest", "range", "generate_series", "repeat", "repeat_row", "json_each", "json_tree"}
)
"""Those that make rows of their arguments alone."""
_SHOWN = frozenset({"tables", "__show_tables_expanded"})
"""What SHOW may list besides a table."""
_REFUSED = frozenset(
    {
        "getenv",
        "getvariable",
        "current_setting",
        "nextval",
        "currval",
        "setval",
        "setseed",
        "write_log",
        "sleep_ms",
    }
    | {"pg_sleep", "json_execute_serialized_sql"}
)
"""Functions that read or change something besides their arguments."""
_CHANGING = frozenset(
    {"ago", "current_time", "current_timestamp", "localtime", "localtimestamp"}
    | {"pg_conf_load_time", "pg_postmaster_start_time"}
)
"""Macros and words for the time, of which DuckDB does not say that they change."""
_STABLE_NEVER = (
    "SELECT function_name FROM duckdb_functions() GROUP BY function_name "
    "HAVING bool_and(stability <> 'CONSISTENT')"
)
"""`year` has a form for times with a zone that depends on a setting; `now` has no other form."""
_EXPLAIN = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*explain\b", re.IGNORECASE | re.DOTALL)


def check_statement(connection: duckdb.DuckDBPyConnection, sql: str, tables: Set[str]) -> str:
    """Return SQL that is one query over some tables and nothing else.

    Args:
        connection: Any; nothing of the text is executed.
        sql: What a user wrote.
        tables: Names of those that may be read.

    Raises:
        ConfigError: It is not SQL, not one query, or reads something besides these tables.
    """
    if not isinstance(sql, str):
        raise ConfigError(f"found query {sql!r}; {_EXPECTED}")
    found = _EXPLAIN.match(sql)
    asked = sql if found is None else sql[found.end() :]
    if found is not None and re.match(r"\s*(\(|analy[sz]e\b)", asked, re.IGNORECASE):
        raise ConfigError(
            f"found EXPLAIN {asked.split()[0]}; expected EXPLAIN and a query alone, without "
            "ANALYZE, which would run it, and without options"
        )
    found_kinds = _kinds(connection, asked)
    if found_kinds != ["SELECT"]:
        one = f"a statement of {found_kinds[0]}" if found_kinds else "none"
        what = f"{len(found_kinds)} statements" if len(found_kinds) > 1 else one
        raise ConfigError(f"found {what}; {_EXPECTED}")
    tree = _tree(connection, asked, "the query")
    if tree["error"]:
        raise ConfigError(f"the query cannot be asked: {' '.join(tree['error_message'].split())}")
    check_tree(tree, tables)
    return asked if found is None else f"EXPLAIN {asked}"


def check_where(connection: duckdb.DuckDBPyConnection, query: Query, tables: Set[str]) -> None:
    """Refuse a `where` that is not one expression, not a yes or no, or not the same every time.

    Args:
        connection: With a view of the query's task.
        query: Whose condition is looked at.
        tables: Names of those that a subquery may read.

    Raises:
        ConfigError: With DuckDB's first line, where it is DuckDB that refuses.
    """
    if query.where is None:
        return
    tree = _expression(connection, query.where)
    check_tree(tree, tables)
    volatile = {name for (name,) in connection.execute(_STABLE_NEVER).fetchall()}
    changing = sorted(_names(tree) & (volatile | _CHANGING))
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


def check_tree(tree: Any, tables: Set[str]) -> None:
    """Refuse a syntax tree that reads something besides some tables, or does more than read.

    Raises:
        ConfigError: It does.
    """
    nodes = list(_dicts(tree))
    # Not by scope: a name that is used outside of its WITH is a table that is not there.
    named = {entry["key"].lower() for node in nodes for entry in _ctes(node)}
    known = {name.lower() for name in tables}
    for node in nodes:
        kind = str(node.get("type", ""))
        if "cte_map" in node and kind not in _NODES:
            raise ConfigError(f"found {kind.partition('_')[0]} inside a query; {_EXPECTED}")
        if "sample" in node and "class" not in node and "cte_map" not in node:
            _check_source(node, kind, known, named, tables)
        function = str(node.get("function_name", "")).lower()
        if function in _REFUSED or function.startswith("read_"):
            raise ConfigError(
                f"found the function {function}, which reads or changes something besides the "
                "dataset; expected functions of the tables' columns"
            )


def _check_source(
    node: dict[str, Any], kind: str, known: set[str], named: set[str], tables: Set[str]
) -> None:
    """Refuse what stands after FROM unless it is a table of the dataset or makes its own rows."""
    if kind == "BASE_TABLE":
        schema, name = node["schema_name"].lower(), node["table_name"].lower()
        is_ours = name in known and schema in {"", "main"}
        if is_ours or (name in named and not schema):
            return
        found = f"the table {'.'.join(filter(None, (node['schema_name'], node['table_name'])))!r}"
    elif kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name in _TABLE_FUNCTIONS:
            return
        found = f"the table function {name}"
    elif kind == "SHOW_REF":
        name = str(node.get("table_name", "")).strip('"')
        if node.get("query") is not None or name in _SHOWN or name.lower() in known:
            return
        found = f"SHOW {name or 'FROM'}"
    elif kind in _SOURCES:
        return
    else:
        found = kind
    raise ConfigError(
        f"found {found}; a query may read the dataset's own tables alone: "
        f"{', '.join(sorted(tables))}, and the functions {', '.join(sorted(_TABLE_FUNCTIONS))}"
    )


def said(exc: Exception) -> str:
    """Return what DuckDB says, on one line, without the copy of the query below it."""
    lines = str(exc).split("\n\nLINE ")[0].splitlines()
    return " ".join(line.strip() for line in lines if line.strip())


def _kinds(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """Return what each statement of a text is, in DuckDB's words.

    Raises:
        ConfigError: It is not SQL.
    """
    try:
        return [_kind(statement) for statement in connection.extract_statements(sql)]
    except duckdb.Error as exc:
        raise ConfigError(f"the query cannot be answered: {said(exc)}") from exc
    except TypeError as exc:  # half of a pair of surrogates: no text that can be encoded
        raise ConfigError(f"the query cannot be answered: {sql!r} is no Unicode text") from exc


def _kind(statement: duckdb.Statement) -> str:
    try:
        return statement.type.name.replace("_", " ")
    except ValueError:  # a kind that DuckDB's Python does not know yet
        return "another kind"


def _tree(connection: duckdb.DuckDBPyConnection, sql: str, what: str) -> dict[str, Any]:
    """Return DuckDB's syntax tree of a text of SELECT statements.

    Raises:
        ConfigError: It is not such a text, or nested too deeply.
    """
    try:
        asked = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
        tree: dict[str, Any] = json.loads(asked[0][0])
    except duckdb.Error as exc:
        raise ConfigError(f"{what} cannot be asked: {said(exc)}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{what} cannot be asked: it is nested too deeply") from exc
    except (UnicodeError, TypeError) as exc:
        raise ConfigError(f"{what} cannot be asked: it is no Unicode text") from exc
    if tree["error"] and tree["error_type"] == "parser":
        raise ConfigError(f"{what} cannot be asked: {' '.join(tree['error_message'].split())}")
    return tree


def _expression(connection: duckdb.DuckDBPyConnection, where: str) -> Any:
    """Return DuckDB's syntax tree of one expression.

    Raises:
        ConfigError: It is more than an expression, or none.
    """
    tree = _tree(connection, f"SELECT\n{where}\n", f"where {where!r}")
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


def _dicts(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a document, without recursion."""
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _ctes(node: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (node.get("cte_map") or {}).get("map", [])
    return found


def _names(tree: Any) -> set[str]:
    """Return the functions, and what may be one, in a syntax tree; `USING SAMPLE` as well."""
    found: set[str] = set()
    for node in _dicts(tree):
        function = str(node.get("function_name", "")).lower()
        # Of one argument, it is the time from then until now.
        is_age = function == "age" and len(node.get("arguments") or ()) == 1
        found.add("current_date" if is_age else function)
        if len(node.get("column_names") or ()) == 1:
            found.add(str(node["column_names"][0]).lower())
        if node.get("sample"):
            found.add("random")
    return found
