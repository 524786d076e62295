"""Traces: what a run leaves beside its scores, so that the report can say why they are so.

In the run's folder: `batches.parquet`, a row a batch that was adapted; `reconstruction.parquet`, a
row a split and modality; `predictions/<split>.parquet`. All may be absent; the report then says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmearth.catalog.errors import FormatError
from mmearth.catalog.schema import read_table, write_table

BATCHES = pa.schema(
    [
        ("split", pa.string()),
        ("batch", pa.int32()),  # position in the split's order
        ("n", pa.int32()),  # samples, padding not counted
        ("keys", pa.list_(pa.string())),  # theirs
        ("steps", pa.int32()),  # adaptation steps taken
        ("best", pa.int32()),  # steps with the least task loss; on val only, elsewhere null
        # Cosine between the direction of a step and the task's gradient; on val only.
        ("cosine", pa.float64()),
        ("moved", pa.float64()),  # norm of the parameters' change, as a share of their own norm
        ("rolled_back", pa.bool_()),  # whether a guard gave the jointly trained weights back
        ("task_loss_before", pa.float64()),  # at step 0; NaN where nothing is labelled
        ("task_loss_after", pa.float64()),  # of the prediction that counts
        ("reconstruction_before", pa.float64()),  # mean loss over tiles and modalities
        ("reconstruction_after", pa.float64()),
        ("seconds", pa.float64()),  # wall time of adaptation and predictions
    ]
)
"""`batches.parquet`, sorted by (split, batch)."""

RECONSTRUCTION = pa.schema(
    [
        ("split", pa.string()),
        ("modality", pa.string()),
        ("metric", pa.string()),  # `r2` or `accuracy`
        ("before", pa.float64()),  # of the jointly trained weights
        ("after", pa.float64()),  # of the adapted ones; null for a method that does not adapt
    ]
)
"""`reconstruction.parquet`, by split, then in the dataset's order of modalities."""


def write_batches(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a run's `batches.parquet`; rows by column of BATCHES, in any order.

    Raises:
        StorageError: The disk is full.
    """
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=BATCHES)
    ordered = table.sort_by([("split", "ascending"), ("batch", "ascending")])
    write_table(ordered, folder / "batches.parquet", BATCHES)


def write_reconstruction(
    folder: Path,
    before: Mapping[str, Mapping[str, tuple[str, float]]],
    after: Mapping[str, Mapping[str, tuple[str, float]]] | None = None,
) -> None:
    """Write a run's `reconstruction.parquet`.

    Args:
        folder: Of the run.
        before: By split, what `Reconstruction.scores` gives with the jointly trained weights.
        after: The same with the adapted ones; None for a method that does not adapt.

    Raises:
        StorageError: The disk is full.
    """
    rows = [
        {
            "split": split,
            "modality": name,
            "metric": metric,
            "before": value,
            "after": after[split][name][1] if after is not None else None,
        }
        for split in sorted(before)
        for name, (metric, value) in before[split].items()
    ]
    table = pa.Table.from_pylist(rows, schema=RECONSTRUCTION)
    write_table(table, folder / "reconstruction.parquet", RECONSTRUCTION)


def read_trace(folder: Path, name: str, schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the rows of a run's trace; none where the run left none.

    Raises:
        FormatError: The file is there and is something else.
    """
    path = folder / name
    if not path.exists():
        return []
    table = read_table(path)
    if table.schema.names != schema.names:
        raise FormatError(
            f"{path} has the columns {', '.join(table.schema.names)}; expected "
            f"{', '.join(schema.names)}"
        )
    return list(table.to_pylist())


def predictions_path(folder: Path, split: str) -> Path:
    """Return where a run keeps its predictions of a split."""
    return folder / "predictions" / f"{split}.parquet"
