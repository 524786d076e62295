"""Results: a row a score, kept so that a kill loses nothing and repeats nothing.

Every run has its own folder, `runs/<config hash>/`, and writes `results.json` there last and in one
piece: a run is done when that file exists. `results.parquet` is put together from all of them,
sorted, so the same rows give the same bytes whichever machine finished first.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmearth.benchmark.intervals import Score
from mmearth.catalog.catalogue import CATALOGUE, Catalogue, read_catalogue, write_catalogue
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.files import write_atomic
from mmearth.catalog.schema import SCHEMA_VERSION, read_table, write_table

RESULTS = pa.schema(
    [
        ("task", pa.string()),
        ("encoder", pa.string()),  # a key of ENCODERS, or `baseline`
        ("method", pa.string()),  # LP, FT, JT, TTT-MMR, TTT-MMR-Geo, or a key of BASELINES
        ("fraction", pa.int32()),  # percent of the train split
        ("seed", pa.int32()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("output", pa.string()),  # of a regression with several; null: of the task as a whole
        ("value", pa.float64()),  # NaN where undefined, or where a prediction was not finite
        ("low", pa.float64()),  # 95 % bootstrap interval over samples
        ("high", pa.float64()),
        ("n", pa.int64()),  # samples scored
        ("config_hash", pa.string()),  # names the run's folder
        ("dataset_hash", pa.string()),
        ("version", pa.string()),  # of mmearth
        ("device", pa.string()),
        ("seconds", pa.float64()),  # wall time of the whole run, the same on all its rows
        ("memory_bytes", pa.int64()),  # its peak: the accelerator's, or the process's on a CPU
        ("steps", pa.int32()),  # adaptation steps K; null without, or where batches differ
        ("lr", pa.float64()),  # of those steps; null without adaptation
    ]
)
"""`results.parquet`: one row a run, split and metric, sorted by the columns from left to right."""

COST = ("seconds", "memory_bytes")
"""Columns that differ between two runs of one configuration; all others repeat."""
RESULTS_FILE = "results.parquet"
"""In the folder of a matrix: the rows of all finished runs."""
RUNS = "runs"
"""Folder of the runs, beside `results.parquet`."""
_FILE = "results.json"


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """One cell of the matrix: what a run was asked to do."""

    task: str
    """One of the dataset's."""
    encoder: str
    """A key of ENCODERS, a user's `module:Class`, or `baseline`."""
    method: str
    """LP, FT, JT, TTT-MMR, TTT-MMR-Geo, or a key of BASELINES."""
    fraction: int
    """Percent of the train split: 5, 50 or 100."""
    seed: int
    """Of everything random in the run."""
    config_hash: str
    """Of all that decides the run's numbers: `config_hash` of the resolved configuration."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else a row records of its run."""

    dataset_hash: str
    """SHA-256 of the dataset's checksums: which data it was."""
    version: str
    """Of mmearth."""
    device: str
    """In words: `cpu` or the accelerator's name."""
    seconds: float
    """Wall time of the whole run."""
    memory_bytes: int
    """Peak memory: of the accelerator, or of the process on a CPU."""
    steps: int | None = None
    """Adaptation steps chosen; None without adaptation, or where batches differ."""
    lr: float | None = None
    """Learning rate of those steps; None without adaptation."""


Row = dict[str, Any]
"""A row of RESULTS, by column."""


def config_hash(document: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that stand for a configuration: SHA-256 of its sorted JSON.

    Args:
        document: Everything that decides a run's numbers, in JSON's types.
    """
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_folder(out: Path, setting: Setting) -> Path:
    """Return where a run keeps its files."""
    return out / RUNS / setting.config_hash


def rows_of(
    setting: Setting, scores: Mapping[str, Sequence[Score]], circumstances: Circumstances
) -> list[Row]:
    """Return a run's rows: one a split and score; `scores` by split."""
    shared = {**asdict(setting), **asdict(circumstances)}
    return [
        {**shared, "split": split, **asdict(score)}
        for split, of_split in scores.items()
        for score in of_split
    ]


def write_run(out: Path, setting: Setting, rows: Sequence[Row]) -> Path:
    """Write a finished run's rows, in one piece: from then on the run is done.

    Everything else that it leaves must be on disk before.

    Raises:
        StorageError: The disk is full or the directory cannot be written.
    """
    path = run_folder(out, setting) / _FILE
    document = {"schema_version": SCHEMA_VERSION, "rows": [_plain(row) for row in rows]}
    write_atomic(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    return path


def keep_catalogue(out: Path, catalogue: Catalogue) -> None:
    """Write what the runs' dataset means beside their results, so that a report needs no dataset.

    Raises:
        ConfigError: There are runs of a dataset that means something else.
        StorageError: The disk is full.
    """
    if (out / CATALOGUE).exists() and read_catalogue(out) != catalogue:
        raise ConfigError(
            f"{out} holds runs of a dataset with other tasks or modalities; choose another folder"
        )
    write_catalogue(out, catalogue)


def assemble(out: Path) -> pa.Table:
    """Write `results.parquet` from the files of all finished runs, and return it.

    Raises:
        FormatError: As `finished` says.
        StorageError: The disk is full.
    """
    table = finished(out)
    write_table(table, out / RESULTS_FILE, RESULTS)
    return table


def finished(out: Path) -> pa.Table:
    """Return the rows of all finished runs; nothing is written.

    Raises:
        FormatError: A run's file is not what `write_run` wrote, or two runs claim one row.
    """
    rows: list[Row] = []
    for path in sorted((out / RUNS).glob(f"*/{_FILE}")):
        rows.extend(_read_run(path))
    rows.sort(key=_identity)
    for one, other in pairwise(rows):
        if _identity(one) == _identity(other):
            raise FormatError(
                f"{out / RUNS} holds two rows of {' '.join(map(str, _identity(one)))}; expected "
                "one; a folder was copied under another name: delete the copy"
            )
    return pa.Table.from_pylist(rows, schema=RESULTS)


def read_results(path: Path) -> pa.Table:
    """Read a `results.parquet`.

    Raises:
        FormatError: The file is missing, is not Parquet or has other columns.
    """
    table = read_table(path)
    if table.schema.names != RESULTS.names:
        raise FormatError(
            f"{path} has the columns {', '.join(table.schema.names)}; expected those of a "
            f"results file: {', '.join(RESULTS.names)}"
        )
    return table.replace_schema_metadata(None)


def missing(plan: Iterable[Setting], results: pa.Table) -> list[Setting]:
    """Return the settings of a plan that have no rows yet, in the plan's order."""
    names = [field.name for field in fields(Setting)]
    columns = [results[name].to_pylist() for name in names]
    done = set(zip(*columns, strict=True))
    return [s for s in plan if tuple(getattr(s, name) for name in names) not in done]


def _plain(row: Row) -> Row:
    """Return a row in JSON's types, in the schema's order; NaN and infinity become null."""
    return {
        name: None if isinstance(row[name], float) and not math.isfinite(row[name]) else row[name]
        for name in RESULTS.names
    }


def _read_run(path: Path) -> list[Row]:
    try:
        document = read_json(path)
        rows = document["rows"]
        known = all(set(row) == set(RESULTS.names) for row in rows)
    except (FormatError, ValueError, KeyError, TypeError) as exc:
        raise FormatError(f"{path} is not a run's results ({exc}); delete it to run again") from exc
    if not known or document.get("schema_version") != SCHEMA_VERSION:
        raise FormatError(
            f"{path} has other columns or another version than {SCHEMA_VERSION}; delete it to run "
            "again"
        )
    scores = ("value", "low", "high")
    return [{**row, **{s: math.nan if row[s] is None else row[s] for s in scores}} for row in rows]


def _identity(row: Row) -> tuple[Any, ...]:
    names = ("task", "encoder", "method", "fraction", "seed", "split", "metric")
    return (*(row[name] for name in names), row["output"] or "", row["config_hash"])
