"""SQL on a dataset through DuckDB: a view per task over its manifests; nothing can be written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.query import Query
from mmearth.catalog.schema import OBSERVATIONS, manifest_path, manifest_schema, tiles_schema
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.task import Task
from mmearth.loaders.choose.columns import check_once
from mmearth.loaders.statement import check_statement, said

Answer = TypeVar("Answer")

TABLES = ("tiles", "observations")
"""Views over `<name>.parquet`: what was planned, and what was collected or why not."""
SAMPLES = "samples"
"""The view of all tasks' manifests, joined by the names of their columns."""
_SETTINGS = (
    "parquet_metadata_cache = true",
    # It would go to standard output, among what a program reads there.
    "enable_progress_bar = false",
    # A name that is no table must not become a variable of this program, nor an extension.
    "python_enable_replacements = false",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    # What does not fit into memory would go to the working directory.
    "temp_directory = ''",
    # A time with a zone means the same on every machine.
    "TimeZone = 'UTC'",
)
_MEMORY = "SELECT parse_formatted_bytes(current_setting('memory_limit'))"
"""DuckDB's own bound: 80 % of what the machine, or the container, has."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Where the Parquet files of one dataset are, for DuckDB to read."""

    place: str
    """The dataset, as the user wrote it."""
    catalogue: Catalogue
    """Its tasks and layers."""
    seal: str
    """Its hash."""
    find: Callable[[str], Path]
    """From a file's name, relative to the dataset's root, to a whole local file; may fetch it."""


def query(tables: Tables, sql: str) -> pa.Table:
    """Return the answer to an SQL query on a dataset.

    There is a view per task under the task's name, `samples` over all of them, `tiles` and
    `observations`. Nothing else can be read and nothing can be written. Two columns `tile` of a
    join are `tile` and `tile_1`.

    Args:
        tables: The dataset's.
        sql: One DuckDB query: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW TABLES, or
            EXPLAIN of one.

    Raises:
        ConfigError: The query is not one, reads something else, cannot be answered, or its answer
            takes more than half of the memory that DuckDB may have.
    """
    with duckdb.connect(":memory:") as connection:
        checked = check_statement(connection, sql, set(views(tables)))
        most = connection.execute(_MEMORY).fetchall()[0][0] // 2
        _prepare(connection, tables, sql)
        try:
            return interruptible(connection, lambda: _gathered(connection, checked, most))
        except (duckdb.Error, OSError) as exc:  # Arrow's of a row that it came to
            raise ConfigError(f"the query cannot be answered: {said(exc)}") from exc


def interruptible(connection: duckdb.DuckDBPyConnection, ask: Callable[[], Answer]) -> Answer:
    """Return what a call of a connection's returns, and end it where this program is to end.

    DuckDB looks for Ctrl-C between two of its tasks only, and one may take hours.
    """
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        try:
            return asked.result()
        except (KeyboardInterrupt, SystemExit):
            while not asked.done():
                connection.interrupt()
                with suppress(KeyboardInterrupt, SystemExit):  # another one changes nothing
                    wait([asked], 0.5)
            raise
        finally:
            # It holds its error, whose traceback holds this frame: DuckDB would live on, and its
            # threads with it, into a fork that has none.
            del asked


def _gathered(connection: duckdb.DuckDBPyConnection, sql: str, most: int) -> pa.Table:
    """Return an answer that takes so many bytes at most."""
    batches, nbytes = [], 0
    # Closed in any case: an error's traceback would keep it, and DuckDB's threads into a fork.
    with connection.sql(sql).to_arrow_reader() as reader:
        for batch in reader:
            batches.append(batch)
            nbytes += batch.nbytes
            if nbytes > most:
                raise ConfigError(
                    f"the answer takes more than {most / 1e9:.1f} GB of memory; ask for fewer "
                    "rows, as with LIMIT, or for sums of them"
                )
        answer = pa.Table.from_batches(batches, reader.schema)
    return answer.rename_columns(_distinct(answer.column_names))


def _distinct(names: list[str]) -> list[str]:
    """Return names of which no two are equal: `a, a` become `a, a_1`, as in a table of DuckDB's."""
    found: list[str] = []
    for name in names:
        others = (f"{name}_{i}" for i in itertools.count(1))
        is_new = name not in found
        found.append(name if is_new else next(one for one in others if one not in {*names, *found}))
    return found


@contextmanager
def connect(tables: Tables, sql: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection with the views that a text of SQL names, which can only read.

    A view is there if its name stands anywhere in `sql`, and all are if none does: so a remote
    dataset is not fetched for nothing, and a name that is hidden from this is an unknown table,
    never an empty one.

    Raises:
        ConfigError: A table is missing or unreadable.
    """
    with duckdb.connect(":memory:") as connection:
        _prepare(connection, tables, sql)
        yield connection


def _prepare(connection: duckdb.DuckDBPyConnection, tables: Tables, sql: str) -> None:
    """Make the views that a text of SQL names, and lock the connection for good."""
    wanted = _files(tables, sql)
    paths = {name: [_found(tables, file) for file in wanted[name]] for name in wanted}
    connection.execute(_set(_SETTINGS))
    for name, files in paths.items():
        listed = ", ".join(_text(path) for path in files)
        # A folder called `split=val` is a folder, and not a column of every table below it.
        read = f"read_parquet([{listed}], union_by_name => true, hive_partitioning => false)"
        try:
            connection.execute(f'CREATE VIEW "{name}" AS FROM {read}')
        except duckdb.Error as exc:
            raise FormatError(
                f"{tables.place} cannot be queried: {said(exc)}; see `mmearth packaging verify`"
            ) from exc
    _lock(connection, [path for files in paths.values() for path in files])


def rows(query: Query) -> str:
    """Return `FROM … WHERE … LIMIT …` of the samples that a checked query chooses."""
    clause = " AND ".join(condition for _, condition in conditions(query)) or "true"
    limit = "" if query.limit is None else f" LIMIT {query.limit}"
    return f'FROM "{query.task}" WHERE {clause}{limit}'


def column(task: Task, name: str) -> str:
    """Return a column of a task's view in SQL; a view and one of its columns may have one name."""
    return f'"{task.name}"."{name}"'


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


def views(tables: Tables) -> dict[str, list[str]]:
    """Return view → files of all that a dataset has."""
    files = {task: [manifest_path(task)] for task in tables.catalogue.tasks}
    files[SAMPLES] = [manifest_path(task) for task in tables.catalogue.tasks]
    files.update({name: [f"{name}.parquet"] for name in TABLES})
    return files


def _files(tables: Tables, sql: str) -> dict[str, list[str]]:
    """Return view → files, of the views that `sql` names; all of them if it names none."""
    files, words = views(tables), set(re.findall(r"\w+", sql.lower()))
    return {name: files[name] for name in files if name.lower() in words} or files


def _found(tables: Tables, file: str) -> Path:
    """Return a table's file, whole and with the columns that it should have."""
    path, catalogue = tables.find(file), tables.catalogue
    check_once(path, tables.seal, _schema(file, catalogue))
    return path


def _schema(file: str, catalogue: Catalogue) -> pa.Schema:
    if file == "tiles.parquet":
        return tiles_schema(catalogue.tasks.values())
    if file == "observations.parquet":
        return OBSERVATIONS
    return manifest_schema(catalogue.task(Path(file).stem), catalogue.layers.values())


def _lock(connection: duckdb.DuckDBPyConnection, files: list[Path]) -> None:
    """Allow a connection to read these files and nothing else, for good."""
    # Both spellings: the views' paths have their wildcards escaped, the files found do not.
    allowed = ", ".join(f"{_quoted(str(path))}, {_text(path)}" for path in files)
    last = "enable_external_access = false", "lock_configuration = true"
    connection.execute(_set((f"allowed_paths = [{allowed}]", *last)))


def _set(settings: Iterable[str]) -> str:
    """Return the statements that set them, as one text: each call of DuckDB's has a cost."""
    return "; ".join(f"SET {setting}" for setting in settings)


def _text(path: Path) -> str:
    """Return a path as an SQL string, its wildcards taken literally."""
    literal = "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
    return _quoted(literal)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
