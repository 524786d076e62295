"""What benchmark runs said of each sample, in small tables that the explorer reads.

A run keeps a row a labelled pixel; here is a row a sample: how wrong it was, in one number.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.documents import read_json
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.schema import manifest_path, read_table
from mmearth.catalog.task import Task

_BASE = "JT"
"""The method that adaptation starts from: what a gain is measured against."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A finished run."""

    folder: Path
    setting: dict[str, Any]
    """task, encoder, method, fraction, seed."""

    @property
    def label(self) -> str:
        """What people call it."""
        s = self.setting
        return f"{s['encoder']} {s['method']} {s['fraction']} %, seed {s['seed']}"


def read_runs(root: Path, dataset_hash: str, results: Path) -> dict[str, bytes]:
    """Return `results.json` and a table a run, by name.

    A table has a row a sample that was predicted: `row`, its place in the manifest; `error`, not
    negative; `residual`, prediction minus truth, and both, where they are one number; of methods
    that adapt the jointly trained model `gain`, by how much the error is less than that model's,
    `batch`, which it was adapted with, and `batch_gain`, by how much the batch's loss fell.

    Args:
        root: The dataset's directory.
        dataset_hash: Its hash.
        results: The folder of a benchmark, or of one of its runs.

    Raises:
        ConfigError: There is no finished run, or one is of another dataset.
        FormatError: A file is not what a run wrote.
    """
    runs = _find(results, dataset_hash)
    tasks = read_catalogue(root).tasks
    rows = {name: _rows(root, name) for name in {run.setting["task"] for run in runs}}
    tables = {run.folder.name: _errors(run, tasks[run.setting["task"]], rows) for run in runs}
    files: dict[str, bytes] = {}
    listed = []
    for run in sorted(runs, key=lambda run: run.label):
        table = _with_gain(tables[run.folder.name], _base_of(run, runs, tables))
        table = _with_batches(table, run, rows[run.setting["task"]])
        name = f"run-{run.folder.name}.parquet"
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        files[name] = buffer.getvalue()
        listed.append(
            {
                **{"id": run.folder.name, "task": run.setting["task"], "label": run.label},
                **{"file": name, "columns": _columns(table, tasks[run.setting["task"]])},
            }
        )
    document = {"runs": listed}
    return {"results.json": json.dumps(document, ensure_ascii=False, indent=1).encode(), **files}


def _find(results: Path, dataset_hash: str) -> list[_Run]:
    alone = results / "results.json"
    paths = [alone] if alone.is_file() else sorted(results.glob("runs/*/results.json"))
    runs = []
    for path in paths:
        try:
            first = read_json(path)["rows"][0]
            setting = {n: first[n] for n in ("task", "encoder", "method", "fraction", "seed")}
            found = first["dataset_hash"]
        except (KeyError, IndexError, TypeError) as exc:
            raise FormatError(f"{path} is not a run's results; run the benchmark again") from exc
        if found != dataset_hash:
            raise ConfigError(
                f"{path} is of the dataset {str(found)[:12]}…, this one is {dataset_hash[:12]}…; "
                "run the benchmark on this dataset, or name the dataset that it ran on"
            )
        if (path.parent / "predictions").is_dir():
            runs.append(_Run(path.parent, setting))
    if not runs:
        raise ConfigError(
            f"found no finished run in {results}; expected the folder of `mmearth benchmark run`, "
            "or one of its runs/…, with predictions"
        )
    return runs


def _rows(root: Path, task: str) -> dict[str, int]:
    keys = read_table(root / manifest_path(task), ["key"], root)["key"].to_pylist()
    return {key: i for i, key in enumerate(keys)}


def _errors(run: _Run, task: Task, rows: dict[str, dict[str, int]]) -> pa.Table:
    """Return the table of a run, without the gain, by row."""
    parts = []
    for path in sorted((run.folder / "predictions").glob("*.parquet")):
        table = read_table(path)
        keys = table["key"].combine_chunks().dictionary_encode()
        known = rows[run.setting["task"]]
        places = [known.get(key, -1) for key in keys.dictionary.to_pylist()]
        if -1 in places:
            raise FormatError(f"{path} has a sample that the dataset lacks; run it again")
        parts.append(_of_samples(task, np.array(places)[keys.indices.to_numpy()], table))
    joined = pa.concat_tables(parts) if parts else pa.table({"row": pa.array([], pa.int32())})
    return joined.sort_by("row")


def _of_samples(task: Task, row: NDArray[np.int64], table: pa.Table) -> pa.Table:
    """Reduce rows of labelled pixels, or of tiles, to one a sample."""
    prediction, target = (_matrix(table[name]) for name in ("prediction", "target"))
    order = np.argsort(row, kind="stable")
    row, prediction, target = row[order], prediction[order], target[order]
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    counts = np.diff(begins, append=len(row))[:, None]

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.add.reduceat(values, begins, axis=0) / counts if len(row) else values

    columns = {"row": pa.array(row[begins], pa.int32())}
    if task.kind == "regression":
        squared = mean((prediction - target) ** 2).mean(axis=1)
        columns["error"] = pa.array(np.sqrt(squared))
        if prediction.shape[1] == 1:
            means = {"prediction": mean(prediction)[:, 0], "truth": mean(target)[:, 0]}
            columns |= {name: pa.array(values) for name, values in means.items()}
            columns["residual"] = pa.array(means["prediction"] - means["truth"])
    elif task.kind == "multilabel":
        columns["error"] = pa.array(mean(np.abs(prediction - target)).mean(axis=1))
    else:
        chosen = prediction if task.is_pixel else prediction.argmax(axis=1)[:, None]
        columns["error"] = pa.array(mean((chosen != target).astype(float))[:, 0])
    return pa.table(columns)


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float64]:
    lists = column.combine_chunks()
    width = lists.type.list_size
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return np.asarray(flat.reshape(-1, width))


def _base_of(run: _Run, runs: list[_Run], tables: dict[str, pa.Table]) -> pa.Table | None:
    if not str(run.setting["method"]).startswith("TTT"):
        return None
    wanted = {**run.setting, "method": _BASE}
    return next((tables[each.folder.name] for each in runs if each.setting == wanted), None)


def _with_gain(table: pa.Table, base: pa.Table | None) -> pa.Table:
    if base is None:
        return table
    before = dict(zip(base["row"].to_pylist(), base["error"].to_pylist(), strict=True))
    pairs = zip(table["row"].to_pylist(), table["error"].to_pylist(), strict=True)
    gain = [before[row] - error if row in before else None for row, error in pairs]
    return table.append_column("gain", pa.array(gain, pa.float64()))


def _with_batches(table: pa.Table, run: _Run, rows: dict[str, int]) -> pa.Table:
    """Add the batch that a sample was adapted with, where the run says so."""
    path = run.folder / "batches.parquet"
    if not path.exists():
        return table
    named: dict[int, str] = {}
    gains: dict[int, float] = {}
    for batch in read_table(path, _BATCH).to_pylist():
        for key in batch["keys"]:
            if key in rows:
                named[rows[key]] = f"{batch['split']} {batch['batch']}"
                gains[rows[key]] = batch["task_loss_before"] - batch["task_loss_after"]
    order = table["row"].to_pylist()
    table = table.append_column("batch", pa.array(map(named.get, order), pa.string()))
    return table.append_column("batch_gain", pa.array(map(gains.get, order), pa.float64()))


_BATCH = ["split", "batch", "keys", "task_loss_before", "task_loss_after"]
_LABELS = {
    "error": "Error",
    "residual": "Prediction minus truth",
    "prediction": "Prediction",
    "truth": "Truth",
    "gain": f"Gain over {_BASE}",
    "batch": "Batch it was adapted with",
    "batch_gain": "Gain of its batch, in the task's loss",
}


def _columns(table: pa.Table, task: Task) -> list[dict[str, str]]:
    """Return what the page says of each column, and how many samples make one number."""
    found = []
    for name in (name for name in _LABELS if name in table.column_names):
        kind = "category" if name == "batch" else "number"
        unit = "1" if name == "batch_gain" else task.unit
        mean = "square" if name == "error" and task.kind == "regression" else "plain"
        about = {"name": name, "label": _LABELS[name], "unit": unit, "kind": kind, "mean": mean}
        found.append(about)
    return found
