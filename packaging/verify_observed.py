"""What observations.parquet says of every tile and layer, in nine bytes each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import ROW_GROUP_ROWS, check_version, read_batches

PROVENANCE = ("valid_fraction", "acquired", "source_ids", "stand_in", "expression")
"""Columns that a row of observations.parquet and a member of a manifest have in common."""
_MEMBER = {"bytes": "byte_length", "sha256": "sha256"}
"""Columns of both, too, of layers with pixels: each has a member of its own."""
NAME = "observations.parquet"
Row = dict[str, Any]
Marks = NDArray[np.int64]


class Observed:
    """The state of every observation of some tiles, and a mark of where it came from."""

    def __init__(self, root: Path, tiles: pa.Array, modalities: tuple[str, ...]) -> None:
        """Read observations.parquet once.

        Args:
            root: The dataset's directory.
            tiles: Ids of those that are asked for, each once.
            modalities: Those that are asked for.

        Raises:
            FormatError, StorageError: As `read_batches` says.
        """
        self._root, self._tiles = root, tiles
        # In older datasets they are those of a GeoTIFF, which was another file.
        is_old = "path" in check_version(root / NAME, root).names
        self._columns = (*PROVENANCE, *(() if is_old else _MEMBER))
        self._column = {name: i for i, name in enumerate(modalities)}
        self._done = np.zeros((len(tiles) + 1, len(modalities)), bool)  # the last for no tile
        self._marks = np.zeros((len(tiles) + 1, len(modalities)), np.int64)
        self.modalities: set[str] = set()
        """All that it names."""
        for part in self._parts():
            self.modalities.update(pc.unique(part["modality"]).to_pylist())
            tile = self.places(part["tile"])
            column = pc.index_in(part["modality"], pa.array(modalities, pa.string()))
            known = column.is_valid().to_numpy() & (tile < len(tiles))
            at = tile[known], pc.fill_null(column, 0).to_numpy()[known]
            # Of two rows of one observation the later stays.
            self._done[at] = pc.equal(part["state"], "done").to_numpy()[known]
            self._marks[at] = _marks([part[name] for name in self._columns])[known]

    def places(self, tiles: pa.ChunkedArray) -> NDArray[np.int64]:
        """Return where some tiles stand in this, for `marks`, (n,)."""
        at = pc.fill_null(pc.index_in(tiles, self._tiles), len(self._tiles))
        return np.asarray(at.to_numpy(), dtype=np.int64)

    def done(self, modality: str, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether a layer of some tiles was collected, (n,)."""
        return np.asarray(self._done[at, self._column[modality]])

    def same(
        self, layer: Layer, at: NDArray[np.int64], struct: pa.StructArray
    ) -> NDArray[np.bool_]:
        """Return whether the members of a manifest's column are what was collected, (n,)."""
        fields = self.fields(layer)
        nulls = pa.nulls(len(struct))
        found = [struct.field(fields[c]) if c in fields else nulls for c in self._columns]
        return np.asarray(_marks(found) == self._marks[at, self._column[layer.name]])

    def fields(self, layer: Layer) -> dict[str, str]:
        """Return column of observations.parquet → field of a manifest's member, of a layer."""
        known = {name: _MEMBER.get(name, name) for name in self._columns}
        return {n: f for n, f in known.items() if layer.is_pixel or n not in _MEMBER}

    def rows(self, tiles: set[str]) -> dict[str, dict[str, Row]]:
        """Return tile → modality → row of the table."""
        found: dict[str, dict[str, Row]] = {}
        for row in self._find(pa.array(tiles, pa.string())):
            found.setdefault(row["tile"], {})[row["modality"]] = row
        return found

    def _parts(self) -> Iterator[pa.Table]:
        wanted = ["tile", "modality", "state", *self._columns]
        return read_batches(self._root / NAME, wanted, self._root, ROW_GROUP_ROWS)

    def _find(self, tiles: pa.Array) -> Iterator[Row]:
        for part in self._parts():
            yield from part.filter(pc.is_in(part["tile"], tiles)).to_pylist()


def _marks(columns: list[pa.ChunkedArray]) -> Marks:
    """Return one number for each row, the same within this process for the same values, (n,)."""
    values = [
        [each if each is None else tuple(each) for each in column.to_pylist()]
        if pa.types.is_list(column.type)
        else column.to_pylist()
        for column in columns
    ]
    return np.fromiter(map(hash, zip(*values, strict=True)), np.int64, len(columns[0]))
