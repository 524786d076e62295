"""What the published layout has no field for, beside an export: `<task>_mmearth.parquet`.

One row a row of the .h5 file, in its order: the label's own id and date, and what became of every
modality: state and reason, dates, source, images, stand-in, expression. The footer has the card of
the dataset. An import that finds it gives the dataset back as it was.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmearth.catalog.card import DatasetCard
from mmearth.catalog.documents import parse_json
from mmearth.catalog.errors import FormatError
from mmearth.catalog.files import check_regular
from mmearth.catalog.schema import (
    OBSERVATIONS,
    SCHEMA_VERSION,
    VERSION_KEY,
    read_table,
    tiles_schema,
)
from mmearth.catalog.task import Task
from mmearth.packaging.h5.layout import FORMAT, TaskFiles
from mmearth.packaging.h5.rows import Rows

_CARD = b"mmearth:card"
_IN_STORE = ("tile", "path", "bytes", "sha256")  # of the dataset's store, which is not exported
_OBSERVED = [field for field in OBSERVATIONS if field.name not in _IN_STORE]
_AT_ONCE = 1_000  # rows as Python objects
Row = dict[str, Any]


class Provenance:
    """The table beside one .h5 file."""

    def __init__(self, table: pa.Table, card: DatasetCard) -> None:
        """Keep a table that was compared with the file."""
        self.card = card
        """Of the dataset that was exported."""
        self._table = table
        self._first, self._rows = 0, list[Row]()

    def row(self, row: int) -> Row:
        """Return one row; the next ones are at hand then."""
        if not self._first <= row < self._first + len(self._rows):
            self._first, self._rows = row, self._table.slice(row, _AT_ONCE).to_pylist()
        return self._rows[row - self._first]


def provenance_bytes(
    tiles: pa.Table, observations: pa.Table, task: Task, order: list[str], card: Row
) -> bytes:
    """Return the file of a task.

    Args:
        tiles: Of `tiles_schema`.
        observations: Of the schema OBSERVATIONS.
        task: Whose file it is.
        order: The tile of each row of the .h5 file.
        card: The dataset's, as JSON.
    """
    planned = {
        row["tile"]: row for row in tiles.filter(pc.equal(tiles["task"], task.name)).to_pylist()
    }
    names = [field.name for field in _OBSERVED]
    observed: dict[str, list[Row]] = {tile: [] for tile in order}
    mine = pc.is_in(observations["tile"], pa.array(order, pa.string()))
    for batch in observations.filter(mine).to_batches(max_chunksize=_AT_ONCE):
        for row in batch.to_pylist():
            if row["modality"] in FORMAT.layers or row["modality"] == task.name:
                observed[row["tile"]].append({name: row[name] for name in names})
    rows = [planned[tile] | {"observations": observed[tile]} for tile in order]
    table = pa.Table.from_pylist(rows, _schema(task)).replace_schema_metadata(
        {VERSION_KEY: SCHEMA_VERSION.encode(), _CARD: json.dumps(card, ensure_ascii=False).encode()}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _schema(task: Task) -> pa.Schema:
    """Return the columns of a plan, and of OBSERVATIONS what says nothing of the store's files."""
    return pa.schema([*tiles_schema([task]), ("observations", pa.list_(pa.struct(_OBSERVED)))])


def read_provenance(files: TaskFiles, rows: Rows) -> Provenance | None:
    """Return what stands beside a file, compared with its rows; None where nothing does.

    Raises:
        FormatError: It is damaged, or of another export than the .h5 file.
    """
    path = files.provenance
    if not path.is_file():
        return None
    check_regular(path)
    advice = "take it away, or export the dataset again"
    try:
        table = read_table(path)
        stamps = table.schema.metadata or {}
        card = DatasetCard.from_json(parse_json(stamps.get(_CARD, b""), f"{path}: its card"))
        schema = _schema(files.task)
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowException, OSError, ValueError, KeyError) as exc:
        raise FormatError(
            f"{path} is not what an export leaves beside {files.h5.name} ({exc}); {advice}"
        ) from exc
    if len(table) != len(rows.tiles):
        raise FormatError(
            f"{path} has {len(table)} rows, and {files.h5.name} has {len(rows.tiles)}; {advice}"
        )
    if unknown := sorted({*card.modalities} - FORMAT.layers.keys()):
        raise FormatError(
            f"{path} is of a dataset with the modality {unknown[0]!r}, which published files do "
            f"not have; {advice}"
        )
    found = Provenance(table, card)
    for row in range(len(rows.tiles)):
        said = found.row(row)
        for name, ours in rows.planned(row).items():
            if (theirs := said[name]) != ours:
                raise FormatError(
                    f"{path}: row {row} has the {name} {theirs!r}, and {files.h5.name} has "
                    f"{ours!r}; {advice}"
                )
    return found
