"""How many samples a query chooses and of what, from the manifest alone; or why none."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import ConfigError, FormatError, MMEarthError
from mmearth.catalog.layer import Layer
from mmearth.catalog.query import Query
from mmearth.catalog.schema import manifest_path, member_column
from mmearth.catalog.splits import SPLITS
from mmearth.catalog.task import Task
from mmearth.loaders.query import Tables, column, conditions, connect, interruptible, rows, views
from mmearth.loaders.statement import check_where, said


@dataclass(frozen=True, slots=True)
class Counts:
    """How many samples were chosen, and of what."""

    samples: int
    """All of them."""
    split: dict[str, int]
    """By split, in the order of SPLITS; splits without one are left out."""
    present: dict[str, int]
    """Chosen modality → samples that have it."""
    labelled: int
    """Samples that have a target."""
    nbytes: dict[str, int]
    """Chosen member with pixels, in the order of a shard → bytes of all of them as they are stored,
    by the manifest."""


def count_samples(tables: Tables, query: Query) -> Counts:
    """Count the samples that a checked query chooses.

    Raises:
        ConfigError: Its `where` cannot be asked, or no sample is left; then it says at which
            condition.
        FormatError: The manifest is damaged, or another task's.
    """
    asked = f"{_counting(tables.catalogue, query)}\nGROUP BY split"
    with connect(tables, asked) as connection:
        check_where(connection, query, set(views(tables)))
        try:
            found = interruptible(connection, lambda: connection.execute(asked).fetchall())
            answer = {row[0]: row[1:] for row in found}
        except duckdb.Error as exc:
            raise _unanswered(tables, query, exc) from exc
        if not answer:
            raise ConfigError(_what_left_nothing(connection, tables, query))
    samples, foreign, labelled, *more = (
        sum(column) for column in zip(*answer.values(), strict=True)
    )
    unknown = [split for split in answer if split not in SPLITS]
    if foreign or unknown:
        what = f"split {unknown[0]!r}" if unknown else f"{foreign} samples of another task"
        raise FormatError(
            f"{tables.place}: found {what} in {manifest_path(query.task)}, which is damaged or is "
            "another task's; run `mmearth packaging verify`, or build the dataset again"
        )
    by_split = {name: answer[name][0] for name in SPLITS if name in answer}
    present = dict(zip(query.modalities, more, strict=False))
    members = [layer.name for layer in _members(tables.catalogue, query)]
    nbytes = dict(zip(members, map(int, more[len(present) :]), strict=True))
    return Counts(samples, by_split, present, labelled, nbytes)


def first_held(
    tables: Tables, task: str, subset: str, bands: list[tuple[Layer, str]]
) -> tuple[Layer, str] | None:
    """Return the first of some (layer, band) with a valid value in a train subset; else None.

    Args:
        tables: The dataset's.
        task: One of its tasks.
        subset: `train`, `train_50` or `train_5`.
        bands: Of any layers.

    Raises:
        FormatError: The manifest is damaged.
    """
    if not bands:
        return None
    of = tables.catalogue.task(task)
    held = ", ".join(f"coalesce(bool_or({_is_held(of, *band)}), false)" for band in bands)
    chosen = "" if subset == "train" else f" AND {subset}"
    asked = f"SELECT {held} FROM \"{task}\" WHERE split = 'train'{chosen}"
    with connect(tables, asked) as connection:
        try:
            [found] = interruptible(connection, lambda: connection.execute(asked).fetchall())
        except duckdb.Error as exc:
            raise _damaged(tables, task, exc) from exc
    return next((band for band, is_held in zip(bands, found, strict=True) if is_held), None)


def _is_held(task: Task, layer: Layer, band: str) -> str:
    """Return in SQL whether a sample has a valid value of a layer's band."""
    member, i = column(task, member_column(layer)), layer.index((band,))[0] + 1
    if layer.is_pixel:
        return f"{member}.band_valid_fraction[{i}] > 0"
    value = f'{member}."values"[{i}]'
    nodata = "" if layer.nodata is None else f" AND {value} <> {layer.nodata}"
    return f"({member}.present{nodata})"


def _unanswered(tables: Tables, query: Query, exc: duckdb.Error) -> MMEarthError:
    """Return whose fault it is that DuckDB did not answer: the condition's, or the manifest's."""
    if query.where is not None:
        return ConfigError(f"where {query.where!r} cannot be asked: {said(exc)}")
    return _damaged(tables, query.task, exc)


def _damaged(tables: Tables, task: str, exc: duckdb.Error) -> FormatError:
    return FormatError(
        f"{tables.place}: {manifest_path(task)} cannot be read: {said(exc)}; "
        "see `mmearth packaging verify`, or build the dataset again"
    )


def size(n_bytes: int) -> str:
    """Return a number of bytes for people, in powers of 1000."""
    value, unit = float(n_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{n_bytes} bytes" if unit == "bytes" else f"{value:.3g} {unit}"


def _counting(catalogue: Catalogue, query: Query) -> str:
    """Return `SELECT split, samples, of other tasks, labelled, present, bytes of each FROM …`."""
    task = catalogue.task(query.task)
    label = column(task, task.column) + (".byte_offset" if task.is_pixel else "")
    layers = [catalogue.layer(name) for name in query.modalities]
    present = "".join(
        f', {column(task, member_column(layer))}.present AS "present/{layer.name}"'
        for layer in layers
    )
    # Not `count_if`, which is NULL where all are.
    counted = "".join(f', count(*) FILTER ("present/{name}")' for name in query.modalities)
    for layer in _members(catalogue, query):
        member = column(task, member_column(layer))
        present += f', {member}.byte_length AS "bytes/{layer.name}"'
        counted += f', coalesce(sum("bytes/{layer.name}"), 0)'
    return (
        f"SELECT split, count(*), count(*) FILTER (task IS DISTINCT FROM '{task.name}'), "
        f'count("labelled/")\n{counted}\n'
        f'FROM (SELECT split, task, {label} AS "labelled/"{present}\n{rows(query)})'
    )


def _members(catalogue: Catalogue, query: Query) -> list[Layer]:
    """Return what chosen samples have members of, with pixels."""
    wanted = {query.task, *query.modalities}
    members = catalogue.members(catalogue.task(query.task))
    return [layer for layer in members if layer.name in wanted]


def _what_left_nothing(connection: duckdb.DuckDBPyConnection, tables: Tables, query: Query) -> str:
    """Return the sentence that says which condition left no sample, and of how many."""
    left = connection.sql(f'SELECT count(*) FROM "{query.task}"').fetchall()[0][0]
    if not left:
        return f"{tables.place} has no sample of {query.task}; expected a task with some"
    so_far = []
    for text, sql in conditions(query):
        so_far.append(sql)
        asked = f'SELECT count(*) FROM "{query.task}" WHERE {" AND ".join(so_far)}'
        before, left = left, connection.sql(asked).fetchall()[0][0]
        if not left:
            found = connection.sql(
                f'SELECT split, count(*) FROM "{query.task}" GROUP BY split ORDER BY split'
            ).fetchall()
            there = ", ".join(f"{name} {n}" for name, n in found)
            return (
                f"no sample of {query.task} is left: {text} fits none of the {before} that the "
                f"other conditions leave; the task has {there}"
            )
    raise AssertionError("the conditions left samples one by one, and none together")


def percent(part: int, whole: int) -> str:
    """Return a share for people."""
    return f"{100 * part / whole:.3g} %"
