"""Boxes of a published key, gathered from the members of our shards."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.catalogue import Catalogue
from mmearth.catalog.errors import FormatError, IntegrityError
from mmearth.catalog.files import open_regular, sha256_bytes
from mmearth.catalog.layer import Layer
from mmearth.catalog.schema import manifest_path, read_table
from mmearth.catalog.task import Task
from mmearth.packaging.h5.boxes import Box


class MemberArrays:
    """The pixel-level members of a task, as arrays with its rows first."""

    def __init__(self, root: Path, task: Task, catalogue: Catalogue, keys: list[str]) -> None:
        """Read the manifest.

        Args:
            root: The dataset's directory.
            task: Of the samples.
            catalogue: Of the dataset.
            keys: Of the samples, in the order of the rows.

        Raises:
            FormatError: A sample is not in the manifest.
        """
        self._root, self._catalogue = root, catalogue
        columns = [layer.name for layer in catalogue.members(task)]
        path = root / manifest_path(task.name)
        table = read_table(path, ["key", "shard", *columns], root)
        row_of = {key: row for row, key in enumerate(table["key"].to_pylist())}
        lost = next((key for key in keys if key not in row_of), None)
        if lost is not None:
            raise FormatError(
                f"{path} has no sample {lost}, which was imported; run `mmearth packaging verify`"
            )
        rows = [row_of[key] for key in keys]
        self._keys = keys
        self._shard = [table["shard"][row].as_py() for row in rows]
        self._at = {name: _ranges(table[name], rows) for name in columns}
        self._maps: dict[str, mmap.mmap] = {}
        self._checked: set[tuple[str, int]] = set()

    def box(self, layer: Layer, dtype: np.dtype[Any], box: Box) -> NDArray[Any]:
        """Return a box of a layer, rows first; no-data where a sample has none."""
        name, codec = layer.name, self._catalogue.codec
        out = np.full([side.stop - side.start for side in box], layer.nodata, dtype)
        for i, row in enumerate(range(box[0].start, box[0].stop)):
            begin, length, digest = self._at[name][row] if name in self._at else (0, 0, "")
            if begin:
                data = memoryview(self._map(self._shard[row]))[begin : begin + length]
                member = f"{self._keys[row]}.{codec.member(name)}"
                if (name, row) not in self._checked:
                    self._check(data, member, row, digest)
                    self._checked.add((name, row))
                shape = self._catalogue.member_shape(name)
                out[i] = codec.decode(data, member, layer.dtype, shape)[box[1:]]
        return out

    def _check(self, data: memoryview, member: str, row: int, digest: str) -> None:
        if sha256_bytes(data) != digest:
            raise IntegrityError(
                f"{member} in {self._root / self._shard[row]} is not what its manifest says "
                "(sha256); run `mmearth packaging verify`"
            )

    def _map(self, shard: str) -> mmap.mmap:
        if shard not in self._maps:
            try:
                with open_regular(self._root / shard, self._root) as stream:
                    self._maps[shard] = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
            except (OSError, ValueError) as exc:
                raise FormatError(
                    f"{self._root / shard} cannot be read ({exc}); run `mmearth packaging verify`"
                ) from exc
        return self._maps[shard]


def _ranges(structs: Any, rows: list[int]) -> list[tuple[int, int, str]]:
    """Return byte_offset, byte_length and sha256 of some rows; 0 where there is no member."""
    begin, length, digest = (
        pc.struct_field(structs, field).to_pylist()
        for field in ("byte_offset", "byte_length", "sha256")
    )
    return [(begin[row] or 0, length[row] or 0, digest[row] or "") for row in rows]
