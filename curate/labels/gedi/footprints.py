"""The footprints of all granules: sorted by place, found by place, kept in one mapped file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.catalog.errors import FormatError
from mmearth.catalog.files import atomic_path
from mmearth.catalog.tile import Tile, lonlat_bounds
from mmearth.curate.labels.gedi.quality import Counts
from mmearth.curate.labels.gedi.read import COLUMNS, Columns

ROW_DEG = 0.02
"""Height of the bands of latitude that footprints are sorted by: 2.2 km, two tiles or so."""
_N_ROWS = round(180 / ROW_DEG)
_MARGIN_M = 30.0  # covers the 650 m circle, which is 10 m wider than the tile, and its curvature


@dataclass(frozen=True, slots=True, eq=False)
class Footprints:
    """Footprints that passed, by band of latitude, then longitude, then shot number."""

    lon: NDArray[np.float64]
    """Degrees east, (footprint,)."""
    lat: NDArray[np.float64]
    """Degrees north, (footprint,)."""
    agbd: NDArray[np.float32]
    """Above-ground biomass density, Mg/ha, (footprint,)."""
    shot: NDArray[np.uint64]
    """The product's shot number, (footprint,): no two are equal."""
    leaf_on: NDArray[np.int16]
    """First day of the year with leaves, 1 to 366; 0 where the season is not known."""
    leaf_off: NDArray[np.int16]
    """Last day of the year with leaves, greater than `leaf_on`; 0 where it is not known."""
    day: NDArray[np.int32]
    """When it was measured, days since 1970-01-01."""
    granule: NDArray[np.int32]
    """Position in `granules`."""
    begins: NDArray[np.int64]
    """Where each band of latitude begins, from the south pole on, and the end."""
    granules: tuple[str, ...]
    """Names of the granules that were read, sorted."""
    products: tuple[str, ...]
    """Name and version of each granule's product, as it says itself."""
    key: str
    """SHA-256 of all that decides what is in it."""
    counts: Counts
    """What became of all shots."""

    def __len__(self) -> int:
        """Return how many there are."""
        return int(self.lon.size)

    def near(self, tile: Tile) -> NDArray[np.int64]:
        """Return the indices of all footprints on a tile or just beside it, by shot number."""
        west, south, east, north = lonlat_bounds([tile], _MARGIN_M)[0]
        rows = range(_row(south), _row(north) + 1)
        found = [
            np.arange(*self._span(row, west + turn, east + turn))
            for row in rows
            for turn in (-360.0, 0.0)  # a tile across the antimeridian has an east beyond 180
            if east + turn >= -180.0
        ]
        indices = np.concatenate(found)
        indices = indices[(self.lat[indices] >= south) & (self.lat[indices] <= north)]
        return np.asarray(indices[np.argsort(self.shot[indices])])

    def _span(self, row: int, west: float, east: float) -> tuple[int, int]:
        begin, end = int(self.begins[row]), int(self.begins[row + 1])
        lons = self.lon[begin:end]
        return (
            begin + int(np.searchsorted(lons, west, "left")),
            begin + int(np.searchsorted(lons, east, "right")),
        )


def gather(parts: Iterable[tuple[str, Columns, Counts, str]], key: str) -> Footprints:
    """Return the footprints of many granules as one, each shot once.

    Args:
        parts: Name, columns, counts and product of each granule, sorted by name. A shot that is in
            several is taken from the last: of two versions of a granule, the newer.
        key: See `Footprints.key`.
    """
    names, columns, products = [], [], []
    counts = Counts()
    for i, (name, one, tally, product) in enumerate(parts):
        names.append(name)
        columns.append({**one, "granule": np.full(one["shot"].shape, i, dtype=np.int32)})
        counts += tally
        products.append(product)
    table = {name: np.concatenate([part[name] for part in columns]) for name in COLUMNS}
    table, begins = _sorted_by_place(table)
    n_kept = table["shot"].size
    counts = replace(counts, twice=counts.kept - n_kept, kept=n_kept)
    return Footprints(
        **table,
        begins=begins,
        granules=tuple(names),
        products=tuple(products),
        key=key,
        counts=counts,
    )


def _sorted_by_place(table: Columns) -> tuple[Columns, NDArray[np.int64]]:
    """Return each shot once, sorted, and where each band of latitude begins."""
    # The last of equal shot numbers: np.unique keeps the first, so it looks from the end.
    _, from_end = np.unique(table["shot"][::-1], return_index=True)
    once = table["shot"].size - 1 - from_end
    table = {name: column[once] for name, column in table.items()}
    rows = np.clip(np.floor((table["lat"] + 90.0) / ROW_DEG), 0, _N_ROWS - 1).astype(np.int32)
    order = np.lexsort((table["shot"], table["lon"], rows))
    begins = np.searchsorted(rows[order], np.arange(_N_ROWS + 1)).astype(np.int64)
    return {name: column[order] for name, column in table.items()}, begins


def _row(lat: float) -> int:
    return min(max(int(np.floor((lat + 90.0) / ROW_DEG)), 0), _N_ROWS - 1)


def write_footprints(footprints: Footprints, path: Path) -> None:
    """Write footprints to an Arrow file that `open_footprints` maps into memory.

    Raises:
        StorageError: The disk is full or the directory cannot be written.
    """
    about: Mapping[str, Any] = {
        "granules": footprints.granules,
        "products": footprints.products,
        "key": footprints.key,
        "counts": footprints.counts.as_dict(),
    }
    metadata = {"mmearth": json.dumps(about), "begins": footprints.begins.tobytes()}
    table = pa.table({name: getattr(footprints, name) for name in COLUMNS})
    table = table.replace_schema_metadata(metadata)
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


@lru_cache(maxsize=2)  # a worker sees one task's footprints again and again
def open_footprints(path: Path) -> Footprints:
    """Map a file of `write_footprints`: all processes of a machine share its pages.

    Raises:
        FormatError: The file is broken or not there.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        metadata = table.schema.metadata
        about = json.loads(metadata[b"mmearth"])
        return Footprints(
            **{name: _mapped(table, name) for name in COLUMNS},
            begins=np.frombuffer(metadata[b"begins"], dtype=np.int64),
            granules=tuple(about["granules"]),
            products=tuple(about["products"]),
            key=about["key"],
            counts=Counts(**about["counts"]),
        )
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as exc:
        raise FormatError(
            f"{path} is no file of kept footprints ({' '.join(str(exc).split())}); delete it and "
            "run the same command again"
        ) from exc


def _mapped(table: pa.Table, name: str) -> NDArray[Any]:
    chunks = table.column(name).chunks
    if not chunks:  # no footprint at all
        return np.empty(0, dtype=COLUMNS[name])
    (column,) = chunks
    return np.asarray(column.to_numpy(zero_copy_only=True))
