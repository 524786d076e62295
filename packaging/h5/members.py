"""Boxes of a published key, gathered from the members of our shards."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError, IntegrityError
from mmearth.catalog.files import open_regular, sha256_bytes
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.schema import manifest_path, member_column, read_table
from mmearth.catalog.tasks import TASKS
from mmearth.packaging.codec import decode_npy
from mmearth.packaging.h5.boxes import Box
from mmearth.packaging.h5.layout import PIXELS
from mmearth.packaging.h5.side import Dataset


class MemberArrays:
    """The pixel-level members of a task, as arrays with its rows first."""

    def __init__(self, root: Path, task: str, keys: list[str]) -> None:
        """Read the manifest.

        Args:
            root: The dataset's directory.
            task: A key of TASKS.
            keys: Of the samples, in the order of the rows.

        Raises:
            FormatError: A sample is not in the manifest.
        """
        self._root, self._task = root, task
        self._names = [*PIXELS.values(), *([task] if TASKS[task].level == "pixel" else [])]
        columns = [task if name == task else member_column(name) for name in self._names]
        table = read_table(root / manifest_path(task), ["key", "shard", *columns], root)
        row_of = {key: row for row, key in enumerate(table["key"].to_pylist())}
        lost = next((key for key in keys if key not in row_of), None)
        if lost is not None:
            raise FormatError(
                f"{root / manifest_path(task)} has no sample {lost}, which was imported; run "
                "`mmearth packaging verify`"
            )
        rows = [row_of[key] for key in keys]
        self._keys = keys
        self._shard = [table["shard"][row].as_py() for row in rows]
        self._at = {
            name: _ranges(table[column], rows)
            for name, column in zip(self._names, columns, strict=True)
        }
        self._maps: dict[str, mmap.mmap] = {}
        self._checked: set[tuple[str, int]] = set()

    def reader(self, key: str, dataset: Dataset) -> Callable[[Box], NDArray[Any]]:
        """Return what gives boxes of a published key; where a sample has none it is no-data."""
        return partial(self._box, PIXELS.get(key, key), np.dtype(dataset.dtype))

    def _box(self, name: str, dtype: np.dtype[Any], box: Box) -> NDArray[Any]:
        spec: Any = TASKS[name] if name == self._task else MODALITIES[name]
        shape = tuple(side.stop - side.start for side in box)
        out = np.full(shape, spec.nodata, dtype)
        for i, row in enumerate(range(box[0].start, box[0].stop)):
            begin, length, digest = self._at[name][row]
            if begin:
                data = memoryview(self._map(self._shard[row]))[begin : begin + length]
                if (name, row) not in self._checked:
                    self._check(data, name, row, digest)
                out[i] = decode_npy(data, f"{self._keys[row]}.{name}.npy")[box[1:]]
        return out

    def _check(self, data: memoryview, name: str, row: int, digest: str) -> None:
        if sha256_bytes(data) != digest:
            raise IntegrityError(
                f"{self._keys[row]}.{name}.npy in {self._root / self._shard[row]} is not what its "
                "manifest says (sha256); run `mmearth packaging verify`"
            )
        self._checked.add((name, row))

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
